/* The bare engine for Overhead.java: a run is one call of ONNX Runtime's Run, on tensors made once, in the engine's
 * session that the wrapper holds. Compiled with the C runtime inside, whose session is looked into. */
#include <jni.h>

#include "edgekit.c"

#define MAX_INPUTS 8
#define MAX_OUTPUTS 8

typedef struct bare {
    onnx_engine *engine;
    size_t count;
    const char *names[MAX_INPUTS];
    OrtValue *values[MAX_INPUTS];
} bare;

static void die(JNIEnv *env, const char *message) { (*env)->FatalError(env, message); }

static void check(JNIEnv *env, const bare *self, OrtStatus *status) {
    if (status != NULL) die(env, self->engine->api->GetErrorMessage(status));
}

JNIEXPORT jlong JNICALL Java_Overhead_bareOf(JNIEnv *env, jclass caller, jlong session, jobjectArray names,
                                             jobjectArray data) {
    bare *self = calloc(1, sizeof *self);
    (void)caller;
    self->count = (size_t)(*env)->GetArrayLength(env, names);
    if (self->count > MAX_INPUTS) die(env, "too many inputs");
    self->engine = ((const edgekit_session *)(intptr_t)session)->onnx;
    if (self->engine->output_count > MAX_OUTPUTS) die(env, "too many outputs");
    for (jsize index = 0; index < (jsize)self->count; index++) {
        jstring name = (*env)->GetObjectArrayElement(env, names, index);
        jobject buffer = (*env)->GetObjectArrayElement(env, data, index);
        size_t bytes = (size_t)(*env)->GetDirectBufferCapacity(env, buffer);
        const int64_t shape[2] = {1, (int64_t)(bytes / sizeof(int64_t))};
        self->names[index] = (*env)->GetStringUTFChars(env, name, NULL);
        check(env, self, self->engine->api->CreateTensorWithDataAsOrtValue(
                             self->engine->memory, (*env)->GetDirectBufferAddress(env, buffer), bytes, shape, 2,
                             EDGEKIT_INT64, &self->values[index]));
    }
    return (jlong)(intptr_t)self;
}

JNIEXPORT jfloat JNICALL Java_Overhead_runBare(JNIEnv *env, jclass caller, jlong handle) {
    const bare *self = (const bare *)(intptr_t)handle;
    const ort_api *api = self->engine->api;
    OrtValue *outputs[MAX_OUTPUTS] = {NULL};
    float *numbers = NULL;
    (void)caller;
    check(env, self, api->Run(self->engine->session, NULL, self->names, (const OrtValue *const *)self->values,
                              self->count, (const char *const *)self->engine->outputs,
                              self->engine->output_count, outputs));
    check(env, self, api->GetTensorMutableData(outputs[0], (void **)&numbers));
    jfloat first = numbers[0];
    for (size_t index = 0; index < self->engine->output_count; index++) api->ReleaseValue(outputs[index]);
    return first;
}
