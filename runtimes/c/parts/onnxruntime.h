/* Bundles for ONNX Runtime, through the part of its C interface declared here. The model is loaded by path; telemetry
 * is off before the library is opened.
 *
 * The declarations follow onnxruntime_c_api.h of API version 21 (ONNX Runtime 1.21, MIT licence), which later versions
 * only add to: structs of functions whose order never changes. */
#ifndef EDGEKIT_ONNXRUNTIME_H
#define EDGEKIT_ONNXRUNTIME_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "bundle.h"
#include "library.h"
#include "machine.h"

#define ORT_API_VERSION 21
#define ORT_LOG_FATAL 4
#define ORT_TYPE_TENSOR 1

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorInfo OrtTensorInfo;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef void (*ort_unused)(void);

/* OrtApi, with gaps of unused functions; the numbers are positions. */
typedef struct ort_api {
    ort_unused gap0[2];
    const char *(*GetErrorMessage)(const OrtStatus *);                                  /* 2 */
    OrtStatus *(*CreateEnv)(int severity, const char *id, OrtEnv **);                   /* 3 */
    ort_unused gap4[3];
    OrtStatus *(*CreateSession)(const OrtEnv *, const char *path, const OrtSessionOptions *, OrtSession **); /* 7 */
    ort_unused gap8;
    OrtStatus *(*Run)(OrtSession *, const OrtRunOptions *, const char *const *input_names,
                      const OrtValue *const *inputs, size_t input_count, const char *const *output_names,
                      size_t output_count, OrtValue **);                                /* 9 */
    OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **);                           /* 10 */
    ort_unused gap11[6];
    OrtStatus *(*DisableMemPattern)(OrtSessionOptions *);                               /* 17 */
    ort_unused gap18;
    OrtStatus *(*DisableCpuMemArena)(OrtSessionOptions *);                              /* 19 */
    ort_unused gap20[2];
    OrtStatus *(*SetSessionLogSeverityLevel)(OrtSessionOptions *, int);                 /* 22 */
    ort_unused gap23;
    OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *, int);                       /* 24 */
    OrtStatus *(*SetInterOpNumThreads)(OrtSessionOptions *, int);                       /* 25 */
    ort_unused gap26[4];
    OrtStatus *(*SessionGetInputCount)(const OrtSession *, size_t *);                   /* 30 */
    OrtStatus *(*SessionGetOutputCount)(const OrtSession *, size_t *);                  /* 31 */
    ort_unused gap32;
    OrtStatus *(*SessionGetInputTypeInfo)(const OrtSession *, size_t, OrtTypeInfo **);  /* 33 */
    OrtStatus *(*SessionGetOutputTypeInfo)(const OrtSession *, size_t, OrtTypeInfo **); /* 34 */
    ort_unused gap35;
    OrtStatus *(*SessionGetInputName)(const OrtSession *, size_t, OrtAllocator *, char **);  /* 36 */
    OrtStatus *(*SessionGetOutputName)(const OrtSession *, size_t, OrtAllocator *, char **); /* 37 */
    ort_unused gap38;
    OrtStatus *(*CreateRunOptions)(OrtRunOptions **);                                   /* 39 */
    ort_unused gap40[6];
    OrtStatus *(*RunOptionsSetTerminate)(OrtRunOptions *);                              /* 46 */
    ort_unused gap47[2];
    OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *, size_t bytes, const int64_t *shape,
                                                 size_t rank, int dtype, OrtValue **);  /* 49 */
    OrtStatus *(*IsTensor)(const OrtValue *, int *);                                    /* 50 */
    OrtStatus *(*GetTensorMutableData)(OrtValue *, void **);                            /* 51 */
    ort_unused gap52[3];
    OrtStatus *(*CastTypeInfoToTensorInfo)(const OrtTypeInfo *, const OrtTensorInfo **); /* 55 */
    OrtStatus *(*GetOnnxTypeFromTypeInfo)(const OrtTypeInfo *, int *);                  /* 56 */
    ort_unused gap57[3];
    OrtStatus *(*GetTensorElementType)(const OrtTensorInfo *, int *);                   /* 60 */
    OrtStatus *(*GetDimensionsCount)(const OrtTensorInfo *, size_t *);                  /* 61 */
    OrtStatus *(*GetDimensions)(const OrtTensorInfo *, int64_t *, size_t);              /* 62 */
    ort_unused gap63[2];
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtTensorInfo **);            /* 65 */
    ort_unused gap66[3];
    OrtStatus *(*CreateCpuMemoryInfo)(int allocator, int memory, OrtMemoryInfo **);     /* 69 */
    ort_unused gap70[6];
    OrtStatus *(*AllocatorFree)(OrtAllocator *, void *);                                /* 76 */
    ort_unused gap77;
    OrtStatus *(*GetAllocatorWithDefaultOptions)(OrtAllocator **);                      /* 78 */
    ort_unused gap79[13];
    void (*ReleaseEnv)(OrtEnv *);                                                       /* 92 */
    void (*ReleaseStatus)(OrtStatus *);                                                 /* 93 */
    void (*ReleaseMemoryInfo)(OrtMemoryInfo *);                                         /* 94 */
    void (*ReleaseSession)(OrtSession *);                                               /* 95 */
    void (*ReleaseValue)(OrtValue *);                                                   /* 96 */
    void (*ReleaseRunOptions)(OrtRunOptions *);                                         /* 97 */
    void (*ReleaseTypeInfo)(OrtTypeInfo *);                                             /* 98 */
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorInfo *);                             /* 99 */
    void (*ReleaseSessionOptions)(OrtSessionOptions *);                                 /* 100 */
    ort_unused gap101[29];
    OrtStatus *(*AddSessionConfigEntry)(OrtSessionOptions *, const char *key, const char *value); /* 130 */
} ort_api;

