/* Text to token ids: the tokenizer that a bundle names in text.tokenizer, and Unicode's composed form (NFC). */
#ifndef EDGEKIT_TEXT_H
#define EDGEKIT_TEXT_H

#include "bundle.h"
#include "extensions.h"
#include "post_processor.h"
#include "unicode.h"
#include "wordpiece.h"

#define TEXT_MAX_BYTES (256u << 20)

enum text_kind { TEXT_WORDPIECE, TEXT_EXTENSIONS };

typedef struct text_tokenizer {
    edgekit_error missing; /* why there is none; its code is OK where there is one */
    enum text_kind kind;
    wordpiece wordpiece;
    extensions extensions;
    post_processor post;
} text_tokenizer;

/* Row i: an id, its segment (0, or 1 in the pair), whether the tokenizer added it, and the bytes it stands for in the
 * text (or the pair) that was given; 0 and 0 of what was added. */
typedef struct text_encoding {
    int32_t *ids, *types;
    uint8_t *special;
    size_t *starts, *ends;
    size_t count;
} text_encoding;

/* `text` in NFC, to be freed; NULL where it is not UTF-8 or there is no memory. */
static inline char *text_nfc(const char *text) { return unicode_nfc(text); }

static inline void text_encoding_free(text_encoding *encoding) {
    free(encoding->ids);
    free(encoding->types);
    free(encoding->special);
    free(encoding->starts);
    free(encoding->ends);
    memset(encoding, 0, sizeof *encoding);
}

static inline void text_close(text_tokenizer *self) {
    if (self == NULL) return;
    wordpiece_free(&self->wordpiece);
    extensions_free(&self->extensions);
    free(self);
}

/* All tokens of one text, without special ones. */
static inline edgekit_code text_tokens_of(const text_tokenizer *self, const char *text, text_tokens *tokens,
                                          edgekit_error *error) {
    size_t bytes = strlen(text);
    if (bytes > TEXT_MAX_BYTES) {
        return fail(error, EDGEKIT_BAD_INPUT, "a text has %zu bytes, at most %u are taken: cut it", bytes,
                    TEXT_MAX_BYTES);
    }
    for (size_t at = 0; at < bytes;) {
        size_t step = utf8_character(text + at, bytes - at, NULL);
        if (step == 0) return fail(error, EDGEKIT_BAD_INPUT, "a text is not valid UTF-8 at byte %zu", at);
        at += step;
    }
    if (self->kind == TEXT_EXTENSIONS) return extensions_encode(&self->extensions, text, tokens, error);
    if (wordpiece_encode(&self->wordpiece, text, bytes, tokens)) return EDGEKIT_OK;
    return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the tokens of a text of %zu bytes", bytes);
}

/* How many tokens of each text remain where both together may have `room`: the longer one is cut first. */
static inline void text_cut(size_t room, bool paired, text_tokens *tokens) {
    size_t one = tokens[0].count, other = paired ? tokens[1].count : 0;
    if (one + other <= room) return;
    bool swapped = one > other && paired;
    size_t shorter = swapped ? other : one, longer = room;
    if (!paired) {
        tokens[0].count = room;
        return;
    }
    longer = shorter > room ? shorter : (room - shorter > shorter ? room - shorter : shorter);
    if (shorter + longer > room) shorter = room / 2, longer = shorter + room % 2;
    one = swapped ? longer : shorter, other = swapped ? shorter : longer;
    if (tokens[0].count > one) tokens[0].count = one;
    if (tokens[1].count > other) tokens[1].count = other;
}

static inline void text_put(text_encoding *out, int32_t id, int32_t type, bool special, size_t start, size_t end) {
    out->ids[out->count] = id;
    out->types[out->count] = type;
    out->special[out->count] = special;
    out->starts[out->count] = start;
    out->ends[out->count] = end;
    out->count++;
}

