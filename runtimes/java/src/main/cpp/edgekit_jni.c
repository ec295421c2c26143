/* dev.edgekit.Native on edgekit.h: every function takes Java's arrays apart, calls C, and puts arrays together.
 *
 * Texts come as bytes of UTF-8 that end with a zero, several as one array of such. A refusal becomes an exception by
 * Native.fail. What Java holds back here is only what lives as long as the class does: the ids of what is called. */
#include <jni.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "edgekit.h"

static struct {
    jclass native, object;
    jmethodID fail, text;
} java;

static edgekit_session *session_at(jlong handle) { return (edgekit_session *)(intptr_t)handle; }

/* Leaves an exception to be thrown once native code returns. */
static void refuse(JNIEnv *env, edgekit_code code, const char *message) {
    jsize bytes = (jsize)strlen(message);
    jbyteArray text = (*env)->NewByteArray(env, bytes);
    if (text == NULL) return;
    (*env)->SetByteArrayRegion(env, text, 0, bytes, (const jbyte *)message);
    (*env)->CallStaticVoidMethod(env, java.native, java.fail, (jint)code, text);
}

/* True if Java is to go on: the call succeeded, and no exception waits, a listener's for one. */
static bool went_well(JNIEnv *env, edgekit_code code, const edgekit_error *error) {
    if ((*env)->ExceptionCheck(env)) return false;
    if (code != EDGEKIT_OK) refuse(env, code, error->message);
    return code == EDGEKIT_OK;
}

static void *taken(JNIEnv *env, size_t count, size_t bytes_each) {
    void *memory = calloc(count > 0 ? count : 1, bytes_each);
    if (memory == NULL) refuse(env, EDGEKIT_RUN_FAILED, "there is no memory for a call's arguments");
    return memory;
}

/* The bytes of an array: NULL of null, and where there is no memory, of which an exception tells. */
static jbyte *lend(JNIEnv *env, jbyteArray array) {
    return array == NULL ? NULL : (*env)->GetByteArrayElements(env, array, NULL);
}

static void give_back(JNIEnv *env, jbyteArray array, jbyte *bytes) {
    if (bytes != NULL) (*env)->ReleaseByteArrayElements(env, array, bytes, JNI_ABORT);
}

static const char *text_of(const jbyte *bytes) { return (const char *)bytes; }

/* The texts in an array of several, each where its bytes are; freed by the caller. NULL and an exception. */
static const char **split(JNIEnv *env, const jbyte *joined, jsize bytes, size_t *count) {
    size_t found = 0;
    for (jsize at = 0; at < bytes; at++) found += joined[at] == 0;
    const char **texts = taken(env, found, sizeof *texts);
    *count = found;
    const char *text = text_of(joined);
    for (size_t index = 0; texts != NULL && index < found; index++) {
        texts[index] = text;
        text += strlen(text) + 1;
    }
    return texts;
}

/* One array of `count` texts, each with its zero. NULL and an exception where there is no memory. */
static jbyteArray join(JNIEnv *env, size_t count, const char *(*text_at)(const void *list, size_t index),
                       const void *list) {
    size_t bytes = 0;
    for (size_t index = 0; index < count; index++) bytes += strlen(text_at(list, index)) + 1;
    jbyteArray joined = (*env)->NewByteArray(env, (jsize)bytes);
    jsize at = 0;
    for (size_t index = 0; joined != NULL && index < count; index++) {
        jsize length = (jsize)strlen(text_at(list, index)) + 1;
        (*env)->SetByteArrayRegion(env, joined, at, length, (const jbyte *)text_at(list, index));
        at += length;
    }
    return joined;
}

/* An array of objects, NULL where one of them could not be made: an exception waits then. */
static jobjectArray together(JNIEnv *env, const jobject *parts, jsize count) {
    for (jsize index = 0; index < count; index++) {
        if (parts[index] == NULL) return NULL;
    }
    jobjectArray array = (*env)->NewObjectArray(env, count, java.object, NULL);
    for (jsize index = 0; array != NULL && index < count; index++) {
        (*env)->SetObjectArrayElement(env, array, index, parts[index]);
    }
    return array;
}

static void native_verify(JNIEnv *env, jclass caller, jbyteArray folder) {
    edgekit_error error;
    (void)caller;
    jbyte *path = lend(env, folder);
    if (path == NULL) return;
    edgekit_code code = edgekit_verify(text_of(path), &error);
    give_back(env, folder, path);
    went_well(env, code, &error);
}

