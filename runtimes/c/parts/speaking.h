/* Answers of a language model, streamed: the prompt's tokens, one pick at a time, text to the callback. */
#ifndef EDGEKIT_SPEAKING_H
#define EDGEKIT_SPEAKING_H

#include "chat.h"
#include "sample.h"
#include "session.h"
#include "stream.h"

/* What an older, shorter header does not have keeps its default. */
static edgekit_code read_generation(edgekit_generation *chosen, const edgekit_generation *options,
                                    edgekit_error *error) {
    size_t least = offsetof(edgekit_generation, temperature), most = 4096;
    edgekit_generation_init(chosen);
    if (options == NULL) return EDGEKIT_OK;
    if (options->struct_bytes < least || options->struct_bytes > most) {
        return fail(error, EDGEKIT_BAD_INPUT, "the options were not made by edgekit_generation_init");
    }
    memcpy(chosen, options, options->struct_bytes < sizeof *chosen ? options->struct_bytes : sizeof *chosen);
    if (chosen->max_tokens < 0) {
        return fail(error, EDGEKIT_BAD_INPUT, "max_tokens is %d, expected 1 or more", (int)chosen->max_tokens);
    }
    return check_stops(chosen, error);
}

static bool ends_text(const edgekit_session *self, int32_t token) {
    const json_value *ends = json_get(json_get(self->bundle.manifest, "generation"), "eos_token_ids");
    if (self->llama->api.llama_vocab_is_eog(self->llama->vocab, token)) return true;
    for (const json_value *each = json_is(ends, JSON_ARRAY) ? ends->first : NULL; each != NULL; each = each->next) {
        if (each->integer == token) return true;
    }
    return false;
}

/* Tokens until one ends the text, a stop string stands in it, or `max_tokens` are out. */
static edgekit_code speak(edgekit_session *self, const int32_t *ids, size_t count, int32_t max_tokens, sampler *picks,
                          text_stream *stream, edgekit_error *error) {
    char *piece = NULL;
    int32_t room = 0;
    edgekit_code code = llama_prompt(self->llama, ids, count, error);
    for (int32_t step = 0; step < max_tokens && code == EDGEKIT_OK && !stream->stopped; step++) {
        const float *scores = NULL;
        if ((code = llama_scores(self->llama, &scores, error)) != EDGEKIT_OK) break;
        int32_t token = sampler_pick(picks, scores, llama_best(scores, self->vocabulary));
        if (ends_text(self, token)) break;
        int32_t bytes = llama_piece(self->llama, token, &piece, &room);
        code = bytes < 0 ? fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the answer")
                         : stream_add(stream, piece, (size_t)bytes, error);
        if (code == EDGEKIT_OK && !stream->stopped && step + 1 < max_tokens) {
            code = llama_step(self->llama, &token, 1, (int32_t)count + step, 1, error);
        }
    }
    free(piece);
    return code == EDGEKIT_OK ? stream_end(stream, error) : code;
}

/* The continuation of `prompt`, which is UTF-8. */
static edgekit_code answer_prompt(edgekit_session *self, const char *prompt, bool add_special,
                                  const edgekit_generation *options, edgekit_on_text on_text, void *user,
                                  edgekit_error *error) {
    int32_t *ids = NULL, max_tokens = options->max_tokens;
    size_t count = 0;
    sampler picks;
    text_stream stream = {.stops = options->stop, .stop_count = options->stop_count, .on_text = on_text, .user = user};
    edgekit_code code = sampler_open(&picks, options, error);
    if (code == EDGEKIT_OK) code = session_ids(self, prompt, add_special, &ids, &count, error);
    if (code == EDGEKIT_OK) code = llama_check_ids(self->llama, ids, count, error);
    if (code == EDGEKIT_OK) code = llama_fitting(self->llama, count, &max_tokens, error);
    if (code == EDGEKIT_OK && !sampler_fit(&picks, self->vocabulary)) {
        code = fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a call");
    }
    if (code == EDGEKIT_OK) code = speak(self, ids, count, max_tokens, &picks, &stream, error);
    buffer_free(&stream.held);
    sampler_free(&picks);
    free(ids);
    return code;
}

static edgekit_code session_generate(edgekit_session *self, const char *prompt, const edgekit_generation *options,
                                     edgekit_on_text on_text, void *user, edgekit_error *error) {
    edgekit_generation chosen;
    edgekit_code code = read_generation(&chosen, options, error);
    if (code == EDGEKIT_OK && on_text == NULL) code = fail(error, EDGEKIT_BAD_INPUT, "on_text is NULL");
    if (code == EDGEKIT_OK) code = check_text(prompt, "the prompt", error);
    if (code != EDGEKIT_OK) return code;
    return answer_prompt(self, prompt, chosen.no_special_tokens == 0, &chosen, on_text, user, error);
}

static edgekit_code session_chat(edgekit_session *self, const edgekit_message *messages, size_t count,
                                 const edgekit_generation *options, edgekit_on_text on_text, void *user,
                                 edgekit_error *error) {
    edgekit_generation chosen;
    buffer prompt = {0};
    edgekit_code code = read_generation(&chosen, options, error);
    if (code == EDGEKIT_OK && on_text == NULL) code = fail(error, EDGEKIT_BAD_INPUT, "on_text is NULL");
    if (code == EDGEKIT_OK) code = chat_prompt(&self->bundle, messages, count, &prompt, error);
    if (code == EDGEKIT_OK) code = answer_prompt(self, prompt.bytes, false, &chosen, on_text, user, error);
    buffer_free(&prompt);
    return code;
}

#endif
