/* Bundles for llama.cpp, through the part of its C interface declared here. The file is memory-mapped, CPU only.
 *
 * The declarations follow llama.h of llama.cpp 0.5 (as llama-cpp-python 0.3.36 builds it; MIT licence). Its structs of
 * parameters change between versions, so another version is refused, and the defaults that it gives are looked at. */
#ifndef EDGEKIT_LLAMACPP_H
#define EDGEKIT_LLAMACPP_H

#include <math.h>
#include <stdatomic.h>

#include "bundle.h"
#include "library.h"

#define LLAMA_VERSION "0.5."
/* A prompt goes in by pieces of this many tokens: the engine's buffers stay small. */
#define BATCH_TOKENS 128
/* Rows of logits fetched at once. The engine reserves this many of the vocabulary's width, and aborts beyond them. */
#define OUTPUT_ROWS 32
#define LLAMA_MMAP 1
#define LLAMA_LOG_ERROR 4

typedef struct llama_model llama_model;
typedef struct llama_context llama_context;
typedef struct llama_vocab llama_vocab;
typedef struct llama_memory llama_memory;

typedef struct llama_batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} llama_batch;

typedef struct llama_model_params {
    void *devices;
    const void *tensor_buft_overrides;
    int32_t n_gpu_layers;
    int split_mode, load_mode, lazy_mode;
    int32_t main_gpu;
    const float *tensor_split;
    bool (*progress_callback)(float, void *);
    void *progress_callback_user_data;
    const void *kv_overrides;
    bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
} llama_model_params;

typedef struct llama_context_params {
    uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
    int32_t n_threads, n_threads_batch;
    int ctx_type, rope_scaling_type, pooling_type, attention_type, flash_attn_type;
    float rope_freq_base, rope_freq_scale, yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
    uint32_t yarn_orig_ctx;
    float defrag_thold;
    bool (*cb_eval)(void *, bool, void *);
    void *cb_eval_user_data;
    int type_k, type_v;
    bool (*abort_callback)(void *);
    void *abort_callback_data;
    bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
    void *samplers;
    size_t n_samplers;
    llama_context *ctx_other;
} llama_context_params;

typedef struct llama_api {
    const char *(*llama_version)(void);
    void (*llama_backend_init)(void);
    void (*llama_log_set)(void (*)(int, const char *, void *), void *);
    size_t (*ggml_backend_dev_count)(void);
    void (*ggml_backend_load_all_from_path)(const char *);
    llama_model_params (*llama_model_default_params)(void);
    llama_context_params (*llama_context_default_params)(void);
    llama_model *(*llama_model_load_from_file)(const char *, llama_model_params);
    void (*llama_model_free)(llama_model *);
    llama_context *(*llama_init_from_model)(llama_model *, llama_context_params);
    void (*llama_free)(llama_context *);
    const llama_vocab *(*llama_model_get_vocab)(const llama_model *);
    int32_t (*llama_vocab_n_tokens)(const llama_vocab *);
    int32_t (*llama_model_n_embd_out)(const llama_model *);
    llama_memory *(*llama_get_memory)(const llama_context *);
    void (*llama_memory_clear)(llama_memory *, bool);
    llama_batch (*llama_batch_init)(int32_t, int32_t, int32_t);
    void (*llama_batch_free)(llama_batch);
    int32_t (*llama_decode)(llama_context *, llama_batch);
    float *(*llama_get_logits)(llama_context *);
    float *(*llama_get_logits_ith)(llama_context *, int32_t);
    float *(*llama_get_embeddings_seq)(llama_context *, int32_t);
    int32_t (*llama_tokenize)(const llama_vocab *, const char *text, int32_t bytes, int32_t *ids, int32_t room,
                              bool add_special, bool parse_special);
    int32_t (*llama_token_to_piece)(const llama_vocab *, int32_t, char *, int32_t room, int32_t lstrip, bool special);
    bool (*llama_vocab_is_eog)(const llama_vocab *, int32_t);
} llama_api;

typedef struct llama_engine {
    llama_api api;
    char version[64];
    llama_model *model;
    llama_context *context;
    const llama_vocab *vocab;
    llama_batch batch;
    int32_t batch_tokens, limit, vocabulary;
    bool embedding;
    atomic_bool *cancelled;
} llama_engine;

/* The engine complains on the thread that calls it, and to one listener in the whole process. */
static _Thread_local char llama_complaint[200];

static void llama_listen(int level, const char *text, void *unused) {
    (void)unused;
    if (level == LLAMA_LOG_ERROR) snprintf(llama_complaint, sizeof llama_complaint, "%s", text);
}

