/* The one file to compile; edgekit.h says how it is used. Needs -ldl -lpthread -lm. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "edgekit.h"

#include "parts/bundle.h"
#include "parts/failure.h"
#include "parts/llamacpp.h"
#include "parts/machine.h"
#include "parts/onnxruntime.h"

struct edgekit_session {
    bundle bundle;
    char *info;
    int threads;
    bool low_memory, normalize;
    onnx_engine *onnx;
    llama_engine *llama;
    atomic_bool in_flight, closed, cancelled;
    int32_t vocabulary;
    pthread_mutex_t stepping; /* held while the engine works: close waits for it */
    pthread_mutex_t lifetime; /* over `onnx`, which cancel looks at while close may take it away */
};

const char *edgekit_code_name(edgekit_code code) {
    static const char *const names[] = {"OK",        "BundleInvalid", "UnsupportedDevice", "MemoryBudget",
                                        "LoadFailed", "RunFailed",     "WrongTask",         "BadInput",
                                        "PromptTooLong", "Busy",       "Cancelled",         "Closed"};
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}

void edgekit_options_init(edgekit_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_bytes = sizeof *options;
}

edgekit_code edgekit_verify(const char *folder, edgekit_error *error) {
    bundle found;
    no_failure(error);
    edgekit_code code = bundle_read(&found, folder, error);
    if (code == EDGEKIT_OK) code = bundle_verify(&found, error);
    bundle_free(&found);
    return code;
}

/* MEMORY_BUDGET if the measured peak, or where none was measured the model's file alone, exceeds the budget. */
static edgekit_code check_memory(const bundle *packed, uint64_t budget, char *note, edgekit_error *error) {
    const json_value *peak = json_get(json_get(packed->manifest, "memory"), "peak_rss_bytes");
    bool measured = json_is_whole(peak);
    note[0] = '\0';
    if (budget == 0) return EDGEKIT_OK;
    int64_t need = measured ? peak->integer : find_file(packed, packed->model_file)->size_bytes;
    if (need > 0 && (uint64_t)need > budget) {
        return fail(error, EDGEKIT_MEMORY_BUDGET,
                    "%.100s %s %.0f MiB, %.0f MiB are allowed: raise the budget or pack for a smaller one",
                    packed->name, measured ? "took at its measured peak" : "has in its file alone",
                    (double)need / 1048576, (double)budget / 1048576);
    }
    if (!measured) {
        snprintf(note, 512,
                 "the manifest has no measured peak: the memory budget was held against the model's file only");
    }
    return EDGEKIT_OK;
}

/* The manifest, member by member, with "runtime" at its end. */
static char *describe(const edgekit_session *self, const char *const *notes, size_t note_count) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) return NULL;
    fputc('{', file);
    for (const json_value *each = self->bundle.manifest->first; each != NULL; each = each->next) {
        if (strcmp(each->key, "runtime") == 0) continue;
        json_write(file, each->key);
        fprintf(file, ": %.*s, ", (int)each->source_bytes, each->source);
    }
    fputs("\"runtime\": {\"engine\": ", file);
    json_write(file, self->onnx != NULL ? self->onnx->version : self->llama->version);
    fprintf(file, ", \"threads\": %d, \"low_memory\": %s, \"notes\": [", self->threads,
            self->low_memory ? "true" : "false");
    for (size_t index = 0, told = 0; index < note_count; index++) {
        if (notes[index][0] == '\0') continue;
        if (told++ > 0) fputs(", ", file);
        json_write(file, notes[index]);
    }
    fputs("]}}", file);
    if (fclose(file) == 0) return text;
    free(text);
    return NULL;
}