static jlong native_open(JNIEnv *env, jclass caller, jbyteArray folder, jint threads, jlong memory_budget,
                         jboolean low_memory, jboolean verify, jint context_tokens, jbyteArray engine_library,
                         jbyteArray text_library) {
    edgekit_options options;
    edgekit_session *session = NULL;
    edgekit_error error;
    (void)caller;
    jbyte *path = lend(env, folder), *engine = lend(env, engine_library), *text = lend(env, text_library);
    edgekit_options_init(&options);
    options.threads = threads;
    options.memory_budget_bytes = (uint64_t)memory_budget;
    options.low_memory = low_memory;
    options.skip_verify = !verify;
    options.context_tokens = context_tokens;
    options.engine_library = text_of(engine);
    options.text_library = text_of(text);
    if (!(*env)->ExceptionCheck(env)) {
        edgekit_code code = edgekit_open(text_of(path), &options, &session, &error);
        went_well(env, code, &error);
    }
    give_back(env, folder, path);
    give_back(env, engine_library, engine);
    give_back(env, text_library, text);
    return (jlong)(intptr_t)session;
}

static jbyteArray native_info(JNIEnv *env, jclass caller, jlong handle) {
    const char *info = edgekit_info(session_at(handle));
    (void)caller;
    jsize bytes = (jsize)strlen(info);
    jbyteArray text = (*env)->NewByteArray(env, bytes);
    if (text != NULL) (*env)->SetByteArrayRegion(env, text, 0, bytes, (const jbyte *)info);
    return text;
}

static void native_cancel(JNIEnv *env, jclass caller, jlong handle) {
    (void)env, (void)caller;
    edgekit_cancel(session_at(handle));
}

static void native_free(JNIEnv *env, jclass caller, jlong handle) {
    (void)env, (void)caller;
    edgekit_free(session_at(handle));
}

/* `heads`: dtype and rank of each tensor in turn; `axes`: all shapes in a row. False and an exception. */
static bool fill_tensors(JNIEnv *env, edgekit_tensor *tensors, size_t count, const char *const *names,
                         jintArray heads, jlongArray axes, jobjectArray data) {
    jint *head = taken(env, 2 * count, sizeof *head);
    if (head != NULL) (*env)->GetIntArrayRegion(env, heads, 0, (jsize)(2 * count), head);
    jsize axis = 0;
    for (size_t index = 0; head != NULL && index < count && !(*env)->ExceptionCheck(env); index++) {
        edgekit_tensor *tensor = &tensors[index];
        tensor->name = names[index];
        tensor->dtype = (edgekit_dtype)head[2 * index];
        tensor->rank = head[2 * index + 1];
        (*env)->GetLongArrayRegion(env, axes, axis, tensor->rank, (jlong *)tensor->shape);
        axis += tensor->rank;
        jobject buffer = (*env)->GetObjectArrayElement(env, data, (jsize)index);
        tensor->data = (*env)->GetDirectBufferAddress(env, buffer);
        tensor->bytes = (size_t)(*env)->GetDirectBufferCapacity(env, buffer);
        (*env)->DeleteLocalRef(env, buffer);
    }
    free(head);
    return !(*env)->ExceptionCheck(env);
}

static const char *output_name(const void *list, size_t index) { return edgekit_outputs_at(list, index)->name; }

/* A copy: the engine's memory goes back to it before Java is done with the tensor. In an array, which the garbage
 * collector sees as large as it is; direct buffers pile up unseen, and take longer to make. */
static jbyteArray array_of(JNIEnv *env, const edgekit_tensor *tensor) {
    if (tensor->bytes > INT32_MAX) {
        refuse(env, EDGEKIT_RUN_FAILED, "an output does not fit the 2 GiB of a Java array");
        return NULL;
    }
    jbyteArray bytes = (*env)->NewByteArray(env, (jsize)tensor->bytes);
    if (bytes != NULL) (*env)->SetByteArrayRegion(env, bytes, 0, (jsize)tensor->bytes, tensor->data);
    return bytes;
}

