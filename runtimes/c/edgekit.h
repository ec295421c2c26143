/* edgekit's runtime for C: open a bundle, prove that it is the one that was packed, run it.
 *
 *     edgekit_options options;
 *     edgekit_session *session = NULL;
 *     edgekit_error error;
 *     edgekit_options_init(&options);
 *     if (edgekit_open("minilm.bundle", &options, &session, &error) != EDGEKIT_OK)
 *         fprintf(stderr, "%s: %s\n", edgekit_code_name(error.code), error.message);
 *     ...
 *     edgekit_free(session);
 *
 * C11 and POSIX (Linux, Android, macOS, iOS). Nothing is linked but libc, libdl and libpthread: the engine's library
 * (libonnxruntime or libllama) is opened by path or by name when a bundle is.
 *
 * Threads. A session runs one call at a time: a second one is refused with EDGEKIT_BUSY, from whatever thread.
 * edgekit_cancel, edgekit_close and edgekit_info may be called from any thread at any time until edgekit_free, which
 * must be the last use of a session. Two sessions are independent. No call may be made from inside a callback but
 * edgekit_cancel. There is no global state of this library's own; the engines have theirs (see README.md).
 *
 * Strings are UTF-8 and end with a zero byte. Every function that can fail returns a code and fills `error`, which may
 * be NULL; the code's name is the same in every language's runtime.
 */
#ifndef EDGEKIT_H
#define EDGEKIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EDGEKIT_API __attribute__((visibility("default")))
#else
#define EDGEKIT_API
#endif

#define EDGEKIT_VERSION "0.1.0"
#define EDGEKIT_MAX_RANK 8
#define EDGEKIT_MESSAGE_BYTES 512

typedef enum edgekit_code {
    EDGEKIT_OK = 0,
    EDGEKIT_BUNDLE_INVALID = 1,     /* the folder is not a bundle, or not the one that was packed */
    EDGEKIT_UNSUPPORTED_DEVICE = 2, /* this CPU lacks what the bundle needs */
    EDGEKIT_MEMORY_BUDGET = 3,      /* it would take more memory than the app allows */
    EDGEKIT_LOAD_FAILED = 4,        /* the engine is not there, is another version, or refuses the model */
    EDGEKIT_RUN_FAILED = 5,         /* the engine failed during a call */
    EDGEKIT_WRONG_TASK = 6,         /* the bundle's task has no such call */
    EDGEKIT_BAD_INPUT = 7,          /* an argument's name, type, shape or range */
    EDGEKIT_PROMPT_TOO_LONG = 8,    /* prompt and answer do not fit the context */
    EDGEKIT_BUSY = 9,               /* another call is running on this session */
    EDGEKIT_CANCELLED = 10,         /* edgekit_cancel was called, or a callback asked to stop */
    EDGEKIT_CLOSED = 11             /* edgekit_close was called */
} edgekit_code;

/* One line: what, the measured value and the limit, and what to do about it. */
typedef struct edgekit_error {
    edgekit_code code;
    char message[EDGEKIT_MESSAGE_BYTES];
} edgekit_error;

/* "BundleInvalid" of EDGEKIT_BUNDLE_INVALID, and so on; "OK" of EDGEKIT_OK. */
EDGEKIT_API const char *edgekit_code_name(edgekit_code code);

typedef struct edgekit_options {
    size_t struct_bytes;          /* sizeof(edgekit_options), set by edgekit_options_init */
    int32_t threads;              /* 1 to 512; 0: the manifest's device.threads, at most the physical cores there are */
    int32_t low_memory;           /* nonzero: less private memory for less speed */
    int32_t skip_verify;          /* nonzero: leave out the hashes, of a folder verified before */
    int32_t context_tokens;       /* 0: the manifest's */
    uint64_t memory_budget_bytes; /* 0: none; held against the measured peak before anything is loaded */
    const char *engine_library;   /* path of libonnxruntime or libllama; NULL: the system's loader looks for it */
    const char *model_file;       /* NULL: the bundle's; another file of the same kind, to be compared with it */
    const char *text_library;     /* path of onnxruntime-extensions' library (libortextensions), for tokenizers that
                                     this runtime lacks (byte-level BPE, Unigram); NULL: looked for by name */
} edgekit_options;

EDGEKIT_API void edgekit_options_init(edgekit_options *options);

typedef struct edgekit_session edgekit_session;

/* Every file of the bundle in `folder` is the one that was packed, or BUNDLE_INVALID. No engine is touched. */
EDGEKIT_API edgekit_code edgekit_verify(const char *folder, edgekit_error *error);

/* BUNDLE_INVALID, UNSUPPORTED_DEVICE, MEMORY_BUDGET, LOAD_FAILED, BAD_INPUT; then *session is NULL.
 * Sets the environment variable ORT_DISABLE_TELEMETRY before ONNX Runtime is loaded. */
