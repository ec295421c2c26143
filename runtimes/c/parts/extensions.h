/* Tokenizers of other kinds (byte-level BPE, Unigram) by onnxruntime-extensions' C interface, version 0.13 or later.
 *
 * It gives ids and no offsets, and nobody promises that they are the tokenizers library's: text.h holds them against
 * the bundle's goldens before any other text. Special tokens are added by post_processor.h. */
#ifndef EDGEKIT_EXTENSIONS_H
#define EDGEKIT_EXTENSIONS_H

#include <dlfcn.h>

#include "library.h"
#include "wordpiece.h"

typedef struct extensions {
    void *library, *tokenizer;
    int (*create)(void **tokenizer, const char *folder, const char **keys, const char **values, size_t count);
    int (*tokenize)(const void *tokenizer, const char **texts, size_t count, void **lists);
    int (*item)(const void *lists, size_t index, const uint32_t **ids, size_t *count);
    int (*dispose)(void **object);
    const char *(*message)(void);
} extensions;

static inline void *extensions_library(const char *path, const char *kind, edgekit_error *error) {
    static const char *const names[] = {"libortextensions.so", "libortextensions.dylib", NULL};
    void *library = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    for (size_t index = 0; path == NULL && library == NULL && names[index] != NULL; index++) {
        library = dlopen(names[index], RTLD_NOW | RTLD_LOCAL);
    }
    if (library == NULL) {
        const char *reason = dlerror();
        fail(error, EDGEKIT_LOAD_FAILED,
             "the bundle's tokenizer is %.20s, which needs onnxruntime-extensions: build its libortextensions or take "
             "it from its Android or iOS package, and name it in text_library (%.200s)",
             kind, reason == NULL ? "no reason given" : reason);
    }
    return library;
}

static inline bool extensions_symbols(extensions *self) {
    const struct {
        const char *name;
        void *function;
    } symbols[] = {{"OrtxCreateTokenizerWithOptions", &self->create},
                   {"OrtxTokenize", &self->tokenize},
                   {"OrtxTokenId2DArrayGetItem", &self->item},
                   {"OrtxDispose", &self->dispose},
                   {"OrtxGetLastErrorMessage", &self->message}};
    for (size_t index = 0; index < sizeof symbols / sizeof *symbols; index++) {
        library_function found = library_symbol(self->library, symbols[index].name);
        if (found == NULL) return false;
        memcpy(symbols[index].function, &found, sizeof found);
    }
    return true;
}

static inline const char *extensions_reason(const extensions *self) {
    const char *told = self->message();
    return told == NULL || told[0] == '\0' ? "no reason given" : told;
}

static inline void extensions_free(extensions *self) {
    if (self->tokenizer != NULL) self->dispose(&self->tokenizer);
    memset(self, 0, sizeof *self);
}

/* `folder` holds tokenizer.json and tokenizer_config.json; `kind` is the model's type, for messages. */
static inline edgekit_code extensions_open(extensions *self, const char *library, const char *folder,
                                           const char *kind, edgekit_error *error) {
    const char *keys[] = {"add_special_tokens"}, *values[] = {"false"};
    memset(self, 0, sizeof *self);
    self->library = extensions_library(library, kind, error);
    if (self->library == NULL) return EDGEKIT_LOAD_FAILED;
    if (!extensions_symbols(self)) {
        memset(self, 0, sizeof *self);
        return fail(error, EDGEKIT_LOAD_FAILED,
                    "text_library is not onnxruntime-extensions 0.13 or later with its C interface");
    }
    if (self->create(&self->tokenizer, folder, keys, values, 1) != 0 || self->tokenizer == NULL) {
        return fail(error, EDGEKIT_LOAD_FAILED, "onnxruntime-extensions refuses the bundle's tokenizer: %.300s",
                    extensions_reason(self));
    }
    return EDGEKIT_OK;
}

/* The tokens of `text`, without special ones and without offsets. */
static inline edgekit_code extensions_encode(const extensions *self, const char *text, text_tokens *tokens,
                                             edgekit_error *error) {
    void *lists = NULL;
    const uint32_t *ids = NULL;
    size_t count = 0;
    bool memory = true, range = true;
    if (text[0] == '\0') return EDGEKIT_OK;
    bool done = self->tokenize(self->tokenizer, &text, 1, &lists) == 0 && self->item(lists, 0, &ids, &count) == 0;
    for (size_t index = 0; done && memory && range && index < count; index++) {
        range = ids[index] < VOCABULARY_MAX_ID;
        memory = !range || tokens_push(tokens, (int32_t)ids[index], 0, 0);
    }
    if (!done) fail(error, EDGEKIT_RUN_FAILED, "onnxruntime-extensions failed: %.300s", extensions_reason(self));
    if (!memory) fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the tokens");
    if (!range) fail(error, EDGEKIT_RUN_FAILED, "onnxruntime-extensions gave an id that is out of range");
    if (lists != NULL) self->dispose(&lists);
    return done && memory && range ? EDGEKIT_OK : EDGEKIT_RUN_FAILED;
}

#endif
