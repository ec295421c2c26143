/* A JSON reader for documents that nobody vouches for: bounded in size, depth and number of values; strict UTF-8; no
 * key twice in one object; no zero byte in a string. Numbers keep their digits: only whole ones are read as numbers. */
#ifndef EDGEKIT_JSON_H
#define EDGEKIT_JSON_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define JSON_MAX_DEPTH 64
#define JSON_MAX_NUMBER 400

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

typedef struct json_value {
    enum json_kind kind;
    bool whole;         /* of a number: `integer` holds it */
    int64_t integer;
    const char *key;    /* the name it has in its object, or NULL */
    const char *text;   /* of a string: without quotes and escapes */
    const char *source; /* where it stands in the document */
    size_t source_bytes;
    size_t count;       /* of an array or object */
    struct json_value *first, *next;
} json_value;

typedef struct json_document {
    json_value *root; /* NULL where it is not valid, for the reason `why` */
    json_value *values;
    char *strings;
    char why[96];
    /* while it is read */
    const char *start, *at, *end;
    size_t used, strings_used;
    int depth;
} json_document;

static inline json_value *json_parse_value(json_document *document);

static inline json_value *json_wrong(json_document *document, const char *why) {
    if (document->why[0] == '\0') {
        snprintf(document->why, sizeof document->why, "%s at byte %zu", why, (size_t)(document->at - document->start));
    }
    return NULL;
}

static inline void json_skip_space(json_document *document) {
    while (document->at < document->end && memchr(" \t\r\n", *document->at, 4) != NULL) document->at++;
}

static inline int json_hexadecimal(const char *at) {
    int value = 0;
    for (int index = 0; index < 4; index++) {
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = at[index] == '\0' ? NULL : strchr(digits, at[index]);
        if (digit == NULL) return -1;
        value = value * 16 + (int)(digit - digits < 16 ? digit - digits : digit - digits - 6);
    }
    return value;
}

/* The character that \uXXXX, or a pair of them, stands for; 0 where it stands for none. `at` is behind the first u. */
static inline uint32_t json_escaped(json_document *document) {
    if (document->end - document->at < 4) return 0;
    int high = json_hexadecimal(document->at);
    if (high < 0) return 0;
    document->at += 4;
    if (high < 0xD800 || high >= 0xE000) return (uint32_t)high;
    if (high >= 0xDC00 || document->end - document->at < 6 || memcmp(document->at, "\\u", 2) != 0) return 0;
    int low = json_hexadecimal(document->at + 2);
    if (low < 0xDC00 || low >= 0xE000) return 0;
    document->at += 6;
    return 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
}

/* The string whose opening quote is at `at`; it is never longer than what stands in the document. */
static inline const char *json_parse_string(json_document *document) {
    char *text = document->strings + document->strings_used, *out = text;
    document->at++;
    while (document->at < document->end && *document->at != '"') {
        unsigned char c = (unsigned char)*document->at;
        if (c < 0x20) return json_wrong(document, "a control character stands in a string"), NULL;
        if (c != '\\') {
            *out++ = *document->at++;
            continue;
        }
        if (++document->at == document->end) break;
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *name = *document->at == '\0' ? NULL : strchr(names, *document->at);
        document->at++;
        if (name != NULL) {
            *out++ = values[name - names];
        } else {
            uint32_t point = document->at[-1] == 'u' ? json_escaped(document) : 0;
            if (point == 0) return json_wrong(document, "an escape stands for no character"), NULL;
            out += utf8_write(point, out);
        }
    }
    if (document->at >= document->end) return json_wrong(document, "a string does not end"), NULL;
    document->at++;
    *out++ = '\0';
    document->strings_used = (size_t)(out - document->strings);
    return text;
}

static inline size_t json_digits(json_document *document) {
    const char *from = document->at;
    while (document->at < document->end && *document->at >= '0' && *document->at <= '9') document->at++;
    return (size_t)(document->at - from);
}

static inline json_value *json_parse_number(json_document *document, json_value *value) {
    const char *from = document->at;
    bool negative = *from == '-', whole = true;
    document->at += negative;
    const char *digits = document->at;
    size_t count = json_digits(document);
    if (count == 0 || (*digits == '0' && count > 1)) return json_wrong(document, "a number is malformed");
    if (document->at < document->end && *document->at == '.') {
        document->at++, whole = false;
        if (json_digits(document) == 0) return json_wrong(document, "a number is malformed");
    }
    if (document->at < document->end && (*document->at == 'e' || *document->at == 'E')) {
        document->at++, whole = false;
        if (document->at < document->end && (*document->at == '+' || *document->at == '-')) document->at++;
        if (json_digits(document) == 0) return json_wrong(document, "a number is malformed");
    }
    if (document->at - from > JSON_MAX_NUMBER) return json_wrong(document, "a number has too many digits");
    value->kind = JSON_NUMBER;
    value->whole = whole && count <= 18;
    for (size_t index = 0; value->whole && index < count; index++) {
        value->integer = value->integer * 10 + (digits[index] - '0');
    }
    if (negative) value->integer = -value->integer;
    return value;
}

static inline json_value *json_parse_word(json_document *document, json_value *value) {
    static const struct {
        const char *word;
        enum json_kind kind;
    } words[] = {{"null", JSON_NULL}, {"false", JSON_FALSE}, {"true", JSON_TRUE}};
    size_t room = (size_t)(document->end - document->at);
    for (size_t index = 0; index < 3; index++) {
        size_t length = strlen(words[index].word);
        if (length <= room && memcmp(document->at, words[index].word, length) == 0) {
            document->at += length;
            value->kind = words[index].kind;
            return value;
        }
    }
    bool constant = room > 0 && (*document->at == 'N' || *document->at == 'I');
    return json_wrong(document, constant ? "NaN and Infinity are not JSON" : "a value is expected");
}