EDGEKIT_API edgekit_code edgekit_open(const char *folder, const edgekit_options *options, edgekit_session **session,
                                      edgekit_error *error);

/* The manifest as JSON, with {engine, threads, low_memory, notes} under "runtime". Lives until edgekit_free. */
EDGEKIT_API const char *edgekit_info(const edgekit_session *session);

/* Stop the running call: it returns CANCELLED. Without a call, nothing happens. */
EDGEKIT_API void edgekit_cancel(edgekit_session *session);

/* Free the model. A running call is cancelled first, and waited for. Closing twice is allowed. */
EDGEKIT_API void edgekit_close(edgekit_session *session);

/* Close, and free the handle itself. NULL is allowed. */
EDGEKIT_API void edgekit_free(edgekit_session *session);

/* Tensors (ONNX bundles) */

typedef enum edgekit_dtype {
    EDGEKIT_FLOAT32 = 1,
    EDGEKIT_UINT8 = 2,
    EDGEKIT_INT8 = 3,
    EDGEKIT_UINT16 = 4,
    EDGEKIT_INT16 = 5,
    EDGEKIT_INT32 = 6,
    EDGEKIT_INT64 = 7,
    EDGEKIT_BOOL = 9,
    EDGEKIT_FLOAT16 = 10,
    EDGEKIT_FLOAT64 = 11,
    EDGEKIT_UINT32 = 12,
    EDGEKIT_UINT64 = 13
} edgekit_dtype;

/* Row-major, densely packed, little-endian. */
typedef struct edgekit_tensor {
    const char *name;
    edgekit_dtype dtype;
    int32_t rank;
    int64_t shape[EDGEKIT_MAX_RANK];
    void *data;
    size_t bytes;
} edgekit_tensor;

typedef struct edgekit_outputs edgekit_outputs;

/* The graph's outputs of tensors named, typed and shaped as the graph's inputs. The inputs are not copied and must
 * stay as they are until the call returns. WRONG_TASK, BAD_INPUT, RUN_FAILED, BUSY, CANCELLED, CLOSED. */
EDGEKIT_API edgekit_code edgekit_run(edgekit_session *session, const edgekit_tensor *inputs, size_t input_count,
                                     edgekit_outputs **outputs, edgekit_error *error);
EDGEKIT_API size_t edgekit_outputs_count(const edgekit_outputs *outputs);
/* In the graph's order; lives until edgekit_outputs_free. NULL past the last one. */
EDGEKIT_API const edgekit_tensor *edgekit_outputs_at(const edgekit_outputs *outputs, size_t index);
/* Also after the session was closed. NULL is allowed. */
EDGEKIT_API void edgekit_outputs_free(edgekit_outputs *outputs);

/* Token ids (llama.cpp bundles) */

/* Number of token ids; 0 for other bundles. */
EDGEKIT_API int32_t edgekit_vocabulary(const edgekit_session *session);

/* Teacher-forced from an empty context: row i of `logits` [id_count, vocabulary] scores what follows ids[0..i].
 * `logits_count` is the room in `logits`, in floats. PROMPT_TOO_LONG and as edgekit_run. */
EDGEKIT_API edgekit_code edgekit_logits(edgekit_session *session, const int32_t *ids, size_t id_count, float *logits,
                                        size_t logits_count, edgekit_error *error);

/* Nonzero stops: the call then returns CANCELLED. */
typedef int (*edgekit_on_token)(int32_t token, void *user);

/* The `max_tokens` most likely ids after `ids`, one callback each, on the calling thread; the end of text is not
 * heeded. PROMPT_TOO_LONG and as edgekit_run. */
EDGEKIT_API edgekit_code edgekit_greedy(edgekit_session *session, const int32_t *ids, size_t id_count,
                                        int32_t max_tokens, edgekit_on_token on_token, void *user,
                                        edgekit_error *error);

/* The pooled vector of one text's ids, cut to the manifest's max_tokens and brought to length 1 where the manifest
 * says so. `width` must be the manifest's embedding.width. */
EDGEKIT_API edgekit_code edgekit_embed_ids(edgekit_session *session, const int32_t *ids, size_t id_count,
                                           float *vector, size_t width, edgekit_error *error);

/* Text. UTF-8, or BAD_INPUT. A bundle whose tokenizer is neither WordPiece, nor the engine's own vocabulary, nor one
 * that onnxruntime-extensions knows and is there for, has none: WRONG_TASK or LOAD_FAILED, with what to do. */

/* Ids with the special tokens the model wants, never truncated; *ids is freed with edgekit_ids_free. */
EDGEKIT_API edgekit_code edgekit_tokenize(edgekit_session *session, const char *text, int32_t **ids, size_t *count,
                                          edgekit_error *error);
