/* Added tokens: found in a text before all else, whole, whatever the model would make of them. */
#ifndef EDGEKIT_ADDED_TOKENS_H
#define EDGEKIT_ADDED_TOKENS_H

#include "letters.h"
#include "vocabulary.h"

#define ADDED_MAX_TOKENS 40000

typedef struct added_token {
    char *content; /* normalized, where it is sought in normalized text */
    size_t bytes, place;
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} added_token;

/* Those sought in the text as it is given come first, then those sought in the normalized text; each by the first byte,
 * the longest first. */
typedef struct added_tokens {
    added_token *at;
    size_t count;
    size_t first[2][257]; /* of [normalized][byte], where its tokens begin */
} added_tokens;

/* A piece of a text: an added token, or what lies between (`token` is NULL). */
typedef struct added_split {
    const added_token *token;
    uint32_t start, end;
} added_split;

typedef struct added_splits {
    added_split *at;
    size_t count, room;
} added_splits;

static inline bool splits_push(added_splits *self, const added_token *token, uint32_t start, uint32_t end) {
    if (self->count == self->room) {
        size_t room = self->room * 2 + 16;
        added_split *grown = realloc(self->at, room * sizeof *grown);
        if (grown == NULL) return false;
        self->at = grown, self->room = room;
    }
    self->at[self->count++] = (added_split){token, start, end};
    return true;
}

