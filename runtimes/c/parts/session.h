/* An open bundle, and how one call at a time takes it. */
#ifndef EDGEKIT_SESSION_H
#define EDGEKIT_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "bundle.h"
#include "llama_calls.h"
#include "onnx_calls.h"
#include "text.h"

struct edgekit_session {
    bundle bundle;
    char *info;
    int threads;
    bool low_memory, normalize;
    onnx_engine *onnx;
    llama_engine *llama;
    text_tokenizer *text; /* NULL: the engine's own vocabulary, or none */
    atomic_bool in_flight, closed, cancelled;
    int32_t vocabulary;
    pthread_mutex_t stepping; /* held while the engine works: close waits for it */
    pthread_mutex_t lifetime; /* over `onnx`, which cancel looks at while close may take it away */
};

/* Which calls serve which bundle. */
enum { ONNX_RUNTIME = 1, LLAMA_CPP = 2 };
static const struct {
    const char *call;
    int engines;
    const char *tasks; /* between spaces */
} session_calls[] = {
    {"chat", LLAMA_CPP, " causal-lm "},
    {"classify", ONNX_RUNTIME, " text-classification token-classification "},
    {"classify_pixels", ONNX_RUNTIME, " image-classification "},
    {"embed", ONNX_RUNTIME | LLAMA_CPP, " embedding "},
    {"embed_ids", LLAMA_CPP, " embedding "},
    {"generate", LLAMA_CPP, " causal-lm "},
    {"greedy", LLAMA_CPP, " causal-lm "},
    {"logits", LLAMA_CPP, " causal-lm "},
    {"run", ONNX_RUNTIME,
     " embedding text-classification token-classification image-classification causal-lm tensors "},
    {"self_test", ONNX_RUNTIME | LLAMA_CPP,
     " embedding text-classification token-classification image-classification causal-lm tensors "},
    {"tokenize", ONNX_RUNTIME | LLAMA_CPP, " embedding text-classification token-classification causal-lm "},
};

static inline bool is_task(const edgekit_session *self, const char *task) { return strcmp(self->bundle.task, task) == 0; }

static bool session_serves(const edgekit_session *self, size_t call) {
    char task[64];
    int engine = strcmp(self->bundle.engine, "onnxruntime") == 0 ? ONNX_RUNTIME : LLAMA_CPP;
    snprintf(task, sizeof task, " %.60s ", self->bundle.task);
    return (session_calls[call].engines & engine) != 0 && strstr(session_calls[call].tasks, task) != NULL;
}

static edgekit_code check_served(const edgekit_session *self, const char *call, edgekit_error *error) {
    const size_t count = sizeof session_calls / sizeof *session_calls;
    size_t asked = 0;
    while (asked < count && strcmp(session_calls[asked].call, call) != 0) asked++;
    if (asked < count && session_serves(self, asked)) return EDGEKIT_OK;
    char others[200] = "";
    size_t used = 0;
    for (size_t index = 0; index < count; index++) {
        if (!session_serves(self, index)) continue;
        used += (size_t)snprintf(others + used, sizeof others - used, "%s%s()", used == 0 ? "" : ", ",
                                 session_calls[index].call);
    }
    return fail(error, EDGEKIT_WRONG_TASK, "a bundle for %s with %s has no %s(), but %s", self->bundle.task,
                self->bundle.engine, call, others);
}

/* Take the session for one call; `leave` gives it back. */
static edgekit_code enter(edgekit_session *self, const char *call, edgekit_error *error) {
    no_failure(error);
    if (self == NULL) return fail(error, EDGEKIT_BAD_INPUT, "session is NULL");
    if (atomic_load(&self->closed)) return fail(error, EDGEKIT_CLOSED, "the session is closed");
    edgekit_code code = check_served(self, call, error);
    if (code != EDGEKIT_OK) return code;
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

/* BAD_INPUT unless it is there and UTF-8. */
static edgekit_code check_text(const char *text, const char *what, edgekit_error *error) {
    if (text == NULL) return fail(error, EDGEKIT_BAD_INPUT, "%s is NULL", what);
    ptrdiff_t fault = utf8_fault(text);
    if (fault < 0) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BAD_INPUT, "%s is not UTF-8 at byte %zu", what, (size_t)fault);
}

/* The ids of a text, which are to be freed, by the bundle's tokenizer or the engine's vocabulary. Never truncated. */
static edgekit_code session_ids(edgekit_session *self, const char *text, bool add_special, int32_t **ids, size_t *count,
                                edgekit_error *error) {
    *ids = NULL;
    *count = 0;
    if (self->text != NULL) {
        text_encoding encoding;
        edgekit_code code = text_encode(self->text, text, NULL, add_special, 0, &encoding, error);
        if (code != EDGEKIT_OK) return code;
        *ids = encoding.ids;
        *count = encoding.count;
        encoding.ids = NULL;
        text_encoding_free(&encoding);
        return EDGEKIT_OK;
    }
    if (self->llama == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "the bundle has no tokenizer: its manifest's text is null");
    }
    const json_value *form = json_get(json_get(self->bundle.manifest, "text"), "unicode_form");
    bool composed = json_is(form, JSON_STRING) && strcmp(form->text, "NFC") == 0;
    char *normal = composed ? text_nfc(text) : NULL;
    if (composed && normal == NULL) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a text");
    edgekit_code code = llama_text_ids(self->llama, composed ? normal : text, add_special, ids, count, error);
    free(normal);
    return code;
}

#endif