static edgekit_code llama_symbols(llama_api *api, void *library, edgekit_error *error) {
#define SYMBOL(name) {#name, offsetof(llama_api, name)}
    static const struct {
        const char *name;
        size_t offset;
    } symbols[] = {
        SYMBOL(llama_version), SYMBOL(llama_backend_init), SYMBOL(llama_log_set), SYMBOL(ggml_backend_dev_count),
        SYMBOL(ggml_backend_load_all_from_path), SYMBOL(llama_model_default_params),
        SYMBOL(llama_context_default_params), SYMBOL(llama_model_load_from_file), SYMBOL(llama_model_free),
        SYMBOL(llama_init_from_model), SYMBOL(llama_free), SYMBOL(llama_model_get_vocab), SYMBOL(llama_vocab_n_tokens),
        SYMBOL(llama_model_n_embd_out), SYMBOL(llama_get_memory), SYMBOL(llama_memory_clear), SYMBOL(llama_batch_init),
        SYMBOL(llama_batch_free), SYMBOL(llama_decode), SYMBOL(llama_get_logits), SYMBOL(llama_get_logits_ith),
        SYMBOL(llama_get_embeddings_seq), SYMBOL(llama_tokenize), SYMBOL(llama_token_to_piece),
        SYMBOL(llama_vocab_is_eog),
    };
#undef SYMBOL
    for (size_t index = 0; index < sizeof symbols / sizeof *symbols; index++) {
        library_function function = library_symbol(library, symbols[index].name);
        if (function == NULL) {
            return fail(error, EDGEKIT_LOAD_FAILED,
                        "the engine's library has no %s: it is not llama.cpp " LLAMA_VERSION "x", symbols[index].name);
        }
        memcpy((char *)api + symbols[index].offset, &function, sizeof function);
    }
    return EDGEKIT_OK;
}

/* Kernels may lie in libraries of their own beside libllama, one for each kind of CPU; the best one is taken. */
static void llama_backends(const llama_api *api) {
    Dl_info info;
    void *function;
    if (api->ggml_backend_dev_count() > 0) return;
    memcpy(&function, &api->llama_backend_init, sizeof function);
    if (dladdr(function, &info) == 0 || info.dli_fname == NULL) return;
    char *folder = strdup(info.dli_fname), *slash = folder == NULL ? NULL : strrchr(folder, '/');
    if (slash != NULL) *slash = '\0';
    if (folder != NULL) api->ggml_backend_load_all_from_path(slash == NULL ? "." : folder);
    free(folder);
}

static edgekit_code llama_library(llama_engine *self, const char *path, edgekit_error *error) {
    static const char *const names[] = LIBRARY_NAMES("libllama", "0");
    void *library = library_open(path, names, "llama.cpp", error);
    if (library == NULL) return EDGEKIT_LOAD_FAILED;
    edgekit_code code = llama_symbols(&self->api, library, error);
    if (code != EDGEKIT_OK) return code;
    const char *version = self->api.llama_version();
    snprintf(self->version, sizeof self->version, "llama.cpp %.50s", version);
    if (strncmp(version, LLAMA_VERSION, strlen(LLAMA_VERSION)) != 0) {
        return fail(error, EDGEKIT_LOAD_FAILED,
                    "%s is another version than the " LLAMA_VERSION "x that this runtime knows", self->version);
    }
    llama_context_params context = self->api.llama_context_default_params();
    llama_model_params model = self->api.llama_model_default_params();
    if (context.n_ctx != 512 || context.n_batch != 2048 || context.defrag_thold != -1.0f || context.ctx_other != NULL ||
        model.n_gpu_layers != -1 || model.kv_overrides != NULL || !model.use_extra_bufts) {
        return fail(error, EDGEKIT_LOAD_FAILED, "%s lays out its parameters in another way than this runtime knows",
                    self->version);
    }
    self->api.llama_log_set(llama_listen, NULL);
    self->api.llama_backend_init();
    llama_backends(&self->api);
    return EDGEKIT_OK;
}

static void llama_close(llama_engine *self) {
    if (self == NULL) return;
    if (self->batch.token != NULL) self->api.llama_batch_free(self->batch);
    if (self->context != NULL) self->api.llama_free(self->context);
    if (self->model != NULL) self->api.llama_model_free(self->model);
    free(self);
}

static bool llama_is_cancelled(void *cancelled) { return atomic_load((atomic_bool *)cancelled); }