EDGEKIT_API void edgekit_ids_free(int32_t *ids);

/* The manifest's embedding.width; 0 for other bundles. */
EDGEKIT_API size_t edgekit_embedding_width(const edgekit_session *session);

/* The vector of one text, cut to the manifest's max_tokens. `width` must be edgekit_embedding_width. */
EDGEKIT_API edgekit_code edgekit_embed(edgekit_session *session, const char *text, float *vector, size_t width,
                                       edgekit_error *error);

/* `start` and `end` are offsets into the text in bytes of UTF-8, of a token's label; 0 and 0 otherwise. */
typedef struct edgekit_label {
    const char *label;
    float score;
    size_t start, end;
} edgekit_label;

typedef struct edgekit_labels edgekit_labels;
EDGEKIT_API size_t edgekit_labels_count(const edgekit_labels *labels);
/* Lives until edgekit_labels_free. NULL past the last one. */
EDGEKIT_API const edgekit_label *edgekit_labels_at(const edgekit_labels *labels, size_t index);
/* Also after the session was closed. NULL is allowed. */
EDGEKIT_API void edgekit_labels_free(edgekit_labels *labels);

/* Text classification: every label with its score, best first, of a text or, where `pair` is not NULL, of two. Token
 * classification (`pair` is NULL): one label a token, in the text's order, special tokens left out. */
EDGEKIT_API edgekit_code edgekit_classify(edgekit_session *session, const char *text, const char *pair,
                                          edgekit_labels **labels, edgekit_error *error);

/* Image classification of decoded pixels, uint8 [height, width, 3], resized, cropped and normalised as the manifest
 * says. Every label with its score, best first. */
EDGEKIT_API edgekit_code edgekit_classify_pixels(edgekit_session *session, const uint8_t *rgb, int32_t height,
                                                 int32_t width, edgekit_labels **labels, edgekit_error *error);

/* Generation (llama.cpp bundles with a causal language model) */

typedef struct edgekit_generation {
    size_t struct_bytes;     /* sizeof(edgekit_generation), set by edgekit_generation_init */
    int32_t max_tokens;      /* 0: 256, or what the context leaves if that is less */
    float temperature;       /* 0: the most likely token each time */
    float top_p;             /* 1: no cut */
    uint64_t seed;           /* used where has_seed is nonzero: the same answer on the same machine */
    int32_t has_seed;
    const char *const *stop; /* the answer ends before any of these; no part of one is emitted */
    size_t stop_count;
    int32_t no_special_tokens; /* nonzero: `prompt` has its special tokens spelt out already (a rendered chat) */
} edgekit_generation;

EDGEKIT_API void edgekit_generation_init(edgekit_generation *options);

/* A piece of the answer: whole UTF-8 characters, ends with a zero byte, lives for the callback, which runs on the
 * calling thread. Nonzero stops: the call then returns CANCELLED. */
typedef int (*edgekit_on_text)(const char *text, void *user);

/* The continuation of `prompt`. `options` may be NULL. PROMPT_TOO_LONG and as edgekit_run. */
EDGEKIT_API edgekit_code edgekit_generate(edgekit_session *session, const char *prompt,
                                          const edgekit_generation *options, edgekit_on_text on_text, void *user,
                                          edgekit_error *error);

typedef struct edgekit_message {
    const char *role; /* "system" (first only), "user", "assistant" */
    const char *content;
} edgekit_message;

/* The assistant's answer, by the manifest's generation.chat_format. WRONG_TASK where the bundle has none: its template
 * is more than a string of turns, and the app must render it and call edgekit_generate with `no_special_tokens`. */
EDGEKIT_API edgekit_code edgekit_chat(edgekit_session *session, const edgekit_message *messages, size_t message_count,
                                      const edgekit_generation *options, edgekit_on_text on_text, void *user,
                                      edgekit_error *error);

/* Self-test: the goldens packed with the model, replayed on this device. */

typedef struct edgekit_golden {
    const char *name;
    int32_t passed;
    double difference; /* NaN: what was answered does not compare with what was expected */
    double tolerance;
} edgekit_golden;

typedef struct edgekit_goldens edgekit_goldens;
EDGEKIT_API edgekit_code edgekit_self_test(edgekit_session *session, edgekit_goldens **goldens, edgekit_error *error);
EDGEKIT_API size_t edgekit_goldens_count(const edgekit_goldens *goldens);
EDGEKIT_API const edgekit_golden *edgekit_goldens_at(const edgekit_goldens *goldens, size_t index);
EDGEKIT_API void edgekit_goldens_free(edgekit_goldens *goldens);

#ifdef __cplusplus
}
#endif
#endif
