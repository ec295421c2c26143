/* Bytes that grow, a zero behind them. Once memory is out it stays so, and the owner asks at the end. */
#ifndef EDGEKIT_BUFFER_H
#define EDGEKIT_BUFFER_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct buffer {
    char *bytes;
    size_t count, room;
    bool failed;
} buffer;

static inline void buffer_add(buffer *self, const char *bytes, size_t count) {
    if (self->failed) return;
    if (count >= SIZE_MAX / 4 || self->count + count + 1 > self->room) {
        size_t room = 2 * (self->count + count) + 64;
        char *grown = count >= SIZE_MAX / 4 ? NULL : realloc(self->bytes, room);
        if (grown == NULL) {
            self->failed = true;
            return;
        }
        self->bytes = grown, self->room = room;
    }
    memcpy(self->bytes + self->count, bytes, count);
    self->count += count;
    self->bytes[self->count] = '\0';
}

static inline void buffer_text(buffer *self, const char *text) { buffer_add(self, text, strlen(text)); }

/* The first `count` bytes are taken away. */
static inline void buffer_drop(buffer *self, size_t count) {
    memmove(self->bytes, self->bytes + count, self->count - count + 1);
    self->count -= count;
}

static inline void buffer_free(buffer *self) {
    free(self->bytes);
    memset(self, 0, sizeof *self);
}

#endif