/* `tokens` in the template's places, and its own between them where `add_special`. */
static inline edgekit_code text_arrange(const post_template *template, bool add_special, const text_tokens *tokens,
                                        text_encoding *out, edgekit_error *error) {
    size_t room = 1;
    for (size_t index = 0; index < template->count; index++) {
        int what = template->pieces[index].what;
        room += what == POST_SPECIAL ? 1 : tokens[what].count;
    }
    out->ids = malloc(room * sizeof *out->ids);
    out->types = malloc(room * sizeof *out->types);
    out->special = malloc(room * sizeof *out->special);
    out->starts = malloc(room * sizeof *out->starts);
    out->ends = malloc(room * sizeof *out->ends);
    if (!out->ids || !out->types || !out->special || !out->starts || !out->ends) {
        text_encoding_free(out);
        return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for %zu tokens", room);
    }
    for (size_t index = 0; index < template->count; index++) {
        const post_piece *piece = &template->pieces[index];
        if (piece->what == POST_SPECIAL) {
            if (add_special) text_put(out, piece->id, piece->type, true, 0, 0);
            continue;
        }
        for (size_t at = 0; at < tokens[piece->what].count; at++) {
            const text_token *token = &tokens[piece->what].at[at];
            text_put(out, token->id, piece->type, false, token->start, token->end);
        }
    }
    return EDGEKIT_OK;
}

/* BAD_INPUT where a text is not UTF-8; what text_open remembered where there is no tokenizer. `pair` may be NULL;
 * `max_tokens` 0: nothing is cut. */
static inline edgekit_code text_encode(const text_tokenizer *self, const char *text, const char *pair,
                                       bool add_special, size_t max_tokens, text_encoding *out,
                                       edgekit_error *error) {
    text_tokens tokens[2] = {{0}, {0}};
    memset(out, 0, sizeof *out);
    if (self->missing.code != EDGEKIT_OK) return fail(error, self->missing.code, "%s", self->missing.message);
    const post_template *template = &self->post.of[pair != NULL];
    size_t special = add_special ? template->special : 0;
    if (max_tokens > 0 && (pair == NULL ? max_tokens <= special : max_tokens < special)) {
        return fail(error, EDGEKIT_LOAD_FAILED, "text.max_tokens is %zu, and %zu special tokens stand in every text",
                    max_tokens, special);
    }
    edgekit_code code = text_tokens_of(self, text, &tokens[0], error);
    if (code == EDGEKIT_OK && pair != NULL) code = text_tokens_of(self, pair, &tokens[1], error);
    if (code == EDGEKIT_OK && max_tokens > 0) text_cut(max_tokens - special, pair != NULL, tokens);
    if (code == EDGEKIT_OK) code = text_arrange(template, add_special, tokens, out, error);
    free(tokens[0].at);
    free(tokens[1].at);
    return code;
}

/* LOAD_FAILED where the ids of a golden text are other ones than those that were packed; counts the texts. */
static inline edgekit_code text_check_case(const text_tokenizer *self, const json_value *each, size_t *checked,
                                           edgekit_error *error) {
    const json_value *text = json_get(json_get(each, "input"), "text");
    const json_value *wanted = json_get(json_get(each, "expected"), "token_ids");
    text_encoding found;
    if (!json_is(text, JSON_STRING) || !json_is(wanted, JSON_ARRAY)) return EDGEKIT_OK;
    edgekit_code code = text_encode(self, text->text, NULL, true, 0, &found, error);
    if (code != EDGEKIT_OK) return code;
    size_t same = 0;
    for (const json_value *id = wanted->first; id != NULL; id = id->next, same++) {
        if (same >= found.count || !json_is_whole(id) || id->integer != found.ids[same]) break;
    }
    if (same != wanted->count || same != found.count) {
        code = fail(error, EDGEKIT_LOAD_FAILED,
                    "onnxruntime-extensions gives other ids than the bundle's tokenizer, from token %zu of '%.80s' on: "
                    "tokenize in the app, and run ids",
                    same, text->text);
    }
    text_encoding_free(&found);
    *checked += 1;
    return code;
}

/* The ids of another library are held against those that are known: the goldens'. */
static inline edgekit_code text_check(const text_tokenizer *self, const bundle *packed, size_t *checked,
                                      edgekit_error *error) {
    json_document document = {0};
    size_t bytes = 0;
    char *path = find_file(packed, GOLDEN) == NULL ? NULL : path_join(packed->folder, GOLDEN);
    char *text = path == NULL ? NULL : read_whole(path, MAX_GOLDEN_BYTES, &bytes);
    edgekit_code code = EDGEKIT_OK;
    if (text != NULL && json_parse(&document, text, bytes, MAX_GOLDEN_VALUES)) {
        const json_value *cases = json_get(document.root, "cases");
        bool listed = json_is(cases, JSON_ARRAY);
        for (const json_value *each = listed ? cases->first : NULL; each != NULL && code == EDGEKIT_OK;
             each = each->next) {
            code = text_check_case(self, each, checked, error);
        }
    }
    json_free(&document);
    free(text);
    free(path);
    return code;
}

