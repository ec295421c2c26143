/* From token pieces to text: UTF-8 buffered across tokens, stop strings held back. */
#ifndef EDGEKIT_STREAM_H
#define EDGEKIT_STREAM_H

#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "failure.h"
#include "utf8.h"

#define STREAM_REPLACEMENT "\xEF\xBF\xBD"

typedef struct text_stream {
    const char *const *stops;
    size_t stop_count;
    edgekit_on_text on_text;
    void *user;
    buffer held; /* text that may yet be part of a stop string */
    unsigned char part[4]; /* bytes of a character that is not whole yet */
    size_t part_bytes;
    bool stopped; /* a stop string was found: nothing more comes */
} text_stream;

static edgekit_code check_stops(const edgekit_generation *options, edgekit_error *error) {
    if (options->stop == NULL && options->stop_count > 0) {
        return fail(error, EDGEKIT_BAD_INPUT, "stop is NULL and stop_count %zu", options->stop_count);
    }
    for (size_t index = 0; index < options->stop_count; index++) {
        const char *stop = options->stop[index];
        if (stop == NULL || stop[0] == '\0') {
            return fail(error, EDGEKIT_BAD_INPUT, "a stop string is empty: one or more non-empty ones are expected");
        }
        if (utf8_fault(stop) >= 0) return fail(error, EDGEKIT_BAD_INPUT, "a stop string is not UTF-8");
    }
    return EDGEKIT_OK;
}

/* Length of the longest end of what is held with which a stop string may begin. */
static size_t stream_possible_stop(const text_stream *self) {
    size_t longest = 0;
    for (size_t index = 0; index < self->stop_count; index++) {
        size_t length = strlen(self->stops[index]) - 1;
        if (length > self->held.count) length = self->held.count;
        while (length > longest && memcmp(self->held.bytes + self->held.count - length, self->stops[index], length) != 0) {
            length--;
        }
        if (length > longest) longest = length;
    }
    return longest;
}

/* The first `bytes` of what is held go to the callback. */
static edgekit_code stream_give(text_stream *self, size_t bytes, edgekit_error *error) {
    if (bytes == 0) return EDGEKIT_OK;
    char next = self->held.bytes[bytes];
    self->held.bytes[bytes] = '\0';
    bool goes_on = self->on_text(self->held.bytes, self->user) == 0;
    self->held.bytes[bytes] = next;
    buffer_drop(&self->held, bytes);
    return goes_on ? EDGEKIT_OK : fail(error, EDGEKIT_CANCELLED, "the callback asked to stop");
}

/* Before the stop string that is completed first; everything that can be part of none, where there is none. */
static edgekit_code stream_flush(text_stream *self, edgekit_error *error) {
    size_t end = SIZE_MAX, before = 0;
    for (size_t index = 0; index < self->stop_count && self->held.count > 0; index++) {
        const char *found = strstr(self->held.bytes, self->stops[index]);
        size_t start = found == NULL ? 0 : (size_t)(found - self->held.bytes);
        size_t behind = found == NULL ? SIZE_MAX : start + strlen(self->stops[index]);
        if (behind < end || (behind == end && start < before)) end = behind, before = start;
    }
    self->stopped = end != SIZE_MAX;
    return stream_give(self, self->stopped ? before : self->held.count - stream_possible_stop(self), error);
}

/* How many bytes at `bytes` begin a character, though they may not finish it; 0 where no character begins so. */
static size_t utf8_beginning(const unsigned char *bytes, size_t count) {
    size_t wanted = bytes[0] < 0x80 ? 1 : bytes[0] < 0xC2 ? 0 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    if (bytes[0] >= 0xF5 || wanted == 0) return 0;
    unsigned char least = bytes[0] == 0xE0 ? 0xA0 : bytes[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char most = bytes[0] == 0xED ? 0x9F : bytes[0] == 0xF4 ? 0x8F : 0xBF;
    size_t length = 1;
    while (length < wanted && length < count && bytes[length] >= least && bytes[length] <= most) {
        length++, least = 0x80, most = 0xBF;
    }
    return length;
}

/* Move whole characters of `part` to what is held; bytes that can never be text, and the zero, which no C string
 * holds, become U+FFFD. The beginning of a character stays, unless it is `last`. */
static void stream_decode(text_stream *self, bool last) {
    while (self->part_bytes > 0) {
        size_t whole = utf8_character((const char *)self->part, self->part_bytes, NULL);
        size_t begun = whole > 0 ? whole : utf8_beginning(self->part, self->part_bytes);
        if (whole == 0 && begun == self->part_bytes && !last) return;
        bool text = whole > 0 && self->part[0] != 0;
        buffer_add(&self->held, text ? (const char *)self->part : STREAM_REPLACEMENT, text ? whole : 3);
        size_t used = begun > 0 ? begun : 1;
        memmove(self->part, self->part + used, self->part_bytes - used);
        self->part_bytes -= used;
    }
}

/* The bytes of one token: what is text now goes to the callback. RUN_FAILED without memory, CANCELLED if asked. */
static edgekit_code stream_add(text_stream *self, const char *bytes, size_t count, edgekit_error *error) {
    for (size_t at = 0; at < count; at++) {
        self->part[self->part_bytes++] = (unsigned char)bytes[at];
        stream_decode(self, false);
    }
    if (self->held.failed) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the answer");
    return stream_flush(self, error);
}

/* The answer is over: what was held back is text after all. */
static edgekit_code stream_end(text_stream *self, edgekit_error *error) {
    if (self->stopped) return EDGEKIT_OK;
    stream_decode(self, true);
    if (self->held.failed) return fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the answer");
    edgekit_code code = stream_flush(self, error);
    return code == EDGEKIT_OK && !self->stopped ? stream_give(self, self->held.count, error) : code;
}

#endif
