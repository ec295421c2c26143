/* What is known of characters, their canonical decomposition (NFD), and text in the composed form (NFC). */
#ifndef EDGEKIT_UNICODE_H
#define EDGEKIT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unicode_tables.h"
#include "utf8.h"

#define UNICODE_COUNT(table) (sizeof(table) / sizeof *(table))

enum { HANGUL_FIRST = 0xAC00, HANGUL_COUNT = 11172, JAMO_L = 0x1100, JAMO_V = 0x1161, JAMO_T = 0x11A7, JAMO_TS = 28,
       JAMO_VS = 21, JAMO_LS = 19 };

/* The value of `point` in a table of runs. */
static inline uint32_t unicode_value(const uint32_t *runs, size_t count, uint32_t point) {
    size_t low = 0, high = count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (runs[middle] >> 8 <= point) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return runs[low] & 0xFF;
}

/* The UNICODE_ flags that `point` has. */
static inline uint32_t unicode_flags(uint32_t point) {
    return unicode_value(unicode_properties, UNICODE_COUNT(unicode_properties), point);
}

static inline uint32_t unicode_class(uint32_t point) {
    return point < 0x300 ? 0 : unicode_value(unicode_classes, UNICODE_COUNT(unicode_classes), point);
}

/* Its lower case where that is one character, as of all but U+0130; itself where it has none. */
static inline uint32_t unicode_lower(uint32_t point) {
    size_t low = 0, high = UNICODE_COUNT(unicode_lower_runs);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct unicode_lower_run *run = &unicode_lower_runs[middle];
        if (point >= run->first && point <= run->last) {
            bool one = (point - run->first) % (uint32_t)run->step == 0;
            return one ? (uint32_t)((int32_t)point + run->change) : point;
        }
        if (point < run->first) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return point;
}