/* A tokenizer that is not ours to read, by the library that has it. `name` is its path in the bundle. */
static inline edgekit_code text_borrow(text_tokenizer *self, const bundle *packed, const char *name, bool unigram,
                                       const tokenizer_json *file, const char *library, edgekit_error *error) {
    static const char only[] = "tokenizer.json";
    const char *kind = unigram ? "Unigram" : "byte-level BPE", *slash = strrchr(name, '/');
    size_t checked = 0;
    if (strcmp(slash == NULL ? name : slash + 1, only) != 0) {
        return fail(error, EDGEKIT_LOAD_FAILED, "%.200s is %s, and onnxruntime-extensions reads %s alone", name, kind,
                    only);
    }
    if (strcmp(packed->task, "token-classification") == 0) {
        return tokenizer_lacks(error, file,
                               "%s, of which onnxruntime-extensions gives no offsets: token classification needs "
                               "WordPiece here",
                               kind);
    }
    char *folder = path_join(packed->folder, name);
    if (folder == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
    *strrchr(folder, '/') = '\0';
    self->kind = TEXT_EXTENSIONS;
    edgekit_code code = extensions_admit(&self->extensions, file, unigram, folder, error);
    if (code == EDGEKIT_OK) code = post_read(&self->post, false, file, error);
    if (code == EDGEKIT_OK) code = extensions_open(&self->extensions, library, folder, kind, error);
    if (code == EDGEKIT_OK) code = text_check(self, packed, &checked, error);
    free(folder);
    if (code == EDGEKIT_OK && unigram && checked == 0) {
        return fail(error, EDGEKIT_LOAD_FAILED,
                    "the tokenizer is Unigram, and no golden of the bundle proves that onnxruntime-extensions gives "
                    "its ids: pack again, with texts");
    }
    return code;
}

/* By the model's type; old files have none, and are what only one model has the settings of. */
static inline edgekit_code text_choose(text_tokenizer *self, const bundle *packed, const char *name,
                                       const tokenizer_json *file, const char *library, edgekit_error *error) {
    bool untyped = file->type.start == NULL && file->merges.start == NULL && file->longest_word.start != NULL;
    if (untyped || span_is(file->type, "\"WordPiece\"")) {
        self->kind = TEXT_WORDPIECE;
        edgekit_code code = wordpiece_read(&self->wordpiece, file, error);
        return code == EDGEKIT_OK ? post_read(&self->post, true, file, error) : code;
    }
    if (span_is(file->type, "\"BPE\"") || (file->type.start == NULL && file->merges.start != NULL)) {
        return text_borrow(self, packed, name, false, file, library, error);
    }
    if (span_is(file->type, "\"Unigram\"")) return text_borrow(self, packed, name, true, file, library, error);
    return tokenizer_lacks(error, file, "the model %.*s: this runtime has WordPiece, byte-level BPE and Unigram",
                           (int)(file->type.bytes < 60 ? file->type.bytes : 60),
                           file->type.start == NULL ? "" : file->type.start);
}

/* The tokenizer of the bundle. One that is not there or cannot be used is no failure, since tensors and ids need none:
 * text_encode says then why. BUNDLE_INVALID where the manifest names a file that it does not list. */
static inline edgekit_code text_open(text_tokenizer **self, const bundle *packed, const char *text_library,
                                     edgekit_error *error) {
    const json_value *name = json_get(json_get(packed->manifest, "text"), "tokenizer");
    tokenizer_json file;
    *self = NULL;
    if (json_is(name, JSON_STRING) && find_file(packed, name->text) == NULL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": text.tokenizer '%.200s' is not among the listed files",
                    name->text);
    }
    text_tokenizer *made = *self = calloc(1, sizeof **self);
    if (made == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a tokenizer");
    no_failure(&made->missing);
    if (!json_is(name, JSON_STRING)) {
        fail(&made->missing, EDGEKIT_WRONG_TASK, "%.100s has no tokenizer of its own: give it ids", packed->name);
        return EDGEKIT_OK;
    }
    char *path = path_join(packed->folder, name->text);
    if (path == NULL) {
        fail(&made->missing, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
        return EDGEKIT_OK;
    }
    edgekit_code code = tokenizer_json_read(&file, path, name->text, &made->missing);
    if (code == EDGEKIT_OK) code = text_choose(made, packed, name->text, &file, text_library, &made->missing);
    tokenizer_json_free(&file);
    free(path);
    return EDGEKIT_OK;
}

#endif
