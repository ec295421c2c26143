/* What ONNX Runtime is asked for once a model is open: outputs of tensors, checked before the engine sees them. */
#ifndef EDGEKIT_ONNX_CALLS_H
#define EDGEKIT_ONNX_CALLS_H

#include "onnxruntime.h"

#define EVERY_OUTPUT SIZE_MAX

static edgekit_code check_tensor(const graph_input *want, const edgekit_tensor *have, edgekit_error *error) {
    if (want->dtype == 0 || dtype_bytes(want->dtype) == 0) {
        return fail(error, EDGEKIT_BAD_INPUT, "the input %s is of a kind that this runtime cannot feed", want->name);
    }
    if ((int)have->dtype != want->dtype) {
        return fail(error, EDGEKIT_BAD_INPUT, "the input %s is %s, expected %s", want->name,
                    dtype_name((int)have->dtype), dtype_name(want->dtype));
    }
    if (have->rank < 0 || (size_t)have->rank != want->rank) {
        return fail(error, EDGEKIT_BAD_INPUT, "the input %s has %d axes, expected %zu", want->name, (int)have->rank,
                    want->rank);
    }
    for (size_t axis = 0; axis < want->rank; axis++) {
        if (want->shape[axis] >= 0 && want->shape[axis] != have->shape[axis]) {
            return fail(error, EDGEKIT_BAD_INPUT, "axis %zu of the input %s is %lld, expected %lld", axis, want->name,
                        (long long)have->shape[axis], (long long)want->shape[axis]);
        }
    }
    size_t bytes = tensor_bytes(want->dtype, have->shape, want->rank);
    if (bytes == SIZE_MAX || bytes != have->bytes || (have->data == NULL && bytes > 0)) {
        return fail(error, EDGEKIT_BAD_INPUT, "the input %s has %zu bytes of data, its shape asks for %zu", want->name,
                    have->bytes, bytes);
    }
    return EDGEKIT_OK;
}

/* An engine's value around each input, in the graph's order. Made so far are released by the caller. */
static edgekit_code onnx_feed(onnx_engine *self, const edgekit_tensor *inputs, size_t count, const char **names,
                              OrtValue **values, edgekit_error *error) {
    static unsigned char nothing;
    if (count != self->input_count) {
        return fail(error, EDGEKIT_BAD_INPUT, "there are %zu inputs, the model takes %zu", count, self->input_count);
    }
    for (size_t index = 0; index < count; index++) {
        const graph_input *want = &self->inputs[index];
        const edgekit_tensor *have = NULL;
        for (size_t other = 0; other < count && have == NULL; other++) {
            if (inputs[other].name != NULL && strcmp(inputs[other].name, want->name) == 0) have = &inputs[other];
        }
        if (have == NULL) {
            return fail(error, EDGEKIT_BAD_INPUT, "the input %s, which the model takes, is missing", want->name);
        }
        edgekit_code code = check_tensor(want, have, error);
        if (code != EDGEKIT_OK) return code;
        names[index] = want->name;
        void *data = have->bytes > 0 ? have->data : &nothing;
        OrtStatus *status = self->api->CreateTensorWithDataAsOrtValue(self->memory, data, have->bytes, have->shape,
                                                                      want->rank, want->dtype, &values[index]);
        code = ort_check(self->api, status, EDGEKIT_RUN_FAILED, "ONNX Runtime", error);
        if (code != EDGEKIT_OK) return code;
    }
    return EDGEKIT_OK;
}

static edgekit_code describe_output(const ort_api *api, OrtValue *value, edgekit_tensor *tensor, edgekit_error *error) {
    OrtTensorInfo *info = NULL;
    int is_tensor = 0, dtype = 0;
    size_t rank = 0;
    OrtStatus *status = api->IsTensor(value, &is_tensor);
    if (status == NULL && !is_tensor) {
        return fail(error, EDGEKIT_RUN_FAILED, "the output %s is no tensor", tensor->name);
    }
    if (status == NULL) status = api->GetTensorTypeAndShape(value, &info);
    if (status == NULL) status = api->GetTensorElementType(info, &dtype);
    if (status == NULL) status = api->GetDimensionsCount(info, &rank);
    bool fits = status == NULL && rank <= EDGEKIT_MAX_RANK && dtype_bytes(dtype) > 0;
    if (fits) status = api->GetDimensions(info, tensor->shape, rank);
    if (fits && status == NULL) status = api->GetTensorMutableData(value, &tensor->data);
    if (info != NULL) api->ReleaseTensorTypeAndShapeInfo(info);
    if (status == NULL && !fits) {
        return fail(error, EDGEKIT_RUN_FAILED, "the output %s has %zu axes or is %s", tensor->name, rank,
                    dtype_name(dtype));
    }
    if (status != NULL) return ort_check(api, status, EDGEKIT_RUN_FAILED, "ONNX Runtime", error);
    tensor->dtype = (edgekit_dtype)dtype;
    tensor->rank = (int32_t)rank;
    tensor->bytes = tensor_bytes(dtype, tensor->shape, rank);
    return EDGEKIT_OK;
}