/* The first byte of the character that ends before `at`. */
static inline size_t character_before(const char *text, size_t at) {
    do at--;
    while (((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static inline bool has_flag(const char *text, size_t room, uint32_t flag) {
    uint32_t point = 0;
    return utf8_character(text, room, &point) > 0 && (unicode_flags(point) & flag) != 0;
}

static inline const added_token *added_match(const added_tokens *self, bool normalized, const char *text,
                                             size_t room) {
    unsigned char byte = (unsigned char)text[0];
    for (size_t index = self->first[normalized][byte]; index < self->first[normalized][byte + 1]; index++) {
        const added_token *token = &self->at[index];
        if (token->bytes <= room && memcmp(token->content, text, token->bytes) == 0) return token;
    }
    return NULL;
}

/* The pieces of `text`, left to right, the longest token first. A token found where it must not stand is passed over
 * whole. Spaces that a token takes with it may be a token's own as well: then the pieces overlap, as they do in the
 * tokenizers library, and of one that has nothing left there is none (the library panics where it has less). */
static inline bool added_split_text(const added_tokens *self, bool normalized, const char *text, size_t bytes,
                                    added_splits *splits) {
    size_t behind = 0; /* what is told of already */
    for (size_t at = 0; at < bytes;) {
        const added_token *token = added_match(self, normalized, text + at, bytes - at);
        if (token == NULL) {
            at++;
            continue;
        }
        size_t start = at, end = at += token->bytes;
        if (token->single_word) {
            size_t before = start == 0 ? 0 : character_before(text, start);
            if (start > 0 && has_flag(text + before, start - before, UNICODE_WORD)) continue;
            if (has_flag(text + end, bytes - end, UNICODE_WORD)) continue;
        }
        if (token->lstrip) {
            size_t left = start;
            while (left > 0 && has_flag(text + character_before(text, left), 4, UNICODE_SPACE)) {
                left = character_before(text, left);
            }
            start = left > behind ? left : behind;
        }
        while (token->rstrip && has_flag(text + end, bytes - end, UNICODE_SPACE)) {
            end += utf8_character(text + end, bytes - end, NULL);
        }
        if (behind < start && !splits_push(splits, NULL, (uint32_t)behind, (uint32_t)start)) return false;
        if (start < end && !splits_push(splits, token, (uint32_t)start, (uint32_t)end)) return false;
        behind = end;
    }
    return behind == bytes || splits_push(splits, NULL, (uint32_t)behind, (uint32_t)bytes);
}

static inline void added_free(added_tokens *self) {
    for (size_t index = 0; index < self->count; index++) free(self->at[index].content);
    free(self->at);
    memset(self, 0, sizeof *self);
}

static inline const char *added_read_one(added_token *self, const json_value *tree) {
    const struct {
        const char *key;
        bool *value;
    } flags[] = {{"special", &self->special},
                 {"single_word", &self->single_word},
                 {"lstrip", &self->lstrip},
                 {"rstrip", &self->rstrip},
                 {"normalized", &self->normalized}};
    const json_value *content = json_get(tree, "content"), *id = json_get(tree, "id");
    if (!json_is(content, JSON_STRING)) return "an added token is not a string";
    if (!json_is_whole(id) || id->integer < 0 || id->integer > UINT32_MAX) return "an added token's id is out of range";
    for (size_t index = 0; index < sizeof flags / sizeof *flags; index++) {
        const json_value *flag = json_get(tree, flags[index].key);
        if (!json_is(flag, JSON_TRUE) && !json_is(flag, JSON_FALSE)) return "an added token lacks a flag";
        *flags[index].value = flag->kind == JSON_TRUE;
    }
    self->content = strdup(content->text);
    self->bytes = strlen(content->text);
    return NULL;
}

static inline int added_by_content(const void *one, const void *other) {
    return strcmp(((const added_token *)one)->content, ((const added_token *)other)->content);
}

static inline int added_by_place(const void *one, const void *other) {
    const added_token *a = one, *b = other;
    return (a->place > b->place) - (a->place < b->place);
}

/* By where they are sought, first byte, length, and of two that are the same once normalized the special one, then the
 * one that stands first. */
static inline int added_by_search(const void *one, const void *other) {
    const added_token *a = one, *b = other;
    if (a->normalized != b->normalized) return a->normalized ? 1 : -1;
    if (a->content[0] != b->content[0]) return (unsigned char)a->content[0] < (unsigned char)b->content[0] ? -1 : 1;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    if (a->special != b->special) return a->special ? -1 : 1;
    return added_by_place(one, other);
}

/* Its id is that of the vocabulary; those that are none of it are numbered from its size on, as the tokenizers library
 * does whatever the file says. */
static inline edgekit_code added_number(added_tokens *self, vocabulary *words, const tokenizer_json *file,
                                        edgekit_error *error) {
    size_t next = words->count;
    if (self->count == 0) return EDGEKIT_OK; /* `at` is NULL then, which qsort does not take */
    qsort(self->at, self->count, sizeof *self->at, added_by_content);
    for (size_t index = 1; index < self->count; index++) {
        if (added_by_content(&self->at[index - 1], &self->at[index]) == 0) {
            return tokenizer_wrong(error, file, "the token '%.60s' is added twice", self->at[index].content);
        }
    }
    qsort(self->at, self->count, sizeof *self->at, added_by_place);
    for (size_t index = 0; index < self->count; index++) {
        added_token *token = &self->at[index];
        token->id = vocabulary_id(words, token->content, token->bytes);
        if (token->id >= 0) continue;
        if (!vocabulary_takes(words, next)) {
            return tokenizer_wrong(error, file, "the added token '%.60s' gets the id %zu of another", token->content,
                                   next);
        }
        token->id = (int32_t)next++;
    }
    return EDGEKIT_OK;
}

/* As they are sought: normalized, where they are to be, and in the order of the search. */
static inline edgekit_code added_arrange(added_tokens *self, const normalizer *how, const tokenizer_json *file,
                                         edgekit_error *error) {
    for (size_t index = 0; index < self->count; index++) {
        added_token *token = &self->at[index];
        if (!token->normalized) continue;
        letters content;
        bool memory = letters_read(&content, how, token->content, 0, (uint32_t)token->bytes);
        if (memory && content.count == 0) {
            letters_free(&content);
            return tokenizer_lacks(error, file, "an added token of which normalization leaves nothing: '%.60s'",
                                   token->content);
        }
        if (memory) {
            free(token->content);
            token->content = content.text;
            token->bytes = content.offsets[content.count];
            content.text = NULL;
        }
        letters_free(&content);
        if (!memory) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for added tokens");
    }
    if (self->count > 0) qsort(self->at, self->count, sizeof *self->at, added_by_search);
    for (size_t index = self->count, set = 2; set-- > 0;) {
        self->first[set][256] = index;
        for (size_t byte = 256; byte-- > 0;) {
            while (index > 0 && self->at[index - 1].normalized == (set == 1) &&
                   (unsigned char)self->at[index - 1].content[0] == byte) {
                index--;
            }
            self->first[set][byte] = index;
        }
    }
    return EDGEKIT_OK;
}

static inline edgekit_code added_collect(added_tokens *self, const json_value *list, const tokenizer_json *file,
                                         edgekit_error *error) {
    if (list->kind == JSON_NULL) return EDGEKIT_OK;
    if (list->kind != JSON_ARRAY || list->count > ADDED_MAX_TOKENS) {
        return tokenizer_wrong(error, file, "added_tokens is not a list of at most %d", ADDED_MAX_TOKENS);
    }
    self->at = calloc(list->count + 1, sizeof *self->at);
    bool memory = self->at != NULL;
    for (const json_value *each = list->first; each != NULL && memory; each = each->next) {
        added_token *token = &self->at[self->count];
        const char *fault = added_read_one(token, each);
        if (fault != NULL) return tokenizer_wrong(error, file, "%s", fault);
        memory = token->content != NULL;
        token->place = self->count++;
        if (token->bytes > 0) continue;
        free(token->content); /* the tokenizers library passes over empty ones */
        memset(token, 0, sizeof *token);
        self->count--;
    }
    return memory ? EDGEKIT_OK : fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for added tokens");
}

static inline edgekit_code added_read(added_tokens *self, vocabulary *words, const normalizer *how,
                                      const tokenizer_json *file, edgekit_error *error) {
    json_document document;
    memset(self, 0, sizeof *self);
    edgekit_code code = tokenizer_part(file, file->added_tokens, &document, error);
    if (code == EDGEKIT_OK) code = added_collect(self, document.root, file, error);
    if (code == EDGEKIT_OK) code = added_number(self, words, file, error);
    if (code == EDGEKIT_OK) code = added_arrange(self, how, file, error);
    json_free(&document);
    return code;
}

#endif
