/* WordPiece as the tokenizers library does it for BERT and its kin, id for id and offset for offset.
 *
 * It is written here because onnxruntime-extensions, which has the other kinds, has not this one: its C interface
 * refuses the class ("Unsupported tokenizer class: BertTokenizer"), and its ONNX operator gives other ids. */
#ifndef EDGEKIT_WORDPIECE_H
#define EDGEKIT_WORDPIECE_H

#include "added_tokens.h"
#include "letters.h"
#include "vocabulary.h"

#define WORDPIECE_MAX_PREFIX 64

typedef struct text_token {
    int32_t id;
    uint32_t start, end;
} text_token;

typedef struct text_tokens {
    text_token *at;
    size_t count, room;
} text_tokens;

typedef struct wordpiece {
    vocabulary words;
    normalizer normalizer;
    added_tokens added;
    bool splits; /* at white space and around punctuation: BertPreTokenizer */
    int32_t unknown;
    size_t longest_word; /* in characters; a longer one is unknown */
    char prefix[WORDPIECE_MAX_PREFIX + 1];
    size_t prefix_bytes;
    uint64_t prefix_hash;
} wordpiece;

static inline bool tokens_push(text_tokens *self, int32_t id, uint32_t start, uint32_t end) {
    if (self->count == self->room) {
        size_t room = self->room * 2 + 64;
        text_token *grown = realloc(self->at, room * sizeof *grown);
        if (grown == NULL) return false;
        self->at = grown, self->room = room;
    }
    self->at[self->count++] = (text_token){id, start, end};
    return true;
}

/* The longest token that the letters from `from` on begin with, before `to`: its id, and the letter behind it. -1 where
 * there is none. */
static inline int32_t wordpiece_longest(const wordpiece *self, const letters *text, size_t from, size_t to,
                                        bool first, size_t *behind) {
    const char *at = text->text + text->offsets[from];
    size_t prefix = first ? 0 : self->prefix_bytes;
    uint64_t hash = first ? VOCABULARY_HASH_START : self->prefix_hash;
    int32_t found = -1;
    for (size_t index = from; index < to; index++) {
        size_t bytes = text->offsets[index + 1] - text->offsets[from];
        size_t letter_bytes = text->offsets[index + 1] - text->offsets[index];
        if (prefix + bytes > self->words.longest_bytes) break;
        hash = vocabulary_hash(hash, at + bytes - letter_bytes, letter_bytes);
        const vocabulary_slot *slot = vocabulary_slot_of(&self->words, hash, self->prefix, prefix, at, bytes);
        if (slot != NULL && slot->text != NULL) found = slot->id, *behind = index + 1;
    }
    return found;
}

/* The tokens of one word, or the unknown one where some part of it is no token. */
static inline bool wordpiece_word(const wordpiece *self, const letters *text, size_t from, size_t to,
                                  text_tokens *tokens) {
    size_t before = tokens->count;
    bool known = to - from <= self->longest_word;
    for (size_t at = from; at < to && known;) {
        size_t behind = at;
        int32_t id = wordpiece_longest(self, text, at, to, at == from, &behind);
        known = id >= 0;
        if (known && !tokens_push(tokens, id, text->at[at].start, text->at[behind - 1].end)) return false;
        at = behind;
    }
    if (known) return true;
    tokens->count = before;
    return tokens_push(tokens, self->unknown, text->at[from].start, text->at[to - 1].end);
}

/* White space parts words and is no part of them; a punctuation mark is a word of its own. */
static inline bool wordpiece_words(const wordpiece *self, const letters *text, size_t from, size_t to,
                                   text_tokens *tokens) {
    size_t start = from;
    for (size_t at = from; at < to; at++) {
        uint32_t flags = self->splits ? unicode_flags(text->at[at].point) : 0;
        if ((flags & (UNICODE_SPACE | UNICODE_PUNCTUATION)) == 0) continue;
        if (start < at && !wordpiece_word(self, text, start, at, tokens)) return false;
        if ((flags & UNICODE_SPACE) == 0 && !wordpiece_word(self, text, at, at + 1, tokens)) return false;
        start = at + 1;
    }
    return start >= to || wordpiece_word(self, text, start, to, tokens);
}

/* What lies between added tokens that are sought in the text as it is given. */
static inline bool wordpiece_between(const wordpiece *self, const char *text, uint32_t from, uint32_t to,
                                     text_tokens *tokens) {
    letters normalized;
    added_splits splits = {0};
    bool done = letters_read(&normalized, &self->normalizer, text, from, to);
    if (done && normalized.count > 0) {
        uint32_t bytes = normalized.offsets[normalized.count];
        done = added_split_text(&self->added, true, normalized.text, bytes, &splits);
    }
    for (size_t index = 0; index < splits.count && done; index++) {
        const added_split *split = &splits.at[index];
        size_t first = letters_at(&normalized, split->start), behind = letters_at(&normalized, split->end);
        if (split->token == NULL) {
            done = wordpiece_words(self, &normalized, first, behind, tokens);
        } else {
            done = tokens_push(tokens, split->token->id, normalized.at[first].start, normalized.at[behind - 1].end);
        }
    }
    free(splits.at);
    letters_free(&normalized);
    return done;
}

