/* Labels of texts, of their tokens, and of pictures. */
#ifndef EDGEKIT_CLASSIFYING_H
#define EDGEKIT_CLASSIFYING_H

#include "answering.h"

static size_t logits_output(const onnx_engine *onnx) {
    for (size_t index = 0; index < onnx->output_count; index++) {
        if (strcmp(onnx->outputs[index], "logits") == 0) return index;
    }
    return 0;
}

/* Row `row` of logits [..., labels] as probabilities, to be freed; NULL without memory. */
static double *scores_of(const edgekit_session *self, const edgekit_tensor *logits, size_t row, size_t labels) {
    double *scores = malloc((labels + 1) * sizeof *scores);
    if (scores == NULL) return NULL;
    for (size_t index = 0; index < labels; index++) {
        scores[index] = tensor_number(logits->data, logits->dtype, row * labels + index);
    }
    probabilities(&self->bundle, scores, labels);
    return scores;
}

/* Logits [1, labels], ranked. */
static edgekit_code rank_logits(const edgekit_session *self, const edgekit_tensor *logits, edgekit_labels *labels,
                                edgekit_error *error) {
    if (logits->rank != 2 || logits->shape[0] != 1 || logits->shape[1] < 1) {
        return fail(error, EDGEKIT_RUN_FAILED, "%.100s has %d axes of %zu bytes, expected [1, labels]", logits->name,
                    (int)logits->rank, logits->bytes);
    }
    size_t count = (size_t)logits->shape[1];
    double *scores = scores_of(self, logits, 0, count);
    edgekit_code code = scores == NULL ? fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the labels")
                                       : labels_of_scores(&self->bundle, scores, count, labels, error);
    free(scores);
    return code;
}

static edgekit_code classify_text(edgekit_session *self, const char *text, const char *pair, edgekit_labels *labels,
                                  edgekit_error *error) {
    text_encoding encoding;
    edgekit_outputs *outputs = NULL;
    edgekit_code code = encode_cut(self, text, pair, &encoding, error);
    if (code == EDGEKIT_OK) {
        code = run_ids(self, encoding.ids, encoding.types, encoding.count, logits_output(self->onnx), &outputs, error);
    }
    text_encoding_free(&encoding);
    if (code == EDGEKIT_OK) code = rank_logits(self, &outputs->tensors[0], labels, error);
    edgekit_outputs_free(outputs);
    return code;
}

/* The label of each token of one window: `count` tokens of the text from `first` on, behind `before` special ones. */
static edgekit_code label_window(edgekit_session *self, const text_encoding *whole, size_t first, size_t count,
                                 size_t before, const edgekit_tensor *logits, edgekit_labels *labels,
                                 edgekit_error *error) {
    if (logits->rank != 3 || logits->shape[0] != 1 || logits->shape[1] < (int64_t)(before + count) ||
        logits->shape[2] < 1) {
        return fail(error, EDGEKIT_RUN_FAILED, "%.100s has %d axes of %zu bytes, expected [1, tokens, labels]",
                    logits->name, (int)logits->rank, logits->bytes);
    }
    size_t width = (size_t)logits->shape[2];
    edgekit_code code = check_label_count(&self->bundle, width, error);
    for (size_t index = 0; index < count && code == EDGEKIT_OK; index++) {
        double *scores = scores_of(self, logits, before + index, width);
        size_t best = 0, token = first + index;
        for (size_t label = 1; label < width && scores != NULL; label++) {
            if (scores[label] > scores[best]) best = label;
        }
        bool kept = scores != NULL && labels_add(labels, &self->bundle, best, scores[best], whole->starts[token],
                                                 whole->ends[token]);
        if (!kept) code = fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the labels");
        free(scores);
    }
    return code;
}

/* The whole text by windows of max_tokens, each between the special tokens that stand around the whole. */
static edgekit_code label_windows(edgekit_session *self, const text_encoding *whole, size_t most,
                                  edgekit_labels *labels, edgekit_error *error) {
    size_t before = 0, behind = 0;
    while (before < whole->count && whole->special[before]) before++;
    while (behind < whole->count - before && whole->special[whole->count - 1 - behind]) behind++;
    size_t words = whole->count - before - behind, room = most - before - behind;
    if (most <= before + behind) {
        return fail(error, EDGEKIT_LOAD_FAILED, "text.max_tokens is %zu, and %zu special tokens stand in every text",
                    most, before + behind);
    }
    edgekit_code code = EDGEKIT_OK;
    int32_t *ids = malloc((before + words + behind + 1) * sizeof *ids);
    if (ids == NULL) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a text");
    if (before > 0) memcpy(ids, whole->ids, before * sizeof *ids);
    for (size_t first = 0; first < words && code == EDGEKIT_OK; first += room) {
        size_t count = words - first < room ? words - first : room;
        edgekit_outputs *outputs = NULL;
        memcpy(ids + before, whole->ids + before + first, count * sizeof *ids);
        memcpy(ids + before + count, whole->ids + before + words, behind * sizeof *ids);
        code = run_ids(self, ids, NULL, before + count + behind, logits_output(self->onnx), &outputs, error);
        if (code == EDGEKIT_OK) {
            code = label_window(self, whole, before + first, count, before, &outputs->tensors[0], labels, error);
        }
        edgekit_outputs_free(outputs);
    }
    free(ids);
    return code;
}

static edgekit_code classify_tokens(edgekit_session *self, const char *text, edgekit_labels *labels,
                                    edgekit_error *error) {
    const json_value *most = bundle_setting(&self->bundle, "text", "max_tokens", JSON_NUMBER, error);
    text_encoding whole;
    if (most == NULL) return EDGEKIT_BUNDLE_INVALID;
    if (self->text == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "the bundle has no tokenizer: its manifest's text is null");
    }
    edgekit_code code = text_encode(self->text, text, NULL, true, 0, &whole, error);
    if (code != EDGEKIT_OK) return code;
    code = label_windows(self, &whole, most->integer < 1 ? 0 : (size_t)most->integer, labels, error);
    text_encoding_free(&whole);
    return code;
}

/* One of text or tokens, by the task. */
static edgekit_code session_classify(edgekit_session *self, const char *text, const char *pair,
                                     edgekit_labels **labels, edgekit_error *error) {
    bool tokens = is_task(self, "token-classification");
    if (labels == NULL) return fail(error, EDGEKIT_BAD_INPUT, "labels is NULL");
    *labels = NULL;
    edgekit_code code = check_text(text, "the text", error);
    if (code == EDGEKIT_OK && pair != NULL) code = check_text(pair, "the pair", error);
    if (code == EDGEKIT_OK && pair != NULL && tokens) {
        code = fail(error, EDGEKIT_BAD_INPUT, "tokens are classified of one text, not of a pair");
    }
    if (code != EDGEKIT_OK) return code;
    edgekit_labels *found = calloc(1, sizeof *found);
    if (found == NULL) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the labels");
    code = tokens ? classify_tokens(self, text, found, error) : classify_text(self, text, pair, found, error);
    if (code == EDGEKIT_OK) {
        *labels = found;
    } else {
        edgekit_labels_free(found);
    }
    return code;
}

#endif
