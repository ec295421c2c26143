/* What one run is given, tensors or token ids, as the job names it; and one run of a session. */
#ifndef EDGEKIT_PROBE_RUNNING_H
#define EDGEKIT_PROBE_RUNNING_H

#include <time.h>

#include "../edgekit.h"
#include "../parts/files.h"
#include "../parts/json.h"
#include "../parts/npy.h"

#define MAX_INPUTS 64

/* What one run is given: tensors, or token ids. */
typedef struct question {
    edgekit_tensor *tensors;
    size_t tensor_count;
    int32_t *ids;
    size_t id_count;
    int32_t decode_tokens;
} question;

/* Milliseconds, as many as were added. */
typedef struct samples {
    double *ms;
    size_t count, room;
} samples;

typedef struct probe {
    char *folder;
    const char *bundle;
    const json_value *job;
    json_document info; /* the manifest, as the session tells it */
    const char *task;
    edgekit_session *session, *baseline;
    edgekit_error error;
    const char *kind; /* the error's name where it is none of the runtime's */
    char *outputs;    /* JSON list of the graph's output names, once known */
} probe;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static bool wrong(probe *self, const char *kind, const char *format, const char *what) {
    self->kind = kind;
    snprintf(self->error.message, sizeof self->error.message, format, what);
    return false;
}

static bool add_sample(probe *self, samples *to, double ms) {
    if (to->count == to->room) {
        size_t room = to->room == 0 ? 256 : 2 * to->room;
        double *grown = realloc(to->ms, room * sizeof *grown);
        if (grown == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the samples");
        to->ms = grown, to->room = room;
    }
    to->ms[to->count++] = ms;
    return true;
}

static long job_number(const probe *self, const char *key, long otherwise) {
    const json_value *value = json_get(self->job, key);
    return json_is_whole(value) && value->integer >= 0 && value->integer < 1000000 ? (long)value->integer : otherwise;
}

static bool open_on(probe *self, const char *model_file, edgekit_session **session) {
    edgekit_options options;
    const json_value *library = json_get(self->job, "engine_library");
    const json_value *context = json_get(self->job, "context_tokens");
    bool named = json_is(library, JSON_STRING), relative = named && library->text[0] != '/';
    char *path = relative ? path_join(self->folder, library->text) : NULL;
    edgekit_options_init(&options);
    options.threads = (int32_t)job_number(self, "threads", 0);
    options.low_memory = json_is(json_get(self->job, "low_memory"), JSON_TRUE);
    options.context_tokens = json_is_whole(context) ? (int32_t)context->integer : 0;
    options.skip_verify = 1;
    options.engine_library = relative ? path : named ? library->text : NULL;
    options.model_file = model_file;
    edgekit_code code = edgekit_open(self->bundle, &options, session, &self->error);
    free(path);
    return code == EDGEKIT_OK;
}

static void free_question(question *self) {
    for (size_t index = 0; self->tensors != NULL && index < self->tensor_count; index++) {
        free(self->tensors[index].data);
    }
    free(self->tensors);
    free(self->ids);
    memset(self, 0, sizeof *self);
}

static bool read_tensors(probe *self, const json_value *tensors, question *into) {
    if (tensors->count > MAX_INPUTS) return wrong(self, "ValueError", "%s", "the job names too many tensors");
    into->tensors = calloc(tensors->count + 1, sizeof *into->tensors);
    if (into->tensors == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the tensors");
    for (const json_value *each = tensors->first; each != NULL; each = each->next) {
        edgekit_tensor *tensor = &into->tensors[into->tensor_count++];
        if (each->kind != JSON_STRING) return wrong(self, "ValueError", "tensor %s names no file", each->key);
        char *path = path_join(self->folder, each->text);
        const char *fault = path == NULL ? "has no memory" : npy_read(path, tensor);
        free(path);
        if (fault != NULL) {
            snprintf(self->error.message, sizeof self->error.message, "%.200s %s", each->text, fault);
            self->kind = "OSError";
            return false;
        }
        tensor->name = each->key;
    }
    return true;
}

static bool read_ids(probe *self, const json_value *ids, question *into) {
    into->ids = calloc(ids->count + 1, sizeof *into->ids);
    if (into->ids == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the ids");
    for (const json_value *each = ids->first; each != NULL; each = each->next) {
        if (!json_is_whole(each) || each->integer < INT32_MIN || each->integer > INT32_MAX) {
            return wrong(self, "ValueError", "%s", "ids holds something else than whole numbers");
        }
        into->ids[into->id_count++] = (int32_t)each->integer;
    }
    return true;
}

static bool read_question(probe *self, const json_value *given, question *into) {
    const json_value *tensors = json_get(given, "tensors"), *ids = json_get(given, "ids");
    const json_value *steps = json_get(given, "decode_tokens");
    memset(into, 0, sizeof *into);
    into->decode_tokens = json_is_whole(steps) ? (int32_t)steps->integer : 32;
    if (json_is(tensors, JSON_OBJECT)) return read_tensors(self, tensors, into);
    if (json_is(ids, JSON_ARRAY)) return read_ids(self, ids, into);
    return wrong(self, "ValueError", "%s", "an input of the job is neither {tensors} nor {ids}");
}

static bool is_speaking(const probe *self) { return strcmp(self->task, "causal-lm") == 0; }

static size_t embedding_width(const probe *self) {
    const json_value *width = json_get(json_get(self->info.root, "embedding"), "width");
    return json_is_whole(width) && width->integer > 0 && width->integer < 1 << 20 ? (size_t)width->integer : 1;
}

struct steps {
    probe *probe;
    samples *samples;
    double started;
};

static int on_token(int32_t token, void *user) {
    struct steps *steps = user;
    double now = now_ms();
    (void)token;
    if (steps->samples != NULL && !add_sample(steps->probe, steps->samples, now - steps->started)) return 1;
    steps->started = now_ms();
    return 0;
}

/* One inference; the whole's milliseconds, or, of a language model, each step's, are added to `to` if given. */
static bool run_once(probe *self, edgekit_session *session, const question *given, samples *to) {
    edgekit_code code;
    double started = now_ms();
    if (given->ids != NULL && is_speaking(self)) {
        struct steps steps = {self, to, started};
        return edgekit_greedy(session, given->ids, given->id_count, given->decode_tokens, on_token, &steps,
                              &self->error) == EDGEKIT_OK;
    }
    if (given->ids != NULL) {
        size_t width = embedding_width(self);
        float *vector = calloc(width, sizeof *vector);
        if (vector == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for a vector");
        code = edgekit_embed_ids(session, given->ids, given->id_count, vector, width, &self->error);
        free(vector);
    } else {
        edgekit_outputs *outputs = NULL;
        code = edgekit_run(session, given->tensors, given->tensor_count, &outputs, &self->error);
        edgekit_outputs_free(outputs);
    }
    return code == EDGEKIT_OK && (to == NULL || add_sample(self, to, now_ms() - started));
}

#endif