void edgekit_outputs_free(edgekit_outputs *outputs) {
    if (outputs == NULL) return;
    for (size_t index = 0; index < outputs->count; index++) {
        if (outputs->values[index] != NULL) outputs->api->ReleaseValue(outputs->values[index]);
        free((char *)(uintptr_t)outputs->tensors[index].name);
    }
    free(outputs->values);
    free(outputs->tensors);
    free(outputs);
}

/* Of every output, or of the one numbered `only`. */
static edgekit_outputs *new_outputs(const onnx_engine *self, size_t only) {
    size_t first = only == EVERY_OUTPUT ? 0 : only;
    edgekit_outputs *outputs = calloc(1, sizeof *outputs);
    if (outputs == NULL) return NULL;
    outputs->api = self->api;
    outputs->values = calloc(self->output_count + 1, sizeof *outputs->values);
    outputs->tensors = calloc(self->output_count + 1, sizeof *outputs->tensors);
    if (outputs->values == NULL || outputs->tensors == NULL) {
        edgekit_outputs_free(outputs);
        return NULL;
    }
    outputs->count = only == EVERY_OUTPUT ? self->output_count : 1;
    for (size_t index = 0; index < outputs->count; index++) {
        outputs->tensors[index].name = strdup(self->outputs[first + index]);
        if (outputs->tensors[index].name == NULL) {
            edgekit_outputs_free(outputs);
            return NULL;
        }
    }
    return outputs;
}

/* The engine's run between the moments at which cancel() can see it: the flag first, then the options. */
static edgekit_code onnx_call(onnx_engine *self, const char *const *names, OrtValue *const *values, size_t only,
                              edgekit_outputs *outputs, edgekit_error *error) {
    const char *const *wanted = (const char *const *)self->outputs + (only == EVERY_OUTPUT ? 0 : only);
    OrtRunOptions *options = NULL;
    OrtStatus *status = self->api->CreateRunOptions(&options);
    if (status != NULL) return ort_check(self->api, status, EDGEKIT_RUN_FAILED, "ONNX Runtime", error);
    pthread_mutex_lock(&self->guard);
    self->running = options;
    pthread_mutex_unlock(&self->guard);
    if (!atomic_load(self->cancelled)) {
        status = self->api->Run(self->session, options, names, (const OrtValue *const *)values, self->input_count,
                                wanted, outputs->count, outputs->values);
    }
    pthread_mutex_lock(&self->guard);
    self->running = NULL;
    pthread_mutex_unlock(&self->guard);
    self->api->ReleaseRunOptions(options);
    bool ran = status == NULL;
    edgekit_code code = ort_check(self->api, status, EDGEKIT_RUN_FAILED, "ONNX Runtime", error);
    if (atomic_load(self->cancelled) && (!ran || outputs->values[0] == NULL)) {
        return fail(error, EDGEKIT_CANCELLED, "the call was cancelled");
    }
    return code;
}

/* `only` is the number of the one output that is wanted, or EVERY_OUTPUT. */
static edgekit_code onnx_run(onnx_engine *self, const edgekit_tensor *inputs, size_t count, size_t only,
                             edgekit_outputs **found, edgekit_error *error) {
    const char **names = calloc(self->input_count + 1, sizeof *names);
    OrtValue **values = calloc(self->input_count + 1, sizeof *values);
    edgekit_outputs *outputs = new_outputs(self, only);
    edgekit_code code = names == NULL || values == NULL || outputs == NULL
                            ? fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a call")
                            : onnx_feed(self, inputs, count, names, values, error);
    if (code == EDGEKIT_OK) code = onnx_call(self, names, values, only, outputs, error);
    for (size_t index = 0; code == EDGEKIT_OK && index < outputs->count; index++) {
        code = describe_output(self->api, outputs->values[index], &outputs->tensors[index], error);
    }
    for (size_t index = 0; values != NULL && index < self->input_count; index++) {
        if (values[index] != NULL) self->api->ReleaseValue(values[index]);
    }
    free(names);
    free(values);
    if (code != EDGEKIT_OK) {
        edgekit_outputs_free(outputs);
        return code;
    }
    *found = outputs;
    return EDGEKIT_OK;
}

#endif