static void set_output(JNIEnv *env, jobjectArray array, size_t index, const edgekit_tensor *tensor, jintArray heads,
                       jlongArray axes, jsize axis) {
    const jint head[2] = {(jint)tensor->dtype, tensor->rank};
    (*env)->SetIntArrayRegion(env, heads, (jsize)(2 * index), 2, head);
    (*env)->SetLongArrayRegion(env, axes, axis, tensor->rank, (const jlong *)tensor->shape);
    jbyteArray bytes = array_of(env, tensor);
    if (bytes == NULL) return;
    (*env)->SetObjectArrayElement(env, array, (jsize)(3 + index), bytes);
    (*env)->DeleteLocalRef(env, bytes);
}

static jobjectArray outputs_of(JNIEnv *env, const edgekit_outputs *outputs, bool want_names) {
    size_t count = edgekit_outputs_count(outputs);
    jbyteArray names = want_names ? join(env, count, output_name, outputs) : NULL;
    jintArray heads = want_names && names == NULL ? NULL : (*env)->NewIntArray(env, (jsize)(2 * count));
    jlongArray axes = heads == NULL ? NULL : (*env)->NewLongArray(env, (jsize)(EDGEKIT_MAX_RANK * count));
    jobjectArray array = axes == NULL ? NULL : (*env)->NewObjectArray(env, (jsize)(3 + count), java.object, NULL);
    if (array == NULL) return NULL;
    (*env)->SetObjectArrayElement(env, array, 0, names);
    (*env)->SetObjectArrayElement(env, array, 1, heads);
    (*env)->SetObjectArrayElement(env, array, 2, axes);
    jsize axis = 0;
    for (size_t index = 0; index < count && !(*env)->ExceptionCheck(env); index++) {
        const edgekit_tensor *tensor = edgekit_outputs_at(outputs, index);
        set_output(env, array, index, tensor, heads, axes, axis);
        axis += tensor->rank;
    }
    return (*env)->ExceptionCheck(env) ? NULL : array;
}

static jobjectArray native_run(JNIEnv *env, jclass caller, jlong handle, jbyteArray names, jintArray heads,
                               jlongArray axes, jobjectArray data, jboolean want_names) {
    edgekit_outputs *outputs = NULL;
    edgekit_error error;
    jobjectArray found = NULL;
    size_t count = 0;
    (void)caller;
    jbyte *joined = lend(env, names);
    if (joined == NULL) return NULL;
    const char **texts = split(env, joined, (*env)->GetArrayLength(env, names), &count);
    edgekit_tensor *tensors = texts == NULL ? NULL : taken(env, count, sizeof *tensors);
    if (tensors != NULL && fill_tensors(env, tensors, count, texts, heads, axes, data)) {
        edgekit_code code = edgekit_run(session_at(handle), tensors, count, &outputs, &error);
        if (went_well(env, code, &error)) found = outputs_of(env, outputs, want_names);
        edgekit_outputs_free(outputs);
    }
    free(tensors);
    free(texts);
    give_back(env, names, joined);
    return found;
}

static jintArray native_tokenize(JNIEnv *env, jclass caller, jlong handle, jbyteArray text) {
    int32_t *ids = NULL;
    size_t count = 0;
    edgekit_error error;
    jintArray found = NULL;
    (void)caller;
    jbyte *utf8 = lend(env, text);
    if (utf8 == NULL) return NULL;
    edgekit_code code = edgekit_tokenize(session_at(handle), text_of(utf8), &ids, &count, &error);
    give_back(env, text, utf8);
    if (!went_well(env, code, &error)) return NULL;
    found = (*env)->NewIntArray(env, (jsize)count);
    if (found != NULL) (*env)->SetIntArrayRegion(env, found, 0, (jsize)count, ids);
    edgekit_ids_free(ids);
    return found;
}

static jfloatArray native_embed(JNIEnv *env, jclass caller, jlong handle, jbyteArray text) {
    edgekit_error error;
    jfloatArray found = NULL;
    (void)caller;
    size_t width = edgekit_embedding_width(session_at(handle));
    jbyte *utf8 = lend(env, text);
    float *vector = utf8 == NULL ? NULL : taken(env, width, sizeof *vector);
    if (vector != NULL) {
        edgekit_code code = edgekit_embed(session_at(handle), text_of(utf8), vector, width, &error);
        if (went_well(env, code, &error)) found = (*env)->NewFloatArray(env, (jsize)width);
        if (found != NULL) (*env)->SetFloatArrayRegion(env, found, 0, (jsize)width, vector);
    }
    free(vector);
    give_back(env, text, utf8);
    return found;
}

static const char *label_name(const void *list, size_t index) { return edgekit_labels_at(list, index)->label; }