static inline int json_by_key(const void *one, const void *other) {
    return strcmp((*(json_value *const *)one)->key, (*(json_value *const *)other)->key);
}

static inline bool json_keys_differ(json_document *document, const json_value *object) {
    const json_value **members = malloc((object->count + 1) * sizeof *members);
    size_t count = 0;
    bool differ = true;
    if (members == NULL) return json_wrong(document, "there is no memory"), false;
    for (const json_value *each = object->first; each != NULL; each = each->next) members[count++] = each;
    qsort(members, count, sizeof *members, json_by_key);
    for (size_t index = 1; index < count && differ; index++) {
        differ = strcmp(members[index - 1]->key, members[index]->key) != 0;
    }
    free(members);
    if (!differ) json_wrong(document, "a key stands twice in one object");
    return differ;
}

static inline json_value *json_parse_members(json_document *document, json_value *value, char closing) {
    json_value **link = &value->first;
    if (++document->depth > JSON_MAX_DEPTH) return json_wrong(document, "it is nested too deep");
    document->at++;
    json_skip_space(document);
    bool empty = document->at < document->end && *document->at == closing;
    while (!empty) {
        const char *key = NULL;
        json_skip_space(document);
        if (closing == '}') {
            if (document->at >= document->end || *document->at != '"') return json_wrong(document, "a key is expected");
            if ((key = json_parse_string(document)) == NULL) return NULL;
            json_skip_space(document);
            bool colon = document->at < document->end && *document->at == ':';
            if (!colon) return json_wrong(document, "a colon is missing");
            document->at++;
        }
        json_value *member = json_parse_value(document);
        if (member == NULL) return NULL;
        member->key = key;
        *link = member, link = &member->next;
        value->count++;
        json_skip_space(document);
        if (document->at >= document->end) return json_wrong(document, "it ends too early");
        if (*document->at == closing) break;
        if (*document->at != ',') return json_wrong(document, "a comma is missing");
        document->at++;
    }
    document->at++;
    document->depth--;
    if (closing == '}' && !json_keys_differ(document, value)) return NULL;
    return value;
}

static inline json_value *json_parse_value(json_document *document) {
    json_value *value = &document->values[document->used++], *found = value;
    json_skip_space(document);
    if (document->at >= document->end) return json_wrong(document, "it ends too early");
    value->source = document->at;
    if (*document->at == '{') {
        value->kind = JSON_OBJECT;
        found = json_parse_members(document, value, '}');
    } else if (*document->at == '[') {
        value->kind = JSON_ARRAY;
        found = json_parse_members(document, value, ']');
    } else if (*document->at == '"') {
        value->kind = JSON_STRING;
        if ((value->text = json_parse_string(document)) == NULL) return NULL;
    } else if (*document->at == '-' || (*document->at >= '0' && *document->at <= '9')) {
        found = json_parse_number(document, value);
    } else {
        found = json_parse_word(document, value);
    }
    value->source_bytes = (size_t)(document->at - value->source);
    return found;
}

static inline void json_free(json_document *document) {
    free(document->values);
    free(document->strings);
    memset(document, 0, sizeof *document);
}

/* `text` must outlive the document. False, and the reason in `why`, where it is not JSON within the bounds. */
static inline bool json_parse(json_document *document, const char *text, size_t bytes, size_t max_values) {
    /* Every value but the first follows a comma or an opening bracket. Those in strings are counted too. */
    size_t most = 1;
    memset(document, 0, sizeof *document);
    document->start = document->at = text;
    document->end = text + bytes;
    for (size_t at = 0; at < bytes;) {
        size_t character = utf8_character(text + at, bytes - at, NULL);
        document->at = text + at;
        if (character == 0) return json_wrong(document, "it is not UTF-8"), false;
        most += text[at] == ',' || text[at] == '[' || text[at] == '{';
        at += character;
    }
    document->at = text;
    if (most > max_values) return json_wrong(document, "it has too many values"), false;
    document->values = calloc(most, sizeof *document->values);
    document->strings = malloc(bytes + 4);
    if (document->values == NULL || document->strings == NULL) return json_wrong(document, "there is no memory"), false;
    json_value *root = json_parse_value(document);
    if (root == NULL) return false;
    json_skip_space(document);
    if (document->at != document->end) return json_wrong(document, "something follows its end"), false;
    document->root = root;
    return true;
}

/* The member `key` of an object; NULL if it has none or `object` is none. */
static inline const json_value *json_get(const json_value *object, const char *key) {
    if (object == NULL || object->kind != JSON_OBJECT) return NULL;
    for (const json_value *each = object->first; each != NULL; each = each->next) {
        if (strcmp(each->key, key) == 0) return each;
    }
    return NULL;
}

static inline bool json_is(const json_value *value, enum json_kind kind) {
    return value != NULL && value->kind == kind;
}

static inline bool json_is_whole(const json_value *value) { return json_is(value, JSON_NUMBER) && value->whole; }

/* As a JSON string, quotes and all. */
static inline void json_write(FILE *file, const char *text) {
    fputc('"', file);
    for (const char *at = text; *at != '\0';) {
        size_t bytes = utf8_character(at, strlen(at), NULL);
        unsigned char c = (unsigned char)*at;
        if (bytes == 0) {
            fputc('?', file);
        } else if (c < 0x20 || c == 0x7F) {
            fprintf(file, "\\u%04x", c);
        } else if (c == '"' || c == '\\') {
            fprintf(file, "\\%c", c);
        } else {
            fwrite(at, 1, bytes, file);
        }
        at += bytes == 0 ? 1 : bytes;
    }
    fputc('"', file);
}

#endif
