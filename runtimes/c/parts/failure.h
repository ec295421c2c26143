/* One way to fail: a code and one clean line. */
#ifndef EDGEKIT_FAILURE_H
#define EDGEKIT_FAILURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../edgekit.h"
#include "utf8.h"

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static edgekit_code
fail(edgekit_error *error, edgekit_code code, const char *format, ...);

/* Fills `error`, if there is one, and gives the code back. File names and engines' words may hold anything: control
 * characters become spaces, and what is not UTF-8 question marks. */
static edgekit_code fail(edgekit_error *error, edgekit_code code, const char *format, ...) {
    va_list arguments;
    if (error == NULL) return code;
    error->code = code;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    size_t length = strlen(error->message), kept = 0;
    for (size_t at = 0; at < length;) {
        size_t bytes = utf8_character(error->message + at, length - at, NULL);
        bool cut = bytes == 0 && length == sizeof error->message - 1 && length - at < 4;
        if (cut) break;
        if (bytes <= 1) {
            char one = bytes == 0 ? '?' : (unsigned char)error->message[at] < 0x20 ? ' ' : error->message[at];
            bool doubled = one == ' ' && (kept == 0 || error->message[kept - 1] == ' ');
            if (!doubled) error->message[kept++] = one;
            at += 1;
        } else {
            memmove(error->message + kept, error->message + at, bytes);
            kept += bytes;
            at += bytes;
        }
    }
    while (kept > 0 && error->message[kept - 1] == ' ') kept--;
    error->message[kept] = '\0';
    return code;
}

static inline void no_failure(edgekit_error *error) {
    if (error == NULL) return;
    error->code = EDGEKIT_OK;
    error->message[0] = '\0';
}

#endif