static edgekit_code llama_load(llama_engine *self, const char *file, int threads, bool low_memory,
                               edgekit_error *error) {
    const char *name = strrchr(file, '/');
    const int32_t limit = self->limit;
    llama_complaint[0] = '\0';
    llama_model_params model = self->api.llama_model_default_params();
    void *no_devices[] = {NULL}; /* else a library with Metal or CUDA in it gives long prompts to them all the same */
    model.devices = no_devices;
    model.n_gpu_layers = 0;
    model.load_mode = LLAMA_MMAP;
    model.use_extra_bufts = !low_memory; /* no private copy of the weights, repacked for speed */
    self->model = self->api.llama_model_load_from_file(file, model);
    if (self->model == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "llama.cpp refuses %.200s: %s", name == NULL ? file : name + 1,
                    llama_complaint[0] ? llama_complaint : "no reason given");
    }
    llama_context_params context = self->api.llama_context_default_params();
    self->batch_tokens = self->embedding || limit < BATCH_TOKENS ? limit : BATCH_TOKENS;
    context.n_ctx = (uint32_t)limit;
    context.n_batch = context.n_ubatch = (uint32_t)self->batch_tokens;
    context.n_outputs_max = (uint32_t)(self->embedding || limit < OUTPUT_ROWS ? limit : OUTPUT_ROWS);
    context.n_threads = context.n_threads_batch = threads;
    context.embeddings = self->embedding;
    context.no_perf = true;
    context.abort_callback = llama_is_cancelled;
    context.abort_callback_data = self->cancelled;
    self->context = self->api.llama_init_from_model(self->model, context);
    if (self->context == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "llama.cpp opens no context of %d tokens: %s", (int)limit,
                    llama_complaint[0] ? llama_complaint : "no memory?");
    }
    self->batch = self->api.llama_batch_init(self->batch_tokens, 0, 1);
    if (self->batch.token == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a batch of tokens");
    self->vocab = self->api.llama_model_get_vocab(self->model);
    self->vocabulary = self->api.llama_vocab_n_tokens(self->vocab);
    return EDGEKIT_OK;
}

static edgekit_code llama_open(llama_engine **engine, const bundle *packed, const char *file,
                               const edgekit_options *options, int threads, atomic_bool *cancelled,
                               edgekit_error *error) {
    bool embedding = strcmp(packed->task, "embedding") == 0;
    const char *section = embedding ? "text" : "generation", *key = embedding ? "max_tokens" : "context_tokens";
    const json_value *limit = bundle_setting(packed, section, key, JSON_NUMBER, error);
    if (limit == NULL) return EDGEKIT_BUNDLE_INVALID;
    int64_t tokens = !embedding && options->context_tokens != 0 ? options->context_tokens : limit->integer;
    if (tokens < 1 || tokens > INT32_MAX) {
        return fail(error, EDGEKIT_LOAD_FAILED, "%s.%s is %lld, expected 1 to %d", section, key, (long long)tokens,
                    INT32_MAX);
    }
    llama_engine *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a session");
    self->limit = (int32_t)tokens;
    self->embedding = embedding;
    self->cancelled = cancelled;
    edgekit_code code = llama_library(self, options->engine_library, error);
    if (code == EDGEKIT_OK) code = llama_load(self, file, threads, options->low_memory != 0, error);
    if (code != EDGEKIT_OK) {
        llama_close(self);
        return code;
    }
    *engine = self;
    return EDGEKIT_OK;
}

static edgekit_code llama_check_ids(const llama_engine *self, const int32_t *ids, size_t count, edgekit_error *error) {
    if (ids == NULL || count == 0) {
        return fail(error, EDGEKIT_BAD_INPUT,
                    "there are no tokens: the text is empty and this model adds none of its own");
    }
    for (size_t index = 0; index < count; index++) {
        if (ids[index] < 0 || ids[index] >= self->vocabulary) {
            return fail(error, EDGEKIT_BAD_INPUT, "a token id is %d, the vocabulary has %d", (int)ids[index],
                        (int)self->vocabulary);
        }
    }
    return EDGEKIT_OK;
}

static void llama_forget(llama_engine *self) {
    llama_memory *memory = self->api.llama_get_memory(self->context);
    if (memory != NULL) self->api.llama_memory_clear(memory, true); /* an encoder has none */
}

/* Run `count` tokens at `position`, asking for the results of the last `outputs` of them. */
static edgekit_code llama_step(llama_engine *self, const int32_t *ids, int32_t count, int32_t position, int32_t outputs,
                               edgekit_error *error) {
    llama_batch *batch = &self->batch;
    if (atomic_load(self->cancelled)) return fail(error, EDGEKIT_CANCELLED, "the call was cancelled");
    batch->n_tokens = count;
    for (int32_t index = 0; index < count; index++) {
        batch->token[index] = ids[index];
        batch->pos[index] = position + index;
        batch->n_seq_id[index] = 1;
        batch->seq_id[index][0] = 0;
        batch->logits[index] = index >= count - outputs;
    }
    llama_complaint[0] = '\0';
    int32_t status = self->api.llama_decode(self->context, *batch);
    if (status == 0) return EDGEKIT_OK;
    if (atomic_load(self->cancelled)) return fail(error, EDGEKIT_CANCELLED, "the call was cancelled");
    return fail(error, EDGEKIT_RUN_FAILED, "llama.cpp could not run %d tokens (status %d): %s", (int)count, (int)status,
                llama_complaint);
}

#endif
