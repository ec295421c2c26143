/* What the bundle answers, each in a file beside the job. */
#ifndef EDGEKIT_PROBE_ANSWERS_H
#define EDGEKIT_PROBE_ANSWERS_H

#include <fcntl.h>
#include <sys/mman.h>

#include "running.h"

/* A failure that is the device's disk's, not the bundle's. */
#define DISK_FULL "DiskFull"

static bool disk_failed(probe *self, const char *name) {
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return wrong(self, full ? DISK_FULL : "OSError", full ? "no space left for %s" : "%s cannot be written", name);
}

/* A file of the tensor's size, mapped for writing, its header in place: blocks are claimed before, so that a full disk
 * is an error and no signal. `*data` is where the values go; `*mapped` and `*bytes` are for unmapping. */
static bool map_answer(probe *self, const char *name, const edgekit_tensor *like, void **data, void **mapped,
                       size_t *bytes) {
    unsigned char header[NPY_MAX_HEADER];
    size_t head = npy_header(like, header);
    char *path = path_join(self->folder, name);
    int descriptor = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    free(path);
    if (descriptor < 0) return disk_failed(self, name);
    *bytes = head + like->bytes;
    errno = posix_fallocate(descriptor, 0, (off_t)*bytes);
    *mapped = errno != 0 ? MAP_FAILED : mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    bool made = *mapped != MAP_FAILED || disk_failed(self, name);
    close(descriptor);
    if (!made) return false;
    memcpy(*mapped, header, head);
    *data = (unsigned char *)*mapped + head;
    return true;
}

static bool answer_ids(probe *self, const question *given, size_t number) {
    int64_t width = edgekit_vocabulary(self->session);
    edgekit_tensor like = {"", EDGEKIT_FLOAT32, 2, {(int64_t)given->id_count, width}, NULL, 0};
    char name[40];
    void *data = NULL, *mapped = NULL;
    size_t bytes = 0;
    if (!is_speaking(self)) {
        like.rank = 1;
        like.shape[0] = (int64_t)embedding_width(self);
    }
    size_t values = (size_t)like.shape[0] * (like.rank == 2 ? (size_t)like.shape[1] : 1);
    like.bytes = values * sizeof(float);
    snprintf(name, sizeof name, "answer-%zu.npy", number);
    if (!map_answer(self, name, &like, &data, &mapped, &bytes)) return false;
    edgekit_code code = is_speaking(self)
                            ? edgekit_logits(self->session, given->ids, given->id_count, data, values, &self->error)
                            : edgekit_embed_ids(self->session, given->ids, given->id_count, data, values, &self->error);
    munmap(mapped, bytes);
    return code == EDGEKIT_OK;
}

static bool answer_tensors(probe *self, const question *given, size_t number) {
    edgekit_outputs *outputs = NULL;
    bool written =
        edgekit_run(self->session, given->tensors, given->tensor_count, &outputs, &self->error) == EDGEKIT_OK;
    for (size_t index = 0; index < edgekit_outputs_count(outputs) && written; index++) {
        const edgekit_tensor *tensor = edgekit_outputs_at(outputs, index);
        char name[60];
        void *data = NULL, *mapped = NULL;
        size_t bytes = 0;
        snprintf(name, sizeof name, "answer-%zu-%zu.npy", number, index);
        written = map_answer(self, name, tensor, &data, &mapped, &bytes);
        if (!written) break;
        memcpy(data, tensor->data, tensor->bytes);
        munmap(mapped, bytes);
    }
    if (written && self->outputs == NULL) {
        size_t bytes = 0;
        FILE *names = open_memstream(&self->outputs, &bytes);
        for (size_t index = 0; names != NULL && index < edgekit_outputs_count(outputs); index++) {
            if (index > 0) fputs(", ", names);
            json_write(names, edgekit_outputs_at(outputs, index)->name);
        }
        if (names != NULL) fclose(names);
    }
    edgekit_outputs_free(outputs);
    return written;
}

static bool answer(probe *self) {
    const json_value *answers = json_get(self->job, "answers");
    size_t number = 0;
    if (answers != NULL && answers->kind != JSON_NULL && answers->kind != JSON_ARRAY) {
        return wrong(self, "ValueError", "%s", "answers of the job is no list");
    }
    for (const json_value *each = answers == NULL ? NULL : answers->first; each != NULL; each = each->next, number++) {
        question given;
        bool done = read_question(self, each, &given);
        done = done && (given.ids != NULL ? answer_ids(self, &given, number) : answer_tensors(self, &given, number));
        free_question(&given);
        if (!done) return false;
    }
    return true;
}

#endif