typedef struct ort_api_base {
    const ort_api *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} ort_api_base;

#define ORT_POSITION(name, number) \
    _Static_assert(offsetof(ort_api, name) == (number) * sizeof(ort_unused), #name " has moved")
ORT_POSITION(CreateSession, 7);
ORT_POSITION(SetInterOpNumThreads, 25);
ORT_POSITION(RunOptionsSetTerminate, 46);
ORT_POSITION(SessionGetOutputTypeInfo, 34);
ORT_POSITION(GetDimensions, 62);
ORT_POSITION(GetAllocatorWithDefaultOptions, 78);
ORT_POSITION(ReleaseSessionOptions, 100);
ORT_POSITION(AddSessionConfigEntry, 130);

typedef struct graph_input {
    char *name;
    int dtype; /* as edgekit_dtype, which numbers them as ONNX does; 0: not a plain tensor */
    size_t rank;
    int64_t shape[EDGEKIT_MAX_RANK]; /* -1: free */
} graph_input;

typedef struct onnx_engine {
    const ort_api *api;
    char version[64];
    OrtEnv *env;
    OrtSession *session;
    OrtMemoryInfo *memory;
    graph_input *inputs;
    char **outputs;
    size_t *output_ranks; /* 0 of what is no tensor */
    size_t input_count, output_count;
    pthread_mutex_t guard; /* over `running` */
    OrtRunOptions *running;
    atomic_bool *cancelled;
} onnx_engine;

struct edgekit_outputs {
    const ort_api *api;
    size_t count;
    OrtValue **values;
    edgekit_tensor *tensors;
};

static const struct {
    int dtype;
    const char *name;
    size_t bytes;
} dtypes[] = {
    {EDGEKIT_FLOAT32, "float32", 4}, {EDGEKIT_UINT8, "uint8", 1},     {EDGEKIT_INT8, "int8", 1},
    {EDGEKIT_UINT16, "uint16", 2},   {EDGEKIT_INT16, "int16", 2},     {EDGEKIT_INT32, "int32", 4},
    {EDGEKIT_INT64, "int64", 8},     {EDGEKIT_BOOL, "bool", 1},       {EDGEKIT_FLOAT16, "float16", 2},
    {EDGEKIT_FLOAT64, "float64", 8}, {EDGEKIT_UINT32, "uint32", 4},   {EDGEKIT_UINT64, "uint64", 8},
};

static const char *dtype_name(int dtype) {
    for (size_t index = 0; index < sizeof dtypes / sizeof *dtypes; index++) {
        if (dtypes[index].dtype == dtype) return dtypes[index].name;
    }
    return "of a type this runtime does not know";
}

static size_t dtype_bytes(int dtype) {
    for (size_t index = 0; index < sizeof dtypes / sizeof *dtypes; index++) {
        if (dtypes[index].dtype == dtype) return dtypes[index].bytes;
    }
    return 0;
}

/* Bytes of a dense tensor; SIZE_MAX where that is no number. */
static size_t tensor_bytes(int dtype, const int64_t *shape, size_t rank) {
    size_t bytes = dtype_bytes(dtype);
    for (size_t axis = 0; axis < rank; axis++) {
        if (shape[axis] < 0 || (shape[axis] > 0 && bytes > (SIZE_MAX / 4) / (size_t)shape[axis])) return SIZE_MAX;
        bytes *= (size_t)shape[axis];
    }
    return bytes;
}

/* EDGEKIT_OK of no status; else the engine's words, with `code`. */
static edgekit_code ort_check(const ort_api *api, OrtStatus *status, edgekit_code code, const char *what,
                              edgekit_error *error) {
    if (status == NULL) return EDGEKIT_OK;
    fail(error, code, "%s: %s", what, api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    return code;
}

static void onnx_close(onnx_engine *self) {
    if (self == NULL) return;
    for (size_t index = 0; self->inputs != NULL && index < self->input_count; index++) free(self->inputs[index].name);
    for (size_t index = 0; self->outputs != NULL && index < self->output_count; index++) free(self->outputs[index]);
    free(self->inputs);
    free(self->outputs);
    free(self->output_ranks);
    if (self->session != NULL) self->api->ReleaseSession(self->session);
    if (self->memory != NULL) self->api->ReleaseMemoryInfo(self->memory);
    if (self->env != NULL) self->api->ReleaseEnv(self->env);
    pthread_mutex_destroy(&self->guard);
    free(self);
}

static edgekit_code ort_library(onnx_engine *self, const char *path, edgekit_error *error) {
    static const char *const names[] = LIBRARY_NAMES("libonnxruntime", "1");
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
#if defined(__GLIBC__)
    /* Left alone, glibc raises the size from which freed blocks go back to the system to whatever was freed last; the
     * originals of weights that the engine copied into another order then stay, up to a third of the peak. */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
    void *library = library_open(path, names, "ONNX Runtime", error);
    if (library == NULL) return EDGEKIT_LOAD_FAILED;
    const ort_api_base *(*get)(void) = (const ort_api_base *(*)(void))library_symbol(library, "OrtGetApiBase");
    const ort_api_base *base = get == NULL ? NULL : get();
    if (base == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "the engine's library is not ONNX Runtime: no OrtGetApiBase");
    }
    snprintf(self->version, sizeof self->version, "onnxruntime %s", base->GetVersionString());
    self->api = base->GetApi(ORT_API_VERSION);
    if (self->api == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "%s is too old: version 1.%d or newer is needed", self->version,
                    ORT_API_VERSION);
    }
    return EDGEKIT_OK;
}

