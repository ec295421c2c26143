/* Paths and whole files. */
#ifndef EDGEKIT_FILES_H
#define EDGEKIT_FILES_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline char *path_join(const char *folder, const char *path) {
    size_t bytes = strlen(folder) + strlen(path) + 2;
    char *joined = malloc(bytes);
    if (joined != NULL) snprintf(joined, bytes, "%s/%s", folder, path);
    return joined;
}

/* The whole of a regular file that is no link, with a zero behind it. NULL, and errno (EFBIG: over the limit). */
static inline char *read_whole(const char *path, size_t limit_bytes, size_t *bytes) {
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;
    if (descriptor < 0) return NULL;
    *bytes = 0;
    if (fstat(descriptor, &status) != 0) goto done;
    errno = !S_ISREG(status.st_mode) ? EINVAL : (uint64_t)status.st_size > limit_bytes ? EFBIG : 0;
    if (errno != 0 || (text = malloc((size_t)status.st_size + 1)) == NULL) goto done;
    while (*bytes < (size_t)status.st_size) {
        ssize_t got = read(descriptor, text + *bytes, (size_t)status.st_size - *bytes);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            free(text);
            text = NULL;
            goto done;
        }
        *bytes += (size_t)got;
    }
    text[*bytes] = '\0';
done:
    close(descriptor);
    return text;
}

#endif