static jobjectArray labels_of(JNIEnv *env, const edgekit_labels *labels) {
    size_t count = edgekit_labels_count(labels);
    jfloatArray scores = (*env)->NewFloatArray(env, (jsize)count);
    jintArray spans = scores == NULL ? NULL : (*env)->NewIntArray(env, (jsize)(2 * count));
    for (size_t index = 0; spans != NULL && index < count; index++) {
        const edgekit_label *label = edgekit_labels_at(labels, index);
        const jint span[2] = {(jint)label->start, (jint)label->end};
        (*env)->SetFloatArrayRegion(env, scores, (jsize)index, 1, &label->score);
        (*env)->SetIntArrayRegion(env, spans, (jsize)(2 * index), 2, span);
    }
    if (spans == NULL) return NULL;
    const jobject parts[3] = {join(env, count, label_name, labels), scores, spans};
    return together(env, parts, 3);
}

static jobjectArray native_classify(JNIEnv *env, jclass caller, jlong handle, jbyteArray text, jbyteArray pair) {
    edgekit_labels *labels = NULL;
    edgekit_error error;
    jobjectArray found = NULL;
    (void)caller;
    jbyte *first = lend(env, text), *second = lend(env, pair);
    if (!(*env)->ExceptionCheck(env)) {
        edgekit_code code = edgekit_classify(session_at(handle), text_of(first), text_of(second), &labels, &error);
        if (went_well(env, code, &error)) found = labels_of(env, labels);
        edgekit_labels_free(labels);
    }
    give_back(env, text, first);
    give_back(env, pair, second);
    return found;
}

static jobjectArray native_classify_pixels(JNIEnv *env, jclass caller, jlong handle, jbyteArray rgb, jint height,
                                           jint width) {
    edgekit_labels *labels = NULL;
    edgekit_error error;
    jobjectArray found = NULL;
    (void)caller;
    jbyte *pixels = lend(env, rgb);
    if (pixels == NULL) return NULL;
    edgekit_code code =
        edgekit_classify_pixels(session_at(handle), (const uint8_t *)pixels, height, width, &labels, &error);
    give_back(env, rgb, pixels);
    if (went_well(env, code, &error)) found = labels_of(env, labels);
    edgekit_labels_free(labels);
    return found;
}

typedef struct listener {
    JNIEnv *env;
    jobject answer;
} listener;

static int hear(const char *piece, void *user) {
    const listener *self = user;
    JNIEnv *env = self->env;
    jsize bytes = (jsize)strlen(piece);
    jbyteArray text = (*env)->NewByteArray(env, bytes);
    if (text == NULL) return 1;
    (*env)->SetByteArrayRegion(env, text, 0, bytes, (const jbyte *)piece);
    (*env)->CallStaticVoidMethod(env, java.native, java.text, self->answer, text);
    bool thrown = (*env)->ExceptionCheck(env);
    (*env)->DeleteLocalRef(env, text);
    return thrown;
}

/* `parts`: role and content of each message in turn. */
static edgekit_code chat(edgekit_session *session, const char *const *parts, size_t count,
                         const edgekit_generation *options, listener *to, edgekit_error *error) {
    edgekit_message *messages = calloc(count / 2 + 1, sizeof *messages);
    if (messages == NULL) return EDGEKIT_RUN_FAILED;
    for (size_t index = 0; index < count / 2; index++) {
        messages[index].role = parts[2 * index];
        messages[index].content = parts[2 * index + 1];
    }
    edgekit_code code = edgekit_chat(session, messages, count / 2, options, hear, to, error);
    free(messages);
    return code;
}

