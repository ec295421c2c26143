/* NumPy's .npy files: what tensors come and go in. Only dense, row-major, little-endian ones. */
#ifndef EDGEKIT_NPY_H
#define EDGEKIT_NPY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../edgekit.h"

#define NPY_MAX_HEADER 4096

static const struct {
    const char *code;
    edgekit_dtype dtype;
    size_t bytes;
} npy_types[] = {
    {"<f4", EDGEKIT_FLOAT32, 4}, {"|u1", EDGEKIT_UINT8, 1},   {"|i1", EDGEKIT_INT8, 1},    {"<u2", EDGEKIT_UINT16, 2},
    {"<i2", EDGEKIT_INT16, 2},   {"<i4", EDGEKIT_INT32, 4},   {"<i8", EDGEKIT_INT64, 8},   {"|b1", EDGEKIT_BOOL, 1},
    {"<f2", EDGEKIT_FLOAT16, 2}, {"<f8", EDGEKIT_FLOAT64, 8}, {"<u4", EDGEKIT_UINT32, 4},  {"<u8", EDGEKIT_UINT64, 8},
};
enum { NPY_TYPES = sizeof npy_types / sizeof *npy_types };

/* The axes in "(2, 3), ...": false where they are none, or too many. */
static int npy_shape(const char *at, edgekit_tensor *tensor) {
    at++;
    for (tensor->rank = 0; *at != ')';) {
        char *end = NULL;
        if (tensor->rank == EDGEKIT_MAX_RANK) return 0;
        at += strspn(at, " ");
        if (*at < '0' || *at > '9') return 0;
        tensor->shape[tensor->rank++] = strtoll(at, &end, 10);
        at = end + strspn(end, ", ");
    }
    return 1;
}

/* dtype, shape and size of data from the header's dictionary; NULL, or what is wrong. */
static const char *npy_describe(char *header, edgekit_tensor *tensor) {
    const char *descr = strstr(header, "'descr': '"), *order = strstr(header, "'fortran_order': ");
    const char *shape = strstr(header, "'shape': (");
    size_t type = 0;
    if (descr == NULL || order == NULL || shape == NULL) return "is no .npy file of one array";
    if (strncmp(order + 17, "False", 5) != 0) return "is not row-major";
    while (type < NPY_TYPES && strncmp(descr + 10, npy_types[type].code, 3) != 0) type++;
    if (type == NPY_TYPES || descr[13] != '\'') return "holds a type that this program does not know";
    if (!npy_shape(shape + 9, tensor)) return "has a shape that this program does not know";
    tensor->dtype = npy_types[type].dtype;
    tensor->bytes = npy_types[type].bytes;
    for (int axis = 0; axis < tensor->rank; axis++) {
        int64_t length = tensor->shape[axis];
        if (length < 0 || (length > 0 && tensor->bytes > (size_t)(INT64_MAX / length))) return "is too large";
        tensor->bytes *= (size_t)length;
    }
    return NULL;
}

/* The array of the file, its data to be freed by the caller; NULL, or what is wrong with the file. */
static const char *npy_read(const char *path, edgekit_tensor *tensor) {
    unsigned char start[12];
    char header[NPY_MAX_HEADER + 1];
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return "cannot be read";
    const char *wrong = "is no .npy file";
    size_t length = 0;
    tensor->data = NULL;
    if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6) != 0) goto done;
    length = (size_t)start[8] | (size_t)start[9] << 8;
    if (start[6] > 1) {
        if (fread(start + 10, 1, 2, file) != 2) goto done;
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    }
    if (length > NPY_MAX_HEADER || fread(header, 1, length, file) != length) goto done;
    header[length] = '\0';
    if ((wrong = npy_describe(header, tensor)) != NULL) goto done;
    wrong = "is cut short";
    long here = ftell(file);
    if (here < 0 || fseek(file, 0, SEEK_END) != 0 || (size_t)(ftell(file) - here) != tensor->bytes) goto done;
    if (fseek(file, here, SEEK_SET) != 0 || (tensor->data = malloc(tensor->bytes + 1)) == NULL) goto done;
    if (fread(tensor->data, 1, tensor->bytes, file) == tensor->bytes) wrong = NULL;
done:
    fclose(file);
    if (wrong != NULL) {
        free(tensor->data);
        tensor->data = NULL;
    }
    return wrong;
}

/* The whole header, padded to 64 bytes; its length, 0 for a type without a code. */
static size_t npy_header(const edgekit_tensor *tensor, unsigned char header[NPY_MAX_HEADER]) {
    char words[512], shape[256] = "";
    size_t type = 0, used = 0;
    while (type < NPY_TYPES && npy_types[type].dtype != tensor->dtype) type++;
    if (type == NPY_TYPES) return 0;
    for (int axis = 0; axis < tensor->rank; axis++) {
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%lld,%s", (long long)tensor->shape[axis],
                                 axis + 1 < tensor->rank ? " " : "");
    }
    int length = snprintf(words, sizeof words, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                          npy_types[type].code, shape);
    size_t total = ((size_t)length + 11 + 63) / 64 * 64;
    memset(header, ' ', total);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (unsigned char)((total - 10) & 0xFF);
    header[9] = (unsigned char)((total - 10) >> 8);
    memcpy(header + 10, words, (size_t)length);
    header[total - 1] = '\n';
    return total;
}

#endif
