/* A text as characters that remember where they come from, and what BERT's normalizer makes of it. */
#ifndef EDGEKIT_LETTERS_H
#define EDGEKIT_LETTERS_H

#include "tokenizer_json.h"
#include "unicode.h"

/* `start` and `end`: the bytes it stands for in the text that was given. */
typedef struct letter {
    uint32_t point, start, end;
} letter;

typedef struct letters {
    letter *at;
    size_t count, room;
    char *text;        /* once spelt: the same in UTF-8, */
    uint32_t *offsets; /* and where each letter of it begins, and the last one ends */
} letters;

typedef struct normalizer {
    bool clean, chinese, strip, lower;
} normalizer;

static inline void letters_free(letters *self) {
    free(self->at);
    free(self->text);
    free(self->offsets);
    memset(self, 0, sizeof *self);
}

static inline bool letters_push(letters *self, uint32_t point, uint32_t start, uint32_t end) {
    if (self->count == self->room) {
        size_t room = self->room * 2 + 64;
        letter *grown = realloc(self->at, room * sizeof *grown);
        if (grown == NULL) return false;
        self->at = grown, self->room = room;
    }
    self->at[self->count++] = (letter){point, start, end};
    return true;
}

/* Control characters go, white space becomes spaces, ideographs get a space on either side. */
static inline bool letters_clean(letters *self, const normalizer *how, const char *text, uint32_t from, uint32_t to) {
    for (uint32_t at = from; at < to;) {
        uint32_t point = 0, end = at + (uint32_t)utf8_character(text + at, to - at, &point);
        uint32_t flags = unicode_flags(point);
        if (!how->clean || (flags & UNICODE_REMOVED) == 0) {
            bool apart = how->chinese && (flags & UNICODE_CJK) != 0;
            if (how->clean && (flags & UNICODE_SPACE) != 0) point = ' ';
            if (apart && !letters_push(self, ' ', at, end)) return false;
            if (!letters_push(self, point, at, end)) return false;
            if (apart && !letters_push(self, ' ', at, end)) return false;
        }
        at = end;
    }
    return true;
}

/* Accents are taken off. Where marks change places, the tokenizers library does not move with them what they stand for:
 * the first character of each decomposition takes the next place, the others share the one before. So does this. */
static inline bool letters_strip(letters *self) {
    unicode_marks marks = {0};
    letters stripped = {0};
    bool done = true;
    size_t place = 0;
    for (size_t index = 0; index < self->count && done; index++) {
        done = unicode_decompose(&marks, self->at[index].point, true, false);
    }
    if (done) unicode_reorder(&marks);
    for (size_t index = 0; index < marks.count && done; index++) {
        const unicode_mark *mark = &marks.at[index];
        const letter *from = &self->at[mark->added ? place - (place > 0) : place];
        place += !mark->added;
        if ((unicode_flags(mark->point) & UNICODE_MARK) != 0) continue;
        done = letters_push(&stripped, mark->point, from->start, from->end);
    }
    free(marks.at);
    free(self->at);
    self->at = stripped.at, self->count = stripped.count, self->room = stripped.room;
    return done;
}

static inline bool letters_lower(letters *self) {
    size_t count = self->count;
    bool dotted = false;
    for (size_t index = 0; index < count; index++) {
        dotted = dotted || self->at[index].point == 0x130;
        self->at[index].point = unicode_lower(self->at[index].point);
    }
    if (!dotted) return true;
    letters longer = {0};
    for (size_t index = 0; index < count; index++) {
        const letter *each = &self->at[index];
        bool capital = each->point == 0x130;
        bool done = letters_push(&longer, capital ? 'i' : each->point, each->start, each->end) &&
                    (!capital || letters_push(&longer, 0x307, each->start, each->end));
        if (!done) return letters_free(&longer), false;
    }
    free(self->at);
    self->at = longer.at, self->count = longer.count, self->room = longer.room;
    return true;
}

static inline bool letters_spell(letters *self) {
    size_t bytes = 0;
    self->text = malloc(self->count * 4 + 1);
    self->offsets = malloc((self->count + 1) * sizeof *self->offsets);
    if (self->text == NULL || self->offsets == NULL) return false;
    for (size_t index = 0; index < self->count; index++) {
        self->offsets[index] = (uint32_t)bytes;
        bytes += utf8_write(self->at[index].point, self->text + bytes);
    }
    self->offsets[self->count] = (uint32_t)bytes;
    self->text[bytes] = '\0';
    return true;
}

/* What `how` makes of the bytes `from` to `to` of `text`, which is UTF-8. To be freed also where there is no memory,
 * which false says. */
static inline bool letters_read(letters *self, const normalizer *how, const char *text, uint32_t from, uint32_t to) {
    memset(self, 0, sizeof *self);
    return letters_clean(self, how, text, from, to) && (!how->strip || letters_strip(self)) &&
           (!how->lower || letters_lower(self)) && letters_spell(self);
}

/* The letter that begins at the byte `offset` of the spelt text; `count` at its end. */
static inline size_t letters_at(const letters *self, uint32_t offset) {
    size_t low = 0, high = self->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->offsets[middle] < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static inline edgekit_code normalizer_flag(const json_value *tree, const char *key, bool *flag,
                                           const tokenizer_json *file, edgekit_error *error) {
    const json_value *value = json_get(tree, key);
    if (!json_is(value, JSON_TRUE) && !json_is(value, JSON_FALSE)) {
        return tokenizer_wrong(error, file, "%s of its normalizer is neither true nor false", key);
    }
    *flag = value->kind == JSON_TRUE;
    return EDGEKIT_OK;
}

static inline edgekit_code normalizer_of(normalizer *self, const json_value *tree, const tokenizer_json *file,
                                         edgekit_error *error) {
    const json_value *type = json_get(tree, "type"), *strip = json_get(tree, "strip_accents");
    memset(self, 0, sizeof *self);
    if (tree->kind == JSON_NULL) return EDGEKIT_OK;
    if (!json_is(type, JSON_STRING)) return tokenizer_wrong(error, file, "its normalizer has no type");
    if (strcmp(type->text, "BertNormalizer") != 0) {
        return tokenizer_lacks(error, file, "the normalizer %.60s: with WordPiece this runtime has BertNormalizer alone",
                               type->text);
    }
    edgekit_code code = normalizer_flag(tree, "clean_text", &self->clean, file, error);
    if (code == EDGEKIT_OK) code = normalizer_flag(tree, "handle_chinese_chars", &self->chinese, file, error);
    if (code == EDGEKIT_OK) code = normalizer_flag(tree, "lowercase", &self->lower, file, error);
    if (code != EDGEKIT_OK) return code;
    self->strip = self->lower;
    if (strip == NULL || strip->kind == JSON_NULL) return EDGEKIT_OK;
    return normalizer_flag(tree, "strip_accents", &self->strip, file, error);
}

/* How the normalizer of the file changes a text; LOAD_FAILED where that is not this one. */
static inline edgekit_code normalizer_read(normalizer *self, const tokenizer_json *file, edgekit_error *error) {
    json_document document;
    edgekit_code code = tokenizer_part(file, file->normalizer, &document, error);
    if (code == EDGEKIT_OK) code = normalizer_of(self, document.root, file, error);
    json_free(&document);
    return code;
}

#endif
