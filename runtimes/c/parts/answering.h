/* Text through ONNX bundles: ids to the tensors the graph takes, its outputs to vectors and labels. */
#ifndef EDGEKIT_ANSWERING_H
#define EDGEKIT_ANSWERING_H

#include "labels.h"
#include "numbers.h"
#include "session.h"

#define TEXT_INPUTS 3

/* What the graph is fed of one text; `data` is one block. */
typedef struct text_inputs {
    edgekit_tensor tensors[TEXT_INPUTS];
    void *data;
} text_inputs;

/* [1, count] of each input: ids, a mask of ones, the segments. `types` may be NULL: all are 0. Of no ids one is made,
 * masked, since engines take no empty text. */
static edgekit_code feed_ids(const onnx_engine *onnx, const int32_t *ids, const int32_t *types, size_t count,
                             text_inputs *fed, edgekit_error *error) {
    static const char *const names[TEXT_INPUTS] = {"input_ids", "attention_mask", "token_type_ids"};
    size_t width = count > 0 ? count : 1;
    fed->data = NULL;
    for (size_t index = 0; index < onnx->input_count; index++) {
        size_t name = 0;
        while (name < TEXT_INPUTS && strcmp(onnx->inputs[index].name, names[name]) != 0) name++;
        int dtype = onnx->inputs[index].dtype;
        bool whole = dtype == EDGEKIT_INT64 || dtype == EDGEKIT_INT32 || dtype == EDGEKIT_FLOAT32;
        if (name == TEXT_INPUTS || index >= TEXT_INPUTS || !whole) {
            return fail(error, EDGEKIT_LOAD_FAILED, "the graph wants %.100s, which text alone does not give",
                        onnx->inputs[index].name);
        }
    }
    fed->data = calloc(TEXT_INPUTS * width, sizeof(int64_t));
    if (fed->data == NULL) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a text");
    for (size_t index = 0; index < onnx->input_count; index++) {
        const graph_input *input = &onnx->inputs[index];
        void *data = (int64_t *)fed->data + index * width;
        for (size_t at = 0; at < count; at++) {
            int32_t value = strcmp(input->name, names[0]) == 0   ? ids[at]
                            : strcmp(input->name, names[1]) == 0 ? 1
                            : types == NULL                      ? 0
                                                                 : types[at];
            tensor_put(data, (edgekit_dtype)input->dtype, at, value, value);
        }
        fed->tensors[index] = (edgekit_tensor){
            input->name, (edgekit_dtype)input->dtype, 2, {1, (int64_t)width}, data, width * dtype_bytes(input->dtype)};
    }
    return EDGEKIT_OK;
}

/* The outputs, or the one numbered `only`, of a text's ids. */
static edgekit_code run_ids(edgekit_session *self, const int32_t *ids, const int32_t *types, size_t count, size_t only,
                            edgekit_outputs **outputs, edgekit_error *error) {
    text_inputs fed;
    edgekit_code code = feed_ids(self->onnx, ids, types, count, &fed, error);
    if (code == EDGEKIT_OK) code = onnx_run(self->onnx, fed.tensors, self->onnx->input_count, only, outputs, error);
    free(fed.data);
    return code;
}

/* The text, cut to the manifest's max_tokens. */
static edgekit_code encode_cut(edgekit_session *self, const char *text, const char *pair, text_encoding *encoding,
                               edgekit_error *error) {
    const json_value *most = bundle_setting(&self->bundle, "text", "max_tokens", JSON_NUMBER, error);
    memset(encoding, 0, sizeof *encoding);
    if (self->text == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "the bundle has no tokenizer: its manifest's text is null");
    }
    if (most == NULL) return EDGEKIT_BUNDLE_INVALID;
    if (most->integer < 1) {
        return fail(error, EDGEKIT_LOAD_FAILED, "text.max_tokens is %lld, expected 1 or more",
                    (long long)most->integer);
    }
    return text_encode(self->text, text, pair, true, (size_t)most->integer, encoding, error);
}

/* "sentence_embedding", or the first output that is one vector a text. */
static edgekit_code embedding_output(const onnx_engine *onnx, size_t *found, edgekit_error *error) {
    size_t flat = EVERY_OUTPUT;
    for (size_t index = onnx->output_count; index-- > 0;) {
        if (onnx->output_ranks[index] == 2) flat = index;
    }
    for (size_t index = 0; index < onnx->output_count; index++) {
        if (strcmp(onnx->outputs[index], "sentence_embedding") == 0) flat = index;
    }
    *found = flat;
    if (flat != EVERY_OUTPUT) return EDGEKIT_OK;
    return fail(error, EDGEKIT_RUN_FAILED, "none of the %zu outputs is one vector per text", onnx->output_count);
}

static edgekit_code onnx_embed(edgekit_session *self, const char *text, float *vector, size_t width,
                               edgekit_error *error) {
    text_encoding encoding;
    edgekit_outputs *outputs = NULL;
    size_t only = 0;
    edgekit_code code = encode_cut(self, text, NULL, &encoding, error);
    if (code == EDGEKIT_OK) code = embedding_output(self->onnx, &only, error);
    if (code == EDGEKIT_OK) {
        code = run_ids(self, encoding.ids, encoding.types, encoding.count, only, &outputs, error);
    }
    text_encoding_free(&encoding);
    if (code != EDGEKIT_OK) return code;
    const edgekit_tensor *row = &outputs->tensors[0];
    if (row->rank != 2 || row->shape[0] != 1 || row->shape[1] != (int64_t)width) {
        code = fail(error, EDGEKIT_RUN_FAILED, "%.100s is [%lld, %lld], expected [1, %zu]", row->name,
                    (long long)row->shape[0], (long long)(row->rank > 1 ? row->shape[1] : 0), width);
    }
    for (size_t index = 0; index < width && code == EDGEKIT_OK; index++) {
        vector[index] = (float)tensor_number(row->data, row->dtype, index);
    }
    edgekit_outputs_free(outputs);
    return code;
}

static edgekit_code llama_embed_text(edgekit_session *self, const char *text, float *vector, size_t width,
                                     edgekit_error *error) {
    int32_t *ids = NULL;
    size_t count = 0;
    edgekit_code code = session_ids(self, text, true, &ids, &count, error);
    if (code == EDGEKIT_OK) code = llama_embed(self->llama, ids, count, vector, width, self->normalize, error);
    free(ids);
    return code;
}

static size_t embedding_width(const edgekit_session *self) {
    const json_value *width = json_get(json_get(self->bundle.manifest, "embedding"), "width");
    bool embeds = is_task(self, "embedding") && json_is_whole(width) && width->integer > 0;
    return embeds && width->integer <= INT32_MAX ? (size_t)width->integer : 0;
}

static edgekit_code session_embed(edgekit_session *self, const char *text, float *vector, size_t width,
                                  edgekit_error *error) {
    edgekit_code code = check_text(text, "the text", error);
    if (code != EDGEKIT_OK) return code;
    if (embedding_width(self) == 0) {
        return bundle_setting(&self->bundle, "embedding", "width", JSON_NUMBER, error) == NULL
                   ? EDGEKIT_BUNDLE_INVALID
                   : fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": embedding.width is no width");
    }
    if (vector == NULL || width != embedding_width(self)) {
        return fail(error, EDGEKIT_BAD_INPUT, "vector is NULL or has room for %zu values, expected %zu", width,
                    embedding_width(self));
    }
    return self->onnx != NULL ? onnx_embed(self, text, vector, width, error)
                              : llama_embed_text(self, text, vector, width, error);
}

#endif
