/* Tokenizers of two other kinds by onnxruntime-extensions' C interface: byte-level BPE, and Unigram as SentencePiece
 * writes it. It gives ids and no offsets; special tokens are added by post_processor.h.
 *
 * Nobody promises that its ids are the tokenizers library's. What was measured with 0.15.2 is let through: byte-level BPE
 * of the kinds below gave the same ids on texts in a dozen scripts, Unigram on texts that its vocabulary covers. What
 * gave others is refused by name: digits split off first, a space put before, SentencePiece's BPE. And text.h holds the
 * ids against the bundle's goldens. */
#ifndef EDGEKIT_EXTENSIONS_H
#define EDGEKIT_EXTENSIONS_H

#include <dlfcn.h>

#include "library.h"
#include "wordpiece.h"

typedef struct extensions {
    void *library, *tokenizer;
    bool composes; /* a text is brought to NFC first, which the library leaves out */
    int (*create)(void **tokenizer, const char *folder, const char **keys, const char **values, size_t count);
    int (*tokenize)(const void *tokenizer, const char **texts, size_t count, void **lists);
    int (*item)(const void *lists, size_t index, const uint32_t **ids, size_t *count);
    int (*dispose)(void **object);
    const char *(*message)(void);
} extensions;

static inline bool span_holds(json_span span, const char *word) {
    size_t bytes = strlen(word);
    for (size_t at = 0; at + bytes <= span.bytes; at++) {
        if (memcmp(span.start + at, word, bytes) == 0) return true;
    }
    return false;
}

/* Whether the library has this class for a Unigram model; it ends the process on one of a class that it does not know. */
static inline bool extensions_know_class(const char *folder) {
    static const char *const classes[] = {"XLMRobertaTokenizer", "XLMRobertaTokenizerFast", "T5Tokenizer",
                                          "T5TokenizerFast"};
    json_document document = {0};
    size_t bytes = 0;
    char *path = path_join(folder, "tokenizer_config.json");
    char *text = path == NULL ? NULL : read_whole(path, MAX_MANIFEST_BYTES, &bytes);
    bool known = false;
    if (text != NULL && json_parse(&document, text, bytes, MAX_MANIFEST_VALUES)) {
        const json_value *name = json_get(document.root, "tokenizer_class");
        for (size_t index = 0; index < sizeof classes / sizeof *classes; index++) {
            known = known || (json_is(name, JSON_STRING) && strcmp(name->text, classes[index]) == 0);
        }
    }
    json_free(&document);
    free(text);
    free(path);
    return known;
}

static inline bool is_of_type(const json_value *tree, const char *type) {
    const json_value *found = json_get(tree, "type");
    return json_is(found, JSON_STRING) && strcmp(found->text, type) == 0;
}

/* Whether the library splits a text as this pre-tokenizer does: ByteLevel without a space put before, at most one
 * pattern before it. */
static inline bool extensions_split(const json_value *tree) {
    const json_value *behavior = json_get(tree, "behavior"), *steps = json_get(tree, "pretokenizers");
    if (is_of_type(tree, "ByteLevel")) return json_is(json_get(tree, "add_prefix_space"), JSON_FALSE);
    if (is_of_type(tree, "Split")) {
        return json_is(behavior, JSON_STRING) && strcmp(behavior->text, "Isolated") == 0 &&
               json_is(json_get(tree, "invert"), JSON_FALSE);
    }
    if (!is_of_type(tree, "Sequence") || !json_is(steps, JSON_ARRAY)) return false;
    const json_value *first = steps->first, *last = first == NULL ? NULL : first->next;
    return steps->count == 2 && is_of_type(first, "Split") && is_of_type(last, "ByteLevel") &&
           extensions_split(first) && extensions_split(last);
}

