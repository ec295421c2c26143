/* A vocabulary: tokens by their bytes, in one hash table. */
#ifndef EDGEKIT_VOCABULARY_H
#define EDGEKIT_VOCABULARY_H

#include "tokenizer_json.h"

#define VOCABULARY_MAX_TOKENS (4u << 20)
#define VOCABULARY_MAX_ID (16 << 20)
#define VOCABULARY_MAX_PROBES 4096 /* no vocabulary comes near it but one that was made to */
#define VOCABULARY_HASH_START 14695981039346656037u

typedef struct vocabulary_slot {
    const char *text; /* NULL: free */
    uint32_t bytes;
    int32_t id;
} vocabulary_slot;

typedef struct vocabulary {
    vocabulary_slot *slots;
    size_t slot_count; /* a power of two, at least twice `count` */
    size_t count;
    size_t longest_bytes;
    char *strings;
    uint8_t *taken; /* a bit for each id, until all tokens are known */
} vocabulary;

/* FNV-1a; `hash` is that of what comes before, VOCABULARY_HASH_START of nothing. */
static inline uint64_t vocabulary_hash(uint64_t hash, const char *text, size_t bytes) {
    for (size_t index = 0; index < bytes; index++) hash = (hash ^ (unsigned char)text[index]) * 1099511628211u;
    return hash;
}

/* The slot of the token that is `prefix` and `text` together, whose hash is given, or the free one where it would
 * stand; NULL where one token of the table is too far from where it belongs. */
static inline vocabulary_slot *vocabulary_slot_of(const vocabulary *self, uint64_t hash, const char *prefix,
                                                  size_t prefix_bytes, const char *text, size_t bytes) {
    size_t at = (size_t)((hash ^ hash >> 29) & (self->slot_count - 1));
    for (int probe = 0; probe < VOCABULARY_MAX_PROBES; probe++) {
        vocabulary_slot *slot = &self->slots[at];
        if (slot->text == NULL) return slot;
        if (slot->bytes == prefix_bytes + bytes && memcmp(slot->text, prefix, prefix_bytes) == 0 &&
            memcmp(slot->text + prefix_bytes, text, bytes) == 0) {
            return slot;
        }
        at = (at + 1) & (self->slot_count - 1);
    }
    return NULL;
}

/* The id of `text`, -1 where it is none of the tokens. */
static inline int32_t vocabulary_id(const vocabulary *self, const char *text, size_t bytes) {
    uint64_t hash = vocabulary_hash(VOCABULARY_HASH_START, text, bytes);
    const vocabulary_slot *slot = vocabulary_slot_of(self, hash, "", 0, text, bytes);
    return slot == NULL || slot->text == NULL ? -1 : slot->id;
}

static inline void vocabulary_free(vocabulary *self) {
    free(self->slots);
    free(self->strings);
    free(self->taken);
    memset(self, 0, sizeof *self);
}

static inline bool vocabulary_takes(vocabulary *self, size_t id) {
    bool free_yet = id < VOCABULARY_MAX_ID && (self->taken[id / 8] >> id % 8 & 1) == 0;
    if (free_yet) self->taken[id / 8] |= (uint8_t)(1 << id % 8);
    return free_yet;
}

/* NULL, or why this token cannot be one. */
static inline const char *vocabulary_add(vocabulary *self, const char *text, const json_value *id) {
    size_t bytes = strlen(text);
    if (!json_is_whole(id) || id->integer < 0 || id->integer >= VOCABULARY_MAX_ID) return "an id is out of range";
    if (!vocabulary_takes(self, (size_t)id->integer)) return "an id is given twice";
    vocabulary_slot *slot =
        vocabulary_slot_of(self, vocabulary_hash(VOCABULARY_HASH_START, text, bytes), "", 0, text, bytes);
    if (slot == NULL) return "its tokens are made to be slow to look up";
    if (slot->text != NULL) return "a token stands twice in its vocabulary";
    *slot = (vocabulary_slot){text, (uint32_t)bytes, (int32_t)id->integer};
    self->count++;
    if (bytes > self->longest_bytes) self->longest_bytes = bytes;
    return NULL;
}

/* Members {token: id} from behind the opening bracket. */
static inline const char *vocabulary_fill(vocabulary *self, json_document *cursor) {
    json_to_next(cursor);
    bool more = cursor->at >= cursor->end || *cursor->at != '}';
    while (more) {
        json_value id = {0};
        json_to_next(cursor);
        if (cursor->at >= cursor->end || *cursor->at != '"') return "a token is not a string";
        const char *text = json_parse_string(cursor);
        if (text == NULL) return cursor->why;
        json_to_next(cursor);
        if (cursor->at >= cursor->end || *cursor->at++ != ':') return "a colon is missing in its vocabulary";
        json_to_next(cursor);
        bool number = cursor->at < cursor->end && (*cursor->at == '-' || (*cursor->at >= '0' && *cursor->at <= '9'));
        if (!number || json_parse_number(cursor, &id) == NULL) return "an id is no number";
        const char *fault = vocabulary_add(self, text, &id);
        if (fault != NULL) return fault;
        json_to_next(cursor);
        if (cursor->at >= cursor->end) return "its vocabulary does not end";
        if (*cursor->at != ',' && *cursor->at != '}') return "a comma is missing in its vocabulary";
        more = *cursor->at++ == ',';
    }
    return NULL;
}

static inline edgekit_code vocabulary_read(vocabulary *self, const tokenizer_json *file, edgekit_error *error) {
    json_document cursor = {0};
    memset(self, 0, sizeof *self);
    if (file->vocab.start == NULL || *file->vocab.start != '{') {
        return tokenizer_wrong(error, file, "its vocabulary is not an object");
    }
    if (file->vocab.members > VOCABULARY_MAX_TOKENS) {
        return tokenizer_wrong(error, file, "it has more than %u tokens", VOCABULARY_MAX_TOKENS);
    }
    for (self->slot_count = 16; self->slot_count < 2 * file->vocab.members;) self->slot_count *= 2;
    self->slots = calloc(self->slot_count, sizeof *self->slots);
    self->strings = malloc(file->vocab.bytes + 4);
    self->taken = calloc(VOCABULARY_MAX_ID / 8, 1);
    const char *fault = NULL;
    cursor.strings = self->strings;
    cursor.start = file->vocab.start;
    cursor.at = cursor.start + 1;
    cursor.end = cursor.start + file->vocab.bytes;
    bool memory = self->slots != NULL && self->strings != NULL && self->taken != NULL;
    if (memory) fault = vocabulary_fill(self, &cursor);
    if (!memory) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a vocabulary");
    return fault == NULL ? EDGEKIT_OK : tokenizer_wrong(error, file, "%s", fault);
}

#endif
