/* tokenizer.json, read part by part: a vocabulary of a hundred thousand tokens, or the merges of one that is not ours
 * to use, never become a tree of values. What nothing is read from is only looked through for its end. */
#ifndef EDGEKIT_TOKENIZER_JSON_H
#define EDGEKIT_TOKENIZER_JSON_H

#include <errno.h>

#include "bundle.h"
#include "failure.h"
#include "files.h"
#include "json.h"

#define TOKENIZER_MAX_BYTES (64u << 20)
#define TOKENIZER_MAX_VALUES 400000 /* of one part that is read as a tree: added tokens have eight each */

/* Where a value stands in the file. `start` is NULL where there is none. */
typedef struct json_span {
    const char *start;
    size_t bytes, members;
} json_span;

typedef struct tokenizer_json {
    const char *name; /* the file's, for messages */
    char *text;
    size_t bytes;
    json_span added_tokens, normalizer, pre_tokenizer, post_processor, model;
    json_span type, unk_token, prefix, longest_word, vocab, merges; /* of the model */
} tokenizer_json;

/* LOAD_FAILED: the file asks for something that this runtime does not do exactly. */
#define tokenizer_lacks(error, file, ...) tokenizer_fail(error, file, "uses", __VA_ARGS__)
/* LOAD_FAILED: the file is not what the tokenizers library writes. */
#define tokenizer_wrong(error, file, ...) tokenizer_fail(error, file, "is not a tokenizer this version reads:", __VA_ARGS__)

#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static edgekit_code
tokenizer_fail(edgekit_error *error, const tokenizer_json *file, const char *how, const char *format, ...) {
    char told[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(told, sizeof told, format, arguments);
    va_end(arguments);
    return fail(error, EDGEKIT_LOAD_FAILED, "%.100s %s %s", file->name, how, told);
}

/* Moves `at` behind the string whose opening quote it is at; false where it does not end. */
static inline bool json_skip_string(json_document *cursor) {
    for (cursor->at++; cursor->at < cursor->end && *cursor->at != '"'; cursor->at++) {
        if (*cursor->at == '\\') cursor->at++;
    }
    if (cursor->at >= cursor->end) return json_wrong(cursor, "a string does not end"), false;
    cursor->at++;
    return true;
}

/* Whether a number, true, false or null may have it: skipped, they need not be right. */
static inline bool json_in_scalar(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '+' || c == '-' || c == '.' || c == 'E';
}

/* As json_skip_space, which is not called a million times for nothing. */
static inline void json_to_next(json_document *cursor) {
    if (cursor->at < cursor->end && (unsigned char)*cursor->at <= ' ') json_skip_space(cursor);
}

/* Moves `at` behind a value, and counts the members it has itself. */
static inline bool json_skip(json_document *cursor, json_span *span) {
    char closing[JSON_MAX_DEPTH];
    int depth = 0;
    json_to_next(cursor);
    *span = (json_span){cursor->at, 0, 0};
    do {
        json_to_next(cursor);
        if (cursor->at >= cursor->end) return json_wrong(cursor, "it ends too early"), false;
        char c = *cursor->at;
        if (c == '{' || c == '[') {
            if (depth == JSON_MAX_DEPTH) return json_wrong(cursor, "it is nested too deep"), false;
            closing[depth++] = c == '{' ? '}' : ']';
            cursor->at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0 || closing[depth - 1] != c) return json_wrong(cursor, "a bracket is not opened"), false;
            depth--;
            cursor->at++;
        } else if (c == '"') {
            if (!json_skip_string(cursor)) return false;
        } else if (c == ',' || c == ':') {
            if (depth == 0) return json_wrong(cursor, "a value is expected"), false;
            span->members += c == ',' && depth == 1;
            cursor->at++;
        } else {
            const char *from = cursor->at;
            while (cursor->at < cursor->end && json_in_scalar(*cursor->at)) cursor->at++;
            if (cursor->at == from) return json_wrong(cursor, "a value is expected"), false;
        }
    } while (depth > 0);
    span->bytes = (size_t)(cursor->at - span->start);
    span->members++;
    return true;
}

typedef struct wanted_span {
    const char *key;
    json_span *span;
} wanted_span;