static inline edgekit_code extensions_admit_bpe(extensions *self, const tokenizer_json *file, edgekit_error *error) {
    json_document split = {0}, normalizer = {0};
    edgekit_code code = tokenizer_part(file, file->pre_tokenizer, &split, error);
    if (code == EDGEKIT_OK) code = tokenizer_part(file, file->normalizer, &normalizer, error);
    if (code == EDGEKIT_OK && (is_of_type(split.root, "Split") || !extensions_split(split.root))) {
        code = tokenizer_lacks(error, file,
                               "BPE with another pre-tokenizer than ByteLevel, or a pattern and ByteLevel: "
                               "onnxruntime-extensions gives other ids for it");
    }
    if (code == EDGEKIT_OK) self->composes = is_of_type(normalizer.root, "NFC");
    if (code == EDGEKIT_OK && !self->composes && normalizer.root->kind != JSON_NULL) {
        code = tokenizer_lacks(error, file,
                               "BPE with another normalizer than NFC, which onnxruntime-extensions leaves out");
    }
    json_free(&split);
    json_free(&normalizer);
    return code;
}

/* LOAD_FAILED, by name, where the library has other ids for such a file, or ends the process. */
static inline edgekit_code extensions_admit(extensions *self, const tokenizer_json *file, bool unigram,
                                            const char *folder, edgekit_error *error) {
    memset(self, 0, sizeof *self);
    bool shaped = file->vocab.start != NULL && *file->vocab.start == (unigram ? '[' : '{');
    if (!shaped || (!unigram && (file->merges.start == NULL || *file->merges.start != '['))) {
        return tokenizer_wrong(error, file, "its model lacks a vocabulary");
    }
    if (!unigram) return extensions_admit_bpe(self, file, error);
    if (!span_holds(file->normalizer, "\"Precompiled\"")) {
        return tokenizer_lacks(error, file,
                               "Unigram without SentencePiece's Precompiled normalizer: onnxruntime-extensions gives "
                               "other ids for it");
    }
    if (extensions_know_class(folder)) return EDGEKIT_OK;
    return tokenizer_lacks(error, file,
                           "Unigram, and the tokenizer_class in tokenizer_config.json is none of XLM-RoBERTa's and "
                           "T5's, which onnxruntime-extensions has");
}

static inline void *extensions_library(const char *path, const char *kind, edgekit_error *error) {
    static const char *const names[] = LIBRARY_NAMES("libortextensions", "0");
    char looked[160] = "";
    void *library = path == NULL ? library_find(names, looked, sizeof looked) : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        fail(error, EDGEKIT_LOAD_FAILED,
             "the bundle's tokenizer is %.20s, which needs onnxruntime-extensions: build its libortextensions or take "
             "it from its Android or iOS package, and name it in text_library (%s%.130s)",
             kind, looked, reason == NULL ? "no reason given" : reason);
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

/* After extensions_admit. `folder` holds tokenizer.json and tokenizer_config.json; `kind` is the model's type, for messages. */
static inline edgekit_code extensions_open(extensions *self, const char *library, const char *folder,
                                           const char *kind, edgekit_error *error) {
    const char *keys[] = {"add_special_tokens"}, *values[] = {"false"};
    self->library = extensions_library(library, kind, error);
    if (self->library == NULL) return EDGEKIT_LOAD_FAILED;
    if (!extensions_symbols(self)) {
        memset(self, 0, sizeof *self);
        return fail(error, EDGEKIT_LOAD_FAILED,
                    "text_library is not onnxruntime-extensions with its C interface for tokenizers");
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
    char *composed = self->composes ? unicode_nfc(text) : NULL;
    if (composed != NULL) text = composed;
    bool done = (composed != NULL || !self->composes) && self->tokenize(self->tokenizer, &text, 1, &lists) == 0 &&
                self->item(lists, 0, &ids, &count) == 0;
    for (size_t index = 0; done && memory && range && index < count; index++) {
        range = ids[index] < VOCABULARY_MAX_ID;
        memory = !range || tokens_push(tokens, (int32_t)ids[index], 0, 0);
    }
    if (!done) fail(error, EDGEKIT_RUN_FAILED, "onnxruntime-extensions failed: %.300s", extensions_reason(self));
    if (!memory) fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the tokens");
    if (!range) fail(error, EDGEKIT_RUN_FAILED, "onnxruntime-extensions gave an id that is out of range");
    if (lists != NULL) self->dispose(&lists);
    free(composed);
    return done && memory && range ? EDGEKIT_OK : EDGEKIT_RUN_FAILED;
}

#endif