static edgekit_code ort_session(onnx_engine *self, const char *model, int threads, bool low_memory,
                                edgekit_error *error) {
    const ort_api *api = self->api;
    OrtSessionOptions *options = NULL;
    char what[200];
    const char *name = strrchr(model, '/');
    snprintf(what, sizeof what, "%s refuses %.100s", self->version, name == NULL ? model : name + 1);
    OrtStatus *status = api->CreateEnv(ORT_LOG_FATAL, "edgekit", &self->env);
    if (status == NULL) status = api->CreateSessionOptions(&options);
    if (status == NULL) status = api->SetIntraOpNumThreads(options, threads);
    if (status == NULL) status = api->SetInterOpNumThreads(options, 1);
    if (status == NULL) status = api->SetSessionLogSeverityLevel(options, ORT_LOG_FATAL);
    if (status == NULL && machine_saturates()) {
        status = api->AddSessionConfigEntry(options, "session.x64quantprecision", "1");
    }
    if (status == NULL && low_memory) {
        status = api->AddSessionConfigEntry(options, "session.disable_prepacking", "1");
        if (status == NULL) status = api->DisableCpuMemArena(options);
        if (status == NULL) status = api->DisableMemPattern(options);
    }
    if (status == NULL) status = api->CreateSession(self->env, model, options, &self->session);
    if (options != NULL) api->ReleaseSessionOptions(options);
    if (status == NULL) status = api->CreateCpuMemoryInfo(1, 0, &self->memory);
    return ort_check(api, status, EDGEKIT_LOAD_FAILED, what, error);
}

