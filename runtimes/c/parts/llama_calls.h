/* What llama.cpp is asked for once a model is open: scores, greedy steps, vectors, and its own vocabulary. */
#ifndef EDGEKIT_LLAMA_CALLS_H
#define EDGEKIT_LLAMA_CALLS_H

#include "llamacpp.h"

/* The length of an answer when nobody names one. */
#define DEFAULT_MAX_TOKENS 256

/* Teacher-forced by pieces: `take` is given each piece's scores [rows, vocabulary] and its first position. */
typedef void (*llama_take)(const llama_engine *self, const float *scores, size_t start, size_t rows, void *to);

static edgekit_code llama_forced(llama_engine *self, const int32_t *ids, size_t count, llama_take take, void *to,
                                 edgekit_error *error) {
    edgekit_code code = llama_check_ids(self, ids, count, error);
    if (code == EDGEKIT_OK && count > (size_t)self->limit) {
        code = fail(error, EDGEKIT_PROMPT_TOO_LONG, "%zu tokens do not fit the context of %d", count, (int)self->limit);
    }
    if (code != EDGEKIT_OK) return code;
    llama_forget(self);
    size_t most = (size_t)(self->batch_tokens < OUTPUT_ROWS ? self->batch_tokens : OUTPUT_ROWS);
    for (size_t start = 0; start < count && code == EDGEKIT_OK; start += most) {
        size_t rows = count - start < most ? count - start : most;
        code = llama_step(self, ids + start, (int32_t)rows, (int32_t)start, (int32_t)rows, error);
        if (code != EDGEKIT_OK) break;
        const float *scores = self->api.llama_get_logits(self->context);
        if (scores == NULL) return fail(error, EDGEKIT_RUN_FAILED, "llama.cpp gives no scores: this model has none");
        take(self, scores, start, rows, to);
    }
    return code;
}

static void take_all(const llama_engine *self, const float *scores, size_t start, size_t rows, void *to) {
    size_t width = (size_t)self->vocabulary;
    memcpy((float *)to + start * width, scores, rows * width * sizeof *scores);
}

static void take_last(const llama_engine *self, const float *scores, size_t start, size_t rows, void *to) {
    size_t width = (size_t)self->vocabulary;
    (void)start;
    memcpy(to, scores + (rows - 1) * width, width * sizeof *scores);
}

static edgekit_code llama_logits(llama_engine *self, const int32_t *ids, size_t count, float *logits, size_t room,
                                 edgekit_error *error) {
    edgekit_code code = llama_check_ids(self, ids, count, error);
    bool fits = code == EDGEKIT_OK && count <= (size_t)self->limit; /* else llama_forced says so */
    if (fits && (logits == NULL || room != count * (size_t)self->vocabulary)) {
        return fail(error, EDGEKIT_BAD_INPUT, "logits has room for %zu values, expected %zu x %d", room, count,
                    (int)self->vocabulary);
    }
    return code == EDGEKIT_OK ? llama_forced(self, ids, count, take_all, logits, error) : code;
}

/* The prompt by pieces, each between two looks at cancel; then the scores of what follows are there. */
static edgekit_code llama_prompt(llama_engine *self, const int32_t *ids, size_t count, edgekit_error *error) {
    edgekit_code code = EDGEKIT_OK;
    llama_forget(self);
    for (size_t start = 0; start < count && code == EDGEKIT_OK; start += (size_t)self->batch_tokens) {
        size_t left = count - start, piece = left < (size_t)self->batch_tokens ? left : (size_t)self->batch_tokens;
        code = llama_step(self, ids + start, (int32_t)piece, (int32_t)start, 1, error);
    }
    return code;
}

/* What the last token's scores are. RUN_FAILED, CANCELLED. */
static edgekit_code llama_scores(llama_engine *self, const float **scores, edgekit_error *error) {
    if (atomic_load(self->cancelled)) return fail(error, EDGEKIT_CANCELLED, "the call was cancelled");
    *scores = self->api.llama_get_logits_ith(self->context, -1);
    if (*scores != NULL) return EDGEKIT_OK;
    return fail(error, EDGEKIT_RUN_FAILED, "llama.cpp gives no scores: this model has none");
}

/* `*max_tokens` where it is 0: what a call gives that names none. PROMPT_TOO_LONG where both do not fit the context. */
static edgekit_code llama_fitting(const llama_engine *self, size_t count, int32_t *max_tokens, edgekit_error *error) {
    if (*max_tokens == 0) {
        int64_t left = (int64_t)self->limit - (int64_t)count;
        *max_tokens = left < 1 ? 1 : left < DEFAULT_MAX_TOKENS ? (int32_t)left : DEFAULT_MAX_TOKENS;
    }
    if (*max_tokens < 1) {
        return fail(error, EDGEKIT_BAD_INPUT, "max_tokens is %d, expected 1 or more", (int)*max_tokens);
    }
    if (count >= (size_t)self->limit) {
        return fail(error, EDGEKIT_PROMPT_TOO_LONG, "a prompt of %zu tokens %s the context of %d: shorten it", count,
                    count > (size_t)self->limit ? "exceeds" : "fills", (int)self->limit);
    }
    if (count + (size_t)*max_tokens > (size_t)self->limit) {
        return fail(error, EDGEKIT_PROMPT_TOO_LONG,
                    "a prompt of %zu tokens and up to %d of answer exceed the context of %d: shorten the prompt or "
                    "lower max_tokens",
                    count, (int)*max_tokens, (int)self->limit);
    }
    return EDGEKIT_OK;
}