static inline const struct unicode_decomposition *unicode_parts(uint32_t point) {
    size_t low = 0, high = UNICODE_COUNT(unicode_decompositions);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (unicode_decompositions[middle].point == point) return &unicode_decompositions[middle];
        if (unicode_decompositions[middle].point < point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* A character of a decomposed text: its combining class, its place before the marks were put in order, and whether it
 * is another than the first of what its character was decomposed into. */
typedef struct unicode_mark {
    uint32_t point;
    size_t place;
    uint8_t class;
    bool added;
} unicode_mark;

typedef struct unicode_marks {
    unicode_mark *at;
    size_t count, room;
} unicode_marks;

static inline bool unicode_push(unicode_marks *self, uint32_t point, uint32_t class, bool added) {
    if (self->count == self->room) {
        size_t room = self->room * 2 + 64;
        unicode_mark *grown = realloc(self->at, room * sizeof *grown);
        if (grown == NULL) return false;
        self->at = grown, self->room = room;
    }
    self->at[self->count] = (unicode_mark){point, self->count, (uint8_t)class, added};
    self->count++;
    return true;
}

/* Adds the whole decomposition of `point`. `tokenizers`: as the tokenizers library does it, which knows fewer
 * characters. False where there is no memory. */
static inline bool unicode_decompose(unicode_marks *self, uint32_t point, bool tokenizers, bool added) {
    if (point < 0xC0) return unicode_push(self, point, 0, added);
    if (point >= HANGUL_FIRST && point < HANGUL_FIRST + HANGUL_COUNT) {
        uint32_t index = point - HANGUL_FIRST, last = index % JAMO_TS;
        return unicode_push(self, JAMO_L + index / JAMO_TS / JAMO_VS, 0, added) &&
               unicode_push(self, JAMO_V + index / JAMO_TS % JAMO_VS, 0, true) &&
               (last == 0 || unicode_push(self, JAMO_T + last, 0, true));
    }
    bool left_alone = tokenizers && (unicode_flags(point) & UNICODE_UNKNOWN) != 0;
    const struct unicode_decomposition *parts = left_alone ? NULL : unicode_parts(point);
    if (parts == NULL) return unicode_push(self, point, left_alone ? 0 : unicode_class(point), added);
    return unicode_decompose(self, parts->first, tokenizers, added) &&
           (parts->second == 0 || unicode_decompose(self, parts->second, tokenizers, true));
}

static inline int unicode_by_class(const void *one, const void *other) {
    const unicode_mark *a = one, *b = other;
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    return (a->place > b->place) - (a->place < b->place);
}

/* Marks that follow one another in the order of their classes, those of one class as they stood. */
static inline void unicode_reorder(unicode_marks *self) {
    for (size_t from = 0; from < self->count;) {
        size_t to = from;
        while (to < self->count && self->at[to].class != 0) to++;
        if (to - from > 1) qsort(self->at + from, to - from, sizeof *self->at, unicode_by_class);
        from = to + 1;
    }
}

/* What `first` and `second` are composed to; 0 if to nothing. */
static inline uint32_t unicode_composed(uint32_t first, uint32_t second) {
    size_t low = 0, high = UNICODE_COUNT(unicode_compositions);
    if (first >= JAMO_L && first < JAMO_L + JAMO_LS && second >= JAMO_V && second < JAMO_V + JAMO_VS) {
        return HANGUL_FIRST + ((first - JAMO_L) * JAMO_VS + (second - JAMO_V)) * JAMO_TS;
    }
    if (first >= HANGUL_FIRST && first < HANGUL_FIRST + HANGUL_COUNT && (first - HANGUL_FIRST) % JAMO_TS == 0 &&
        second > JAMO_T && second < JAMO_T + JAMO_TS) {
        return first + (second - JAMO_T);
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct unicode_decomposition *each = &unicode_decompositions[unicode_compositions[middle]];
        if (each->first == first && each->second == second) return each->point;
        if (each->first < first || (each->first == first && each->second < second)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

/* Composes what was decomposed and put in order: each mark into the last character of class 0 that it is next to, or
 * from which only marks of lower classes part it. */
static inline void unicode_compose(unicode_marks *self) {
    size_t kept = 0, starter = SIZE_MAX;
    uint32_t before = 0; /* the class of what was kept last, behind the starter */
    for (size_t index = 0; index < self->count; index++) {
        unicode_mark mark = self->at[index];
        bool next = starter != SIZE_MAX && kept == starter + 1;
        bool blocked = starter == SIZE_MAX || (!next && before >= mark.class);
        uint32_t composed = blocked ? 0 : unicode_composed(self->at[starter].point, mark.point);
        if (composed != 0) {
            self->at[starter].point = composed;
            continue;
        }
        if (mark.class == 0) starter = kept;
        before = mark.class;
        self->at[kept++] = mark;
    }
    self->count = kept;
}

/* `text`, which must be UTF-8, in NFC; to be freed. NULL where it is not UTF-8 or there is no memory. */
static inline char *unicode_nfc(const char *text) {
    size_t bytes = strlen(text), at = 0, written = 0;
    unicode_marks marks = {0};
    while (at < bytes && (unsigned char)text[at] < 0x80) at++;
    if (at == bytes) return strdup(text);
    at -= at > 0; /* the last of those may be composed with what follows */
    written = at;
    while (at < bytes) {
        uint32_t point = 0;
        size_t step = utf8_character(text + at, bytes - at, &point);
        if (step == 0 || !unicode_decompose(&marks, point, false, false)) {
            free(marks.at);
            return NULL;
        }
        at += step;
    }
    unicode_reorder(&marks);
    unicode_compose(&marks);
    char *composed = malloc(written + marks.count * 4 + 1);
    if (composed != NULL) {
        memcpy(composed, text, written);
        for (size_t index = 0; index < marks.count; index++) {
            written += utf8_write(marks.at[index].point, composed + written);
        }
        composed[written] = '\0';
    }
    free(marks.at);
    return composed;
}

#endif