/* dtype and shape of an input or output; both stay zero where it is no plain tensor. */
static OrtStatus *ort_signature(onnx_engine *self, bool is_input, size_t index, graph_input *input) {
    const ort_api *api = self->api;
    OrtTypeInfo *info = NULL;
    const OrtTensorInfo *tensor = NULL;
    int kind = 0;
    size_t rank = 0;
    OrtStatus *status = is_input ? api->SessionGetInputTypeInfo(self->session, index, &info)
                                 : api->SessionGetOutputTypeInfo(self->session, index, &info);
    if (status == NULL) status = api->GetOnnxTypeFromTypeInfo(info, &kind);
    if (status == NULL && kind == ORT_TYPE_TENSOR) {
        status = api->CastTypeInfoToTensorInfo(info, &tensor);
        if (status == NULL) status = api->GetDimensionsCount(tensor, &rank);
        if (status == NULL && rank <= EDGEKIT_MAX_RANK) {
            status = api->GetTensorElementType(tensor, &input->dtype);
            input->rank = rank;
            if (status == NULL) status = api->GetDimensions(tensor, input->shape, rank);
        }
    }
    if (info != NULL) api->ReleaseTypeInfo(info);
    return status;
}

static OrtStatus *ort_name(onnx_engine *self, bool input, size_t index, char **name) {
    const ort_api *api = self->api;
    OrtAllocator *allocator = NULL;
    char *theirs = NULL;
    OrtStatus *status = api->GetAllocatorWithDefaultOptions(&allocator);
    if (status == NULL) {
        status = input ? api->SessionGetInputName(self->session, index, allocator, &theirs)
                       : api->SessionGetOutputName(self->session, index, allocator, &theirs);
    }
    if (status != NULL) return status;
    *name = strdup(theirs);
    return api->AllocatorFree(allocator, theirs);
}

static edgekit_code ort_graph(onnx_engine *self, edgekit_error *error) {
    OrtStatus *status = self->api->SessionGetInputCount(self->session, &self->input_count);
    if (status == NULL) status = self->api->SessionGetOutputCount(self->session, &self->output_count);
    self->inputs = calloc(self->input_count + 1, sizeof *self->inputs);
    self->outputs = calloc(self->output_count + 1, sizeof *self->outputs);
    self->output_ranks = calloc(self->output_count + 1, sizeof *self->output_ranks);
    if (self->inputs == NULL || self->outputs == NULL || self->output_ranks == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for the graph's names");
    }
    for (size_t index = 0; index < self->input_count && status == NULL; index++) {
        status = ort_name(self, true, index, &self->inputs[index].name);
        if (status == NULL) status = ort_signature(self, true, index, &self->inputs[index]);
    }
    for (size_t index = 0; index < self->output_count && status == NULL; index++) {
        graph_input signature = {0};
        status = ort_name(self, false, index, &self->outputs[index]);
        if (status == NULL) status = ort_signature(self, false, index, &signature);
        self->output_ranks[index] = signature.rank;
    }
    if (status == NULL && self->output_count == 0) {
        return fail(error, EDGEKIT_LOAD_FAILED, "%s: the graph has no output", self->version);
    }
    bool named = true;
    for (size_t index = 0; index < self->input_count; index++) named = named && self->inputs[index].name != NULL;
    for (size_t index = 0; index < self->output_count; index++) named = named && self->outputs[index] != NULL;
    if (status == NULL && !named) {
        return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for the graph's names");
    }
    return ort_check(self->api, status, EDGEKIT_LOAD_FAILED, self->version, error);
}

static edgekit_code onnx_open(onnx_engine **engine, const char *model, const edgekit_options *options, int threads,
                              atomic_bool *cancelled, edgekit_error *error) {
    onnx_engine *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a session");
    pthread_mutex_init(&self->guard, NULL);
    self->cancelled = cancelled;
    edgekit_code code = ort_library(self, options->engine_library, error);
    if (code == EDGEKIT_OK) code = ort_session(self, model, threads, options->low_memory != 0, error);
    if (code == EDGEKIT_OK) code = ort_graph(self, error);
    if (code != EDGEKIT_OK) {
        onnx_close(self);
        return code;
    }
    *engine = self;
    return EDGEKIT_OK;
}

static void onnx_cancel(onnx_engine *self) {
    pthread_mutex_lock(&self->guard);
    if (self->running != NULL) {
        OrtStatus *status = self->api->RunOptionsSetTerminate(self->running);
        if (status != NULL) self->api->ReleaseStatus(status);
    }
    pthread_mutex_unlock(&self->guard);
}

#endif
