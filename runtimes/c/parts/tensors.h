/* Tensors in JSON, as goldens hold them: {dtype, shape, data: flat numbers} or {dtype, shape, base64}. */
#ifndef EDGEKIT_TENSORS_H
#define EDGEKIT_TENSORS_H

#include <errno.h>
#include <float.h>

#include "base64.h"
#include "numbers.h"
#include "onnxruntime.h"

/* The types that goldens are recorded in. */
static bool is_recorded(edgekit_dtype dtype) { return dtype != EDGEKIT_UINT64; }

/* One JSON number or truth value as an element; false where it does not fit the type. */
static bool tensor_element(const json_value *value, edgekit_dtype dtype, void *data, size_t index) {
    bool real = dtype == EDGEKIT_FLOAT32 || dtype == EDGEKIT_FLOAT64 || dtype == EDGEKIT_FLOAT16;
    if (real) {
        if (value->kind != JSON_NUMBER) return false;
        tensor_put(data, dtype, index, json_number(value), 0);
        return true;
    }
    if (dtype == EDGEKIT_BOOL) {
        if (value->kind != JSON_TRUE && value->kind != JSON_FALSE) return false;
        tensor_put(data, dtype, index, 0, value->kind == JSON_TRUE);
        return true;
    }
    if (value->kind != JSON_NUMBER || memchr(value->source, '.', value->source_bytes) != NULL) return false;
    if (memchr(value->source, 'e', value->source_bytes) || memchr(value->source, 'E', value->source_bytes)) return false;
    errno = 0;
    long long whole = strtoll(value->source, NULL, 10);
    int bits = (int)dtype_bytes((int)dtype) * 8;
    bool is_signed = dtype == EDGEKIT_INT64 || dtype == EDGEKIT_INT32 || dtype == EDGEKIT_INT16 || dtype == EDGEKIT_INT8;
    int64_t least = is_signed ? bits == 64 ? INT64_MIN : -((int64_t)1 << (bits - 1)) : 0;
    int64_t most = bits == 64 ? INT64_MAX : ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1;
    if (errno != 0 || whole < least || whole > most) return false;
    tensor_put(data, dtype, index, 0, whole);
    return true;
}

/* dtype and shape; false where they are none. */
static bool tensor_head(const json_value *stored, edgekit_tensor *tensor) {
    const json_value *dtype = json_get(stored, "dtype"), *shape = json_get(stored, "shape");
    size_t type = 0;
    if (!json_is(dtype, JSON_STRING) || !json_is(shape, JSON_ARRAY) || shape->count > EDGEKIT_MAX_RANK) return false;
    while (type < sizeof dtypes / sizeof *dtypes && strcmp(dtypes[type].name, dtype->text) != 0) type++;
    if (type == sizeof dtypes / sizeof *dtypes || !is_recorded((edgekit_dtype)dtypes[type].dtype)) return false;
    tensor->dtype = (edgekit_dtype)dtypes[type].dtype;
    tensor->rank = 0;
    for (const json_value *axis = shape->first; axis != NULL; axis = axis->next) {
        if (!json_is_whole(axis) || axis->integer < 0) return false;
        tensor->shape[tensor->rank++] = axis->integer;
    }
    tensor->bytes = tensor_bytes(dtypes[type].dtype, tensor->shape, (size_t)tensor->rank);
    return tensor->bytes != SIZE_MAX;
}

/* The tensor, its data to be freed; false where the pieces do not fit one another. The size is checked against what
 * stands there before anything is allocated. */
static bool tensor_decode(const json_value *stored, edgekit_tensor *tensor) {
    const json_value *packed = json_get(stored, "base64"), *data = json_get(stored, "data");
    tensor->data = NULL;
    tensor->name = stored->key;
    if (!tensor_head(stored, tensor)) return false;
    if (json_is(packed, JSON_STRING)) {
        size_t bytes = 0;
        tensor->data = base64_decode(packed->text, &bytes);
        if (tensor->data != NULL && bytes == tensor->bytes) return true;
    } else if (packed == NULL && json_is(data, JSON_ARRAY) &&
               data->count * dtype_bytes((int)tensor->dtype) == tensor->bytes) {
        size_t index = 0;
        tensor->data = malloc(tensor->bytes + 1);
        const json_value *each = tensor->data == NULL ? NULL : data->first;
        while (each != NULL && tensor_element(each, tensor->dtype, tensor->data, index)) each = each->next, index++;
        if (tensor->data != NULL && each == NULL) return true;
    }
    free(tensor->data);
    tensor->data = NULL;
    return false;
}

#endif