static void native_generate(JNIEnv *env, jclass caller, jlong handle, jbyteArray prompt, jbyteArray messages,
                            jint max_tokens, jfloat temperature, jfloat top_p, jlong seed, jboolean seeded,
                            jbyteArray stop, jboolean special_tokens, jobject answer) {
    edgekit_error error = {EDGEKIT_OK, "there is no memory for a conversation"};
    edgekit_generation options;
    listener to = {env, answer};
    size_t part_count = 0;
    (void)caller;
    jbyteArray given = messages != NULL ? messages : prompt;
    jbyte *text = lend(env, given), *stops = lend(env, stop);
    edgekit_generation_init(&options);
    options.max_tokens = max_tokens;
    options.temperature = temperature;
    options.top_p = top_p;
    options.seed = (uint64_t)seed;
    options.has_seed = seeded;
    options.no_special_tokens = !special_tokens;
    bool lent = text != NULL && stops != NULL;
    const char **parts = lent ? split(env, text, (*env)->GetArrayLength(env, given), &part_count) : NULL;
    const char **ends = parts != NULL ? split(env, stops, (*env)->GetArrayLength(env, stop), &options.stop_count) : NULL;
    options.stop = ends;
    if (ends != NULL) {
        edgekit_session *session = session_at(handle);
        edgekit_code code = messages != NULL ? chat(session, parts, part_count, &options, &to, &error)
                                             : edgekit_generate(session, parts[0], &options, hear, &to, &error);
        went_well(env, code, &error);
    }
    free(parts);
    free(ends);
    give_back(env, given, text);
    give_back(env, stop, stops);
}

static const char *golden_name(const void *list, size_t index) { return edgekit_goldens_at(list, index)->name; }

static jobjectArray native_self_test(JNIEnv *env, jclass caller, jlong handle) {
    edgekit_goldens *goldens = NULL;
    edgekit_error error;
    (void)caller;
    edgekit_code code = edgekit_self_test(session_at(handle), &goldens, &error);
    if (!went_well(env, code, &error)) return NULL;
    size_t count = edgekit_goldens_count(goldens);
    jbooleanArray passed = (*env)->NewBooleanArray(env, (jsize)count);
    jdoubleArray figures = passed == NULL ? NULL : (*env)->NewDoubleArray(env, (jsize)(2 * count));
    for (size_t index = 0; figures != NULL && index < count; index++) {
        const edgekit_golden *golden = edgekit_goldens_at(goldens, index);
        const jboolean right = golden->passed != 0;
        const jdouble pair[2] = {golden->difference, golden->tolerance};
        (*env)->SetBooleanArrayRegion(env, passed, (jsize)index, 1, &right);
        (*env)->SetDoubleArrayRegion(env, figures, (jsize)(2 * index), 2, pair);
    }
    jobject names = figures == NULL ? NULL : join(env, count, golden_name, goldens);
    edgekit_goldens_free(goldens);
    const jobject all[3] = {names, passed, figures};
    return together(env, all, 3);
}

/* A class of another version than this file is told at once: its methods are not all here, or of other types. */
JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *machine, void *reserved) {
    static const JNINativeMethod methods[] = {
        {"verify", "([B)V", (void *)native_verify},
        {"open", "([BIJZZI[B[B)J", (void *)native_open},
        {"info", "(J)[B", (void *)native_info},
        {"cancel", "(J)V", (void *)native_cancel},
        {"free", "(J)V", (void *)native_free},
        {"run", "(J[B[I[J[Ljava/nio/ByteBuffer;Z)[Ljava/lang/Object;", (void *)native_run},
        {"tokenize", "(J[B)[I", (void *)native_tokenize},
        {"embed", "(J[B)[F", (void *)native_embed},
        {"classify", "(J[B[B)[Ljava/lang/Object;", (void *)native_classify},
        {"classifyPixels", "(J[BII)[Ljava/lang/Object;", (void *)native_classify_pixels},
        {"generate", "(J[B[BIFFJZ[BZLjava/lang/Object;)V", (void *)native_generate},
        {"selfTest", "(J)[Ljava/lang/Object;", (void *)native_self_test},
    };
    JNIEnv *env = NULL;
    (void)reserved;
    if ((*machine)->GetEnv(machine, (void **)&env, JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
    jclass native = (*env)->FindClass(env, "dev/edgekit/Native");
    jclass object = native == NULL ? NULL : (*env)->FindClass(env, "java/lang/Object");
    if (object == NULL) return JNI_ERR;
    java.fail = (*env)->GetStaticMethodID(env, native, "fail", "(I[B)V");
    if (java.fail != NULL) java.text = (*env)->GetStaticMethodID(env, native, "text", "(Ljava/lang/Object;[B)V");
    if (java.text == NULL) return JNI_ERR;
    if ((*env)->RegisterNatives(env, native, methods, sizeof methods / sizeof *methods) != JNI_OK) return JNI_ERR;
    java.native = (*env)->NewGlobalRef(env, native);
    java.object = (*env)->NewGlobalRef(env, object);
    return java.native == NULL || java.object == NULL ? JNI_ERR : JNI_VERSION_1_6;
}
