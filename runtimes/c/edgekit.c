/* The one file to compile; edgekit.h says how it is used. Needs -ldl -lpthread -lm. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "edgekit.h"

#include "parts/bundle.h"
#include "parts/failure.h"
#include "parts/goldens.h"
#include "parts/llama_calls.h"
#include "parts/onnx_calls.h"
#include "parts/opening.h"
#include "parts/pictures.h"
#include "parts/session.h"
#include "parts/speaking.h"

const char *edgekit_code_name(edgekit_code code) {
    static const char *const names[] = {"OK",        "BundleInvalid", "UnsupportedDevice", "MemoryBudget",
                                        "LoadFailed", "RunFailed",     "WrongTask",         "BadInput",
                                        "PromptTooLong", "Busy",       "Cancelled",         "Closed"};
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}

void edgekit_generation_init(edgekit_generation *options) {
    memset(options, 0, sizeof *options);
    options->struct_bytes = sizeof *options;
    options->top_p = 1;
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

edgekit_code edgekit_open(const char *folder, const edgekit_options *options, edgekit_session **session,
                          edgekit_error *error) {
    edgekit_options chosen;
    no_failure(error);
    if (session == NULL) return fail(error, EDGEKIT_BAD_INPUT, "session is NULL: there is nowhere to put it");
    *session = NULL;
    edgekit_options_init(&chosen);
    size_t least = offsetof(edgekit_options, model_file), most = 4096; /* an older header's struct is shorter */
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
    if (self->text != NULL) text_close(self->text);
    self->text = NULL;
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

edgekit_code edgekit_run(edgekit_session *session, const edgekit_tensor *inputs, size_t input_count,
                         edgekit_outputs **outputs, edgekit_error *error) {
    edgekit_code code = enter(session, "run", error);
    if (code != EDGEKIT_OK) return code;
    code = outputs == NULL || (inputs == NULL && input_count > 0)
               ? fail(error, EDGEKIT_BAD_INPUT, "inputs or outputs is NULL")
               : onnx_run(session->onnx, inputs, input_count, EVERY_OUTPUT, outputs, error);
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

edgekit_code edgekit_logits(edgekit_session *session, const int32_t *ids, size_t id_count, float *logits,
                            size_t logits_count, edgekit_error *error) {
    edgekit_code code = enter(session, "logits", error);
    if (code != EDGEKIT_OK) return code;
    code = llama_logits(session->llama, ids, id_count, logits, logits_count, error);
    leave(session);
    return code;
}

edgekit_code edgekit_greedy(edgekit_session *session, const int32_t *ids, size_t id_count, int32_t max_tokens,
                            edgekit_on_token on_token, void *user, edgekit_error *error) {
    edgekit_code code = enter(session, "greedy", error);
    if (code != EDGEKIT_OK) return code;
    code = on_token == NULL ? fail(error, EDGEKIT_BAD_INPUT, "on_token is NULL")
                            : llama_greedy(session->llama, ids, id_count, max_tokens, on_token, user, error);
    leave(session);
    return code;
}

edgekit_code edgekit_embed_ids(edgekit_session *session, const int32_t *ids, size_t id_count, float *vector,
                               size_t width, edgekit_error *error) {
    edgekit_code code = enter(session, "embed_ids", error);
    if (code != EDGEKIT_OK) return code;
    code = vector == NULL ? fail(error, EDGEKIT_BAD_INPUT, "vector is NULL")
                          : llama_embed(session->llama, ids, id_count, vector, width, session->normalize, error);
    leave(session);
    return code;
}

edgekit_code edgekit_tokenize(edgekit_session *session, const char *text, int32_t **ids, size_t *count,
                              edgekit_error *error) {
    edgekit_code code = enter(session, "tokenize", error);
    if (code != EDGEKIT_OK) return code;
    code = ids == NULL || count == NULL ? fail(error, EDGEKIT_BAD_INPUT, "ids or count is NULL")
                                        : check_text(text, "the text", error);
    if (code == EDGEKIT_OK) code = session_ids(session, text, true, ids, count, error);
    leave(session);
    return code;
}

void edgekit_ids_free(int32_t *ids) { free(ids); }

edgekit_code edgekit_generate(edgekit_session *session, const char *prompt, const edgekit_generation *options,
                              edgekit_on_text on_text, void *user, edgekit_error *error) {
    edgekit_code code = enter(session, "generate", error);
    if (code != EDGEKIT_OK) return code;
    code = session_generate(session, prompt, options, on_text, user, error);
    leave(session);
    return code;
}

edgekit_code edgekit_chat(edgekit_session *session, const edgekit_message *messages, size_t message_count,
                          const edgekit_generation *options, edgekit_on_text on_text, void *user,
                          edgekit_error *error) {
    edgekit_code code = enter(session, "chat", error);
    if (code != EDGEKIT_OK) return code;
    code = session_chat(session, messages, message_count, options, on_text, user, error);
    leave(session);
    return code;
}

size_t edgekit_embedding_width(const edgekit_session *session) {
    return session == NULL ? 0 : embedding_width(session);
}

edgekit_code edgekit_embed(edgekit_session *session, const char *text, float *vector, size_t width,
                           edgekit_error *error) {
    edgekit_code code = enter(session, "embed", error);
    if (code != EDGEKIT_OK) return code;
    code = session_embed(session, text, vector, width, error);
    leave(session);
    return code;
}

edgekit_code edgekit_classify(edgekit_session *session, const char *text, const char *pair, edgekit_labels **labels,
                              edgekit_error *error) {
    edgekit_code code = enter(session, "classify", error);
    if (code != EDGEKIT_OK) return code;
    code = session_classify(session, text, pair, labels, error);
    leave(session);
    return code;
}

edgekit_code edgekit_classify_pixels(edgekit_session *session, const uint8_t *rgb, int32_t height, int32_t width,
                                     edgekit_labels **labels, edgekit_error *error) {
    edgekit_code code = enter(session, "classify_pixels", error);
    if (code != EDGEKIT_OK) return code;
    code = session_classify_pixels(session, rgb, height, width, labels, error);
    leave(session);
    return code;
}

edgekit_code edgekit_self_test(edgekit_session *session, edgekit_goldens **goldens, edgekit_error *error) {
    edgekit_code code = enter(session, "self_test", error);
    if (code != EDGEKIT_OK) return code;
    code = session_self_test(session, goldens, error);
    leave(session);
    return code;
}