/* All tokens of `text`, which is UTF-8, without special ones. False where there is no memory. */
static inline bool wordpiece_encode(const wordpiece *self, const char *text, size_t bytes, text_tokens *tokens) {
    added_splits splits = {0};
    bool done = added_split_text(&self->added, false, text, bytes, &splits);
    for (size_t index = 0; index < splits.count && done; index++) {
        const added_split *split = &splits.at[index];
        if (split->token == NULL) {
            done = wordpiece_between(self, text, split->start, split->end, tokens);
        } else {
            done = tokens_push(tokens, split->token->id, split->start, split->end);
        }
    }
    free(splits.at);
    return done;
}

static inline void wordpiece_free(wordpiece *self) {
    added_free(&self->added);
    vocabulary_free(&self->words);
    memset(self, 0, sizeof *self);
}

static inline edgekit_code wordpiece_settings(wordpiece *self, const json_value *unknown, const json_value *prefix,
                                              const json_value *longest, const tokenizer_json *file,
                                              edgekit_error *error) {
    if (!json_is(prefix, JSON_STRING) || strlen(prefix->text) > WORDPIECE_MAX_PREFIX) {
        return tokenizer_wrong(error, file, "continuing_subword_prefix is no string of at most %d bytes",
                               WORDPIECE_MAX_PREFIX);
    }
    if (!json_is_whole(longest) || longest->integer < 0) {
        return tokenizer_wrong(error, file, "max_input_chars_per_word is no number");
    }
    if (!json_is(unknown, JSON_STRING)) return tokenizer_wrong(error, file, "unk_token is not a string");
    self->unknown = vocabulary_id(&self->words, unknown->text, strlen(unknown->text));
    if (self->unknown < 0) {
        return tokenizer_wrong(error, file, "its unk_token '%.60s' is not in its vocabulary", unknown->text);
    }
    self->longest_word = (size_t)longest->integer;
    self->prefix_bytes = strlen(prefix->text);
    memcpy(self->prefix, prefix->text, self->prefix_bytes + 1);
    self->prefix_hash = vocabulary_hash(VOCABULARY_HASH_START, self->prefix, self->prefix_bytes);
    return EDGEKIT_OK;
}

static inline edgekit_code wordpiece_model(wordpiece *self, const tokenizer_json *file, edgekit_error *error) {
    const json_span spans[] = {file->unk_token, file->prefix, file->longest_word};
    json_document parts[3];
    edgekit_code code = vocabulary_read(&self->words, file, error);
    memset(parts, 0, sizeof parts);
    for (size_t index = 0; index < 3 && code == EDGEKIT_OK; index++) {
        code = tokenizer_part(file, spans[index], &parts[index], error);
    }
    if (code == EDGEKIT_OK) {
        code = wordpiece_settings(self, parts[0].root, parts[1].root, parts[2].root, file, error);
    }
    for (size_t index = 0; index < 3; index++) json_free(&parts[index]);
    return code;
}

static inline edgekit_code wordpiece_pre_tokenizer(wordpiece *self, const tokenizer_json *file,
                                                   edgekit_error *error) {
    json_document document;
    edgekit_code code = tokenizer_part(file, file->pre_tokenizer, &document, error);
    const json_value *type = code == EDGEKIT_OK ? json_get(document.root, "type") : NULL;
    if (code == EDGEKIT_OK && document.root->kind != JSON_NULL) {
        self->splits = json_is(type, JSON_STRING) && strcmp(type->text, "BertPreTokenizer") == 0;
        if (!self->splits) {
            code = tokenizer_lacks(error, file,
                                   "the pre-tokenizer %.60s: with WordPiece this runtime has BertPreTokenizer alone",
                                   json_is(type, JSON_STRING) ? type->text : "of no type");
        }
    }
    json_free(&document);
    return code;
}

/* LOAD_FAILED where the file asks for anything that is not done exactly. To be freed whatever is returned. */
static inline edgekit_code wordpiece_read(wordpiece *self, const tokenizer_json *file, edgekit_error *error) {
    memset(self, 0, sizeof *self);
    edgekit_code code = normalizer_read(&self->normalizer, file, error);
    if (code == EDGEKIT_OK) code = wordpiece_pre_tokenizer(self, file, error);
    if (code == EDGEKIT_OK) code = wordpiece_model(self, file, error);
    if (code == EDGEKIT_OK) code = added_read(&self->added, &self->words, &self->normalizer, file, error);
    free(self->words.taken);
    self->words.taken = NULL;
    return code;
}

#endif