static edgekit_code open_engine(edgekit_session *self, const edgekit_options *options, edgekit_error *error) {
    const bundle *packed = &self->bundle;
    char *inside = path_join(packed->folder, packed->model_file);
    const char *model = options->model_file != NULL ? options->model_file : inside;
    edgekit_code code;
    if (inside == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
    if (strcmp(packed->engine, "onnxruntime") == 0) {
        code = onnx_open(&self->onnx, model, options, self->threads, &self->cancelled, error);
    } else if (strcmp(packed->engine, "llama.cpp") == 0) {
        code = llama_open(&self->llama, packed, model, options, self->threads, &self->cancelled, error);
    } else {
        code = fail(error, EDGEKIT_BUNDLE_INVALID, "the engine '%.60s' is not one of onnxruntime, llama.cpp",
                    packed->engine);
    }
    free(inside);
    return code;
}

static edgekit_code open_session(edgekit_session *self, const char *folder, const edgekit_options *options,
                                 edgekit_error *error) {
    char memory_note[512] = "", isa_note[512] = "";
    edgekit_code code = bundle_read(&self->bundle, folder, error);
    if (code == EDGEKIT_OK && !options->skip_verify) code = bundle_verify(&self->bundle, error);
    if (code == EDGEKIT_OK) code = check_memory(&self->bundle, options->memory_budget_bytes, memory_note, error);
    if (code == EDGEKIT_OK) code = check_isa(self->bundle.manifest, isa_note, error);
    if (code == EDGEKIT_OK && options->threads < 0) {
        code = fail(error, EDGEKIT_BAD_INPUT, "threads is %d, expected 1 or more", (int)options->threads);
    }
    if (code != EDGEKIT_OK) return code;
    self->threads = options->threads > 0 ? (int)options->threads : physical_cores();
    self->low_memory = options->low_memory != 0;
    self->normalize = json_is(json_get(json_get(self->bundle.manifest, "embedding"), "normalize"), JSON_TRUE);
    if ((code = open_engine(self, options, error)) != EDGEKIT_OK) return code;
    if (self->llama != NULL) self->vocabulary = self->llama->vocabulary;
    const char *notes[] = {isa_note, memory_note};
    self->info = describe(self, notes, 2);
    return self->info != NULL ? EDGEKIT_OK : fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a session");
}

edgekit_code edgekit_open(const char *folder, const edgekit_options *options, edgekit_session **session,
                          edgekit_error *error) {
    edgekit_options chosen;
    no_failure(error);
    if (session == NULL) return fail(error, EDGEKIT_BAD_INPUT, "session is NULL: there is nowhere to put it");
    *session = NULL;
    edgekit_options_init(&chosen);
    size_t least = offsetof(edgekit_options, model_file), most = 4096;
    if (options != NULL && (options->struct_bytes < least || options->struct_bytes > most)) {
        return fail(error, EDGEKIT_BAD_INPUT, "the options were not made by edgekit_options_init");
    }
    if (options != NULL) {
        memcpy(&chosen, options, options->struct_bytes < sizeof chosen ? options->struct_bytes : sizeof chosen);
    }
    edgekit_session *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a session");
    pthread_mutex_init(&self->stepping, NULL);
    pthread_mutex_init(&self->lifetime, NULL);
    edgekit_code code = open_session(self, folder, &chosen, error);
    if (code != EDGEKIT_OK) {
        edgekit_free(self);
        return code;
    }
    *session = self;
    return EDGEKIT_OK;
}

const char *edgekit_info(const edgekit_session *session) { return session == NULL ? "{}" : session->info; }

/* The flag comes first, then the options of a run that did not see it. llama.cpp looks at the flag itself. */
static void stop_call(edgekit_session *self) {
    atomic_store(&self->cancelled, true);
    pthread_mutex_lock(&self->lifetime);
    if (self->onnx != NULL) onnx_cancel(self->onnx);
    pthread_mutex_unlock(&self->lifetime);
}

void edgekit_cancel(edgekit_session *self) {
    if (self != NULL && !atomic_load(&self->closed)) stop_call(self);
}

void edgekit_close(edgekit_session *self) {
    if (self == NULL) return;
    if (!atomic_exchange(&self->closed, true)) stop_call(self);
    pthread_mutex_lock(&self->stepping);
    pthread_mutex_lock(&self->lifetime);
    onnx_engine *onnx = self->onnx;
    llama_engine *llama = self->llama;
    self->onnx = NULL;
    self->llama = NULL;
    pthread_mutex_unlock(&self->lifetime);
    onnx_close(onnx);
    llama_close(llama);
    pthread_mutex_unlock(&self->stepping);
}

void edgekit_free(edgekit_session *self) {
    if (self == NULL) return;
    edgekit_close(self);
    pthread_mutex_destroy(&self->stepping);
    pthread_mutex_destroy(&self->lifetime);
    bundle_free(&self->bundle);
    free(self->info);
    free(self);
}

/* Take the session for one call; `leave` gives it back. */
static edgekit_code enter(edgekit_session *self, const char *call, bool served, edgekit_error *error) {
    no_failure(error);
    if (self == NULL) return fail(error, EDGEKIT_BAD_INPUT, "session is NULL");
    if (atomic_load(&self->closed)) return fail(error, EDGEKIT_CLOSED, "the session is closed");
    if (!served) {
        return fail(error, EDGEKIT_WRONG_TASK, "a bundle for %s with %s has no %s()", self->bundle.task,
                    self->bundle.engine, call);
    }
    if (atomic_exchange(&self->in_flight, true)) {
        return fail(error, EDGEKIT_BUSY,
                    "another call is running on this session: wait for it, cancel it, or open a second session");
    }
    atomic_store(&self->cancelled, false);
    pthread_mutex_lock(&self->stepping);
    if (!atomic_load(&self->closed)) return EDGEKIT_OK;
    pthread_mutex_unlock(&self->stepping);
    atomic_store(&self->in_flight, false);
    return fail(error, EDGEKIT_CLOSED, "the session is closed");
}

static void leave(edgekit_session *self) {
    pthread_mutex_unlock(&self->stepping);
    atomic_store(&self->in_flight, false);
}

static bool is_engine(const edgekit_session *self, const char *engine) {
    return self != NULL && strcmp(self->bundle.engine, engine) == 0;
}

static bool is_task(const edgekit_session *self, const char *task) {
    return self != NULL && strcmp(self->bundle.task, task) == 0;
}

edgekit_code edgekit_run(edgekit_session *session, const edgekit_tensor *inputs, size_t input_count,
                         edgekit_outputs **outputs, edgekit_error *error) {
    edgekit_code code = enter(session, "run", is_engine(session, "onnxruntime"), error);
    if (code != EDGEKIT_OK) return code;
    code = outputs == NULL || (inputs == NULL && input_count > 0)
               ? fail(error, EDGEKIT_BAD_INPUT, "inputs or outputs is NULL")
               : onnx_run(session->onnx, inputs, input_count, outputs, error);
    leave(session);
    return code;
}

size_t edgekit_outputs_count(const edgekit_outputs *outputs) { return outputs == NULL ? 0 : outputs->count; }

const edgekit_tensor *edgekit_outputs_at(const edgekit_outputs *outputs, size_t index) {
    return outputs == NULL || index >= outputs->count ? NULL : &outputs->tensors[index];
}

int32_t edgekit_vocabulary(const edgekit_session *session) {
    return session == NULL ? 0 : session->vocabulary;
}

static bool speaks(const edgekit_session *session) {
    return is_engine(session, "llama.cpp") && is_task(session, "causal-lm");
}

edgekit_code edgekit_logits(edgekit_session *session, const int32_t *ids, size_t id_count, float *logits,
                            size_t logits_count, edgekit_error *error) {
    edgekit_code code = enter(session, "logits", speaks(session), error);
    if (code != EDGEKIT_OK) return code;
    code = llama_logits(session->llama, ids, id_count, logits, logits_count, error);
    leave(session);
    return code;
}

edgekit_code edgekit_greedy(edgekit_session *session, const int32_t *ids, size_t id_count, int32_t max_tokens,
                            edgekit_on_token on_token, void *user, edgekit_error *error) {
    edgekit_code code = enter(session, "greedy", speaks(session), error);
    if (code != EDGEKIT_OK) return code;
    code = on_token == NULL ? fail(error, EDGEKIT_BAD_INPUT, "on_token is NULL")
                            : llama_greedy(session->llama, ids, id_count, max_tokens, on_token, user, error);
    leave(session);
    return code;
}

edgekit_code edgekit_embed_ids(edgekit_session *session, const int32_t *ids, size_t id_count, float *vector,
                               size_t width, edgekit_error *error) {
    bool served = is_engine(session, "llama.cpp") && is_task(session, "embedding");
    edgekit_code code = enter(session, "embed_ids", served, error);
    if (code != EDGEKIT_OK) return code;
    code = vector == NULL ? fail(error, EDGEKIT_BAD_INPUT, "vector is NULL")
                          : llama_embed(session->llama, ids, id_count, vector, width, session->normalize, error);
    leave(session);
    return code;
}
