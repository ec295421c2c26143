/* UTF-8, strictly: no overlong form, no surrogate, nothing above U+10FFFF. */
#ifndef EDGEKIT_UTF8_H
#define EDGEKIT_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of the character at `text`, of which `room` bytes are there; 0 if it is none. Its number goes to `*point`. */
static inline size_t utf8_character(const char *text, size_t room, uint32_t *point) {
    const unsigned char *byte = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes;
    uint32_t value;
    if (room == 0) return 0;
    if (byte[0] < 0x80) {
        bytes = 1, value = byte[0];
    } else if (byte[0] >= 0xC2 && byte[0] < 0xE0) {
        bytes = 2, value = byte[0] & 0x1F;
    } else if ((byte[0] & 0xF0) == 0xE0) {
        bytes = 3, value = byte[0] & 0x0F;
    } else if (byte[0] >= 0xF0 && byte[0] < 0xF5) {
        bytes = 4, value = byte[0] & 0x07;
    } else {
        return 0;
    }
    if (bytes > room) return 0;
    for (size_t index = 1; index < bytes; index++) {
        if ((byte[index] & 0xC0) != 0x80) return 0;
        value = value << 6 | (byte[index] & 0x3F);
    }
    if (value < least[bytes] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return 0;
    if (point != NULL) *point = value;
    return bytes;
}

/* Where `text` stops being UTF-8, in bytes; -1 where it is all of it. */
static inline ptrdiff_t utf8_fault(const char *text) {
    const char *end = text + strlen(text);
    for (const char *at = text; at < end;) {
        size_t bytes = utf8_character(at, (size_t)(end - at), NULL);
        if (bytes == 0) return at - text;
        at += bytes;
    }
    return -1;
}

/* Writes `point` at `out` (room for 4 bytes); the number of bytes. */
static inline size_t utf8_write(uint32_t point, char *out) {
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (char)(0xC0 | point >> 6);
        out[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (char)(0xE0 | point >> 12);
        out[1] = (char)(0x80 | (point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | point >> 18);
    out[1] = (char)(0x80 | (point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

#endif
