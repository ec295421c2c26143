/* Base64 (RFC 4648), strictly: whole groups, padding only at the end, nothing in between. */
#ifndef EDGEKIT_BASE64_H
#define EDGEKIT_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline int base64_digit(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The bytes, to be freed; NULL where it is not base64 or there is no memory. */
static inline unsigned char *base64_decode(const char *text, size_t *bytes) {
    size_t length = strlen(text), padding = 0, used = 0;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=') padding++;
    unsigned char *out = length % 4 != 0 ? NULL : malloc(length / 4 * 3 + 1);
    uint32_t group = 0;
    if (out == NULL) return NULL;
    for (size_t at = 0; at < length; at++) {
        int digit = at < length - padding ? base64_digit((unsigned char)text[at]) : 0;
        if (digit < 0) {
            free(out);
            return NULL;
        }
        group = group << 6 | (uint32_t)digit;
        if (at % 4 != 3) continue;
        out[used++] = (unsigned char)(group >> 16);
        out[used++] = (unsigned char)(group >> 8);
        out[used++] = (unsigned char)group;
    }
    *bytes = used - padding;
    return out;
}

#endif