/* The members of the object at `whole` that are wanted. False, and the reason in cursor->why. */
static inline bool json_spans(json_document *cursor, json_span whole, const wanted_span *wanted, size_t count) {
    memset(cursor, 0, sizeof *cursor);
    cursor->start = cursor->at = whole.start;
    cursor->end = whole.start + whole.bytes;
    json_to_next(cursor);
    if (cursor->at >= cursor->end || *cursor->at != '{') return json_wrong(cursor, "it is not an object"), false;
    cursor->at++;
    json_to_next(cursor);
    bool more = cursor->at >= cursor->end || *cursor->at != '}';
    while (more) {
        json_span value;
        json_to_next(cursor);
        const char *key = cursor->at + 1;
        if (cursor->at >= cursor->end || *cursor->at != '"') return json_wrong(cursor, "a key is expected"), false;
        if (!json_skip_string(cursor)) return false;
        size_t length = (size_t)(cursor->at - key) - 1;
        json_to_next(cursor);
        if (cursor->at >= cursor->end || *cursor->at++ != ':') return json_wrong(cursor, "a colon is missing"), false;
        if (!json_skip(cursor, &value)) return false;
        for (size_t index = 0; index < count; index++) {
            if (strlen(wanted[index].key) != length || memcmp(wanted[index].key, key, length) != 0) continue;
            if (wanted[index].span->start != NULL) return json_wrong(cursor, "a key stands twice in one object"), false;
            *wanted[index].span = value;
        }
        json_to_next(cursor);
        if (cursor->at >= cursor->end) return json_wrong(cursor, "it ends too early"), false;
        if (*cursor->at != ',' && *cursor->at != '}') return json_wrong(cursor, "a comma is missing"), false;
        more = *cursor->at++ == ',';
    }
    return true;
}

static inline bool json_utf8(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        size_t step = (unsigned char)text[at] < 0x80 ? 1 : utf8_character(text + at, bytes - at, NULL);
        if (step == 0) return false;
        at += step;
    }
    return true;
}

static inline bool span_is(json_span span, const char *literal) {
    return span.start != NULL && strlen(literal) == span.bytes && memcmp(span.start, literal, span.bytes) == 0;
}

/* The part as a tree in `document`, to be freed with json_free whatever is returned. */
static inline edgekit_code tokenizer_part(const tokenizer_json *file, json_span span, json_document *document,
                                          edgekit_error *error) {
    static const char nothing[] = "null";
    bool there = span.start != NULL;
    size_t bytes = there ? span.bytes : sizeof nothing - 1;
    if (json_parse(document, there ? span.start : nothing, bytes, TOKENIZER_MAX_VALUES)) return EDGEKIT_OK;
    return tokenizer_wrong(error, file, "%s of a part of it", document->why);
}

static inline void tokenizer_json_free(tokenizer_json *self) {
    free(self->text);
    memset(self, 0, sizeof *self);
}

/* Finds the parts of the file `path`, which `name` is told of in messages. */
static inline edgekit_code tokenizer_json_read(tokenizer_json *self, const char *path, const char *name,
                                               edgekit_error *error) {
    const wanted_span parts[] = {{"added_tokens", &self->added_tokens},     {"normalizer", &self->normalizer},
                                 {"pre_tokenizer", &self->pre_tokenizer},   {"post_processor", &self->post_processor},
                                 {"model", &self->model}};
    const wanted_span of_model[] = {{"type", &self->type},     {"unk_token", &self->unk_token},
                                    {"vocab", &self->vocab},   {"continuing_subword_prefix", &self->prefix},
                                    {"merges", &self->merges}, {"max_input_chars_per_word", &self->longest_word}};
    json_document cursor;
    memset(self, 0, sizeof *self);
    self->name = name;
    self->text = read_whole(path, TOKENIZER_MAX_BYTES, &self->bytes);
    if (self->text == NULL && errno == EFBIG) {
        return tokenizer_wrong(error, self, "it is larger than %u MiB", TOKENIZER_MAX_BYTES >> 20);
    }
    if (self->text == NULL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s cannot be read: %s", name, strerror(errno));
    }
    if (!json_utf8(self->text, self->bytes)) return tokenizer_wrong(error, self, "it is not UTF-8");
    json_span whole = {self->text, self->bytes, 0};
    if (!json_spans(&cursor, whole, parts, sizeof parts / sizeof *parts)) {
        return tokenizer_wrong(error, self, "%s", cursor.why);
    }
    json_to_next(&cursor);
    if (cursor.at != cursor.end) return tokenizer_wrong(error, self, "something follows its end");
    if (self->model.start == NULL) return tokenizer_wrong(error, self, "it has no model");
    if (!json_spans(&cursor, self->model, of_model, sizeof of_model / sizeof *of_model)) {
        return tokenizer_wrong(error, self, "%s of its model", cursor.why);
    }
    return EDGEKIT_OK;
}

#endif