/* The first of the largest. */
static int32_t llama_best(const float *scores, int32_t count) {
    int32_t best = 0;
    for (int32_t token = 1; token < count; token++) {
        if (scores[token] > scores[best]) best = token;
    }
    return best;
}

static edgekit_code llama_greedy(llama_engine *self, const int32_t *ids, size_t count, int32_t max_tokens,
                                 edgekit_on_token on_token, void *user, edgekit_error *error) {
    edgekit_code code = llama_check_ids(self, ids, count, error);
    if (code == EDGEKIT_OK && max_tokens < 1) {
        code = fail(error, EDGEKIT_BAD_INPUT, "max_tokens is %d, expected 1 or more", (int)max_tokens);
    }
    if (code == EDGEKIT_OK) code = llama_fitting(self, count, &max_tokens, error);
    if (code == EDGEKIT_OK) code = llama_prompt(self, ids, count, error);
    for (int32_t step = 0; step < max_tokens && code == EDGEKIT_OK; step++) {
        const float *scores = NULL;
        if ((code = llama_scores(self, &scores, error)) != EDGEKIT_OK) break;
        int32_t best = llama_best(scores, self->vocabulary);
        if (on_token(best, user) != 0) return fail(error, EDGEKIT_CANCELLED, "the callback asked to stop");
        if (step + 1 < max_tokens) code = llama_step(self, &best, 1, (int32_t)count + step, 1, error);
    }
    return code;
}

/* A text that is too long keeps its closing special token. */
static edgekit_code llama_embed(llama_engine *self, const int32_t *ids, size_t count, float *vector, size_t width,
                                bool normalize, edgekit_error *error) {
    edgekit_code code = llama_check_ids(self, ids, count, error);
    size_t kept = count < (size_t)self->limit ? count : (size_t)self->limit;
    if (code != EDGEKIT_OK) return code;
    int32_t *cut = malloc(kept * sizeof *cut);
    if (cut == NULL) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a call");
    memcpy(cut, ids, kept * sizeof *cut);
    cut[kept - 1] = ids[count - 1];
    llama_forget(self);
    code = llama_step(self, cut, (int32_t)kept, 0, (int32_t)kept, error);
    free(cut);
    if (code != EDGEKIT_OK) return code;
    const float *found = self->api.llama_get_embeddings_seq(self->context, 0);
    int32_t have = self->api.llama_model_n_embd_out(self->model);
    if (found == NULL || (size_t)have != width) {
        return fail(error, EDGEKIT_RUN_FAILED, "the engine gives %d values per text, %zu are expected",
                    found == NULL ? 0 : (int)have, width);
    }
    double squares = 0;
    for (size_t index = 0; index < width; index++) squares += (double)found[index] * found[index];
    double length = normalize ? fmax(sqrt(squares), 1e-12) : 1;
    for (size_t index = 0; index < width; index++) vector[index] = (float)(found[index] / length);
    return EDGEKIT_OK;
}

/* The engine's own vocabulary: ids with the special tokens the model wants if `add_special`; those spelt out in the text
 * are taken for what they are. *ids is to be freed. */
static edgekit_code llama_text_ids(const llama_engine *self, const char *text, bool add_special, int32_t **ids,
                                   size_t *count, edgekit_error *error) {
    size_t bytes = strlen(text);
    *ids = NULL;
    if (bytes > INT32_MAX - 16) {
        return fail(error, EDGEKIT_BAD_INPUT, "a text of %zu bytes is too long to tokenize", bytes);
    }
    for (int32_t room = (int32_t)bytes + 16;;) {
        int32_t *grown = realloc(*ids, (size_t)room * sizeof *grown);
        if (grown == NULL) {
            free(*ids);
            *ids = NULL;
            return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a text's tokens");
        }
        *ids = grown;
        int32_t found = self->api.llama_tokenize(self->vocab, text, (int32_t)bytes, grown, room, add_special, true);
        if (found >= 0) {
            *count = (size_t)found;
            return EDGEKIT_OK;
        }
        if (found == INT32_MIN || -found <= room) {
            free(*ids);
            *ids = NULL;
            return fail(error, EDGEKIT_BAD_INPUT, "a text of %zu bytes is too long to tokenize", bytes);
        }
        room = -found;
    }
}

/* The token's bytes, written to `*piece`, which grows (start with NULL and 0); their number, or -1 without memory. None
 * for control tokens, which are not text. */
static int32_t llama_piece(const llama_engine *self, int32_t token, char **piece, int32_t *room) {
    int32_t bytes = *room > 0 ? self->api.llama_token_to_piece(self->vocab, token, *piece, *room, 0, false) : -64;
    while (bytes < 0) {
        char *grown = realloc(*piece, (size_t)-(int64_t)bytes);
        if (grown == NULL) return -1;
        *piece = grown;
        *room = -bytes;
        bytes = self->api.llama_token_to_piece(self->vocab, token, *piece, *room, 0, false);
        if (bytes < 0 && -bytes <= *room) return -1;
    }
    return bytes;
}

#endif
