/* An engine's shared library, opened while the program runs. It stays loaded: engines keep threads and handlers. */
#ifndef EDGEKIT_LIBRARY_H
#define EDGEKIT_LIBRARY_H

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

typedef void (*library_function)(void);

/* What an engine's library is called, before and after the version that it may carry. */
#if defined(__APPLE__)
#define LIBRARY_NAMES(name, version) {name "." version ".dylib", name ".dylib", NULL}
#else
#define LIBRARY_NAMES(name, version) {name ".so." version, name ".so", NULL}
#endif

/* The first of `names`, which ends with NULL, that the system's loader finds; NULL, and `looked` lists them. */
static inline void *library_find(const char *const *names, char *looked, size_t size) {
    size_t used = (size_t)snprintf(looked, size, "looked for");
    void *library = NULL;
    for (const char *comma = " "; library == NULL && *names != NULL; names++, comma = ", ") {
        library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        if (used < size) used += (size_t)snprintf(looked + used, size - used, "%s%s", comma, *names);
    }
    if (used < size) snprintf(looked + used, size - used, "; ");
    return library;
}

/* `path`, or the first of `names` (which ends with NULL) that the system's loader finds. NULL and LOAD_FAILED. */
static inline void *library_open(const char *path, const char *const *names, const char *engine, edgekit_error *error) {
    char looked[160] = "";
    void *library = path == NULL ? library_find(names, looked, sizeof looked) : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        fail(error, EDGEKIT_LOAD_FAILED,
             "the engine's library cannot be opened (%s%.250s): install %s, or name its library in engine_library",
             looked, reason == NULL ? "no reason given" : reason, engine);
    }
    return library;
}

/* A pointer to data, as dlsym gives it, is no pointer to a function in C: POSIX says that the bytes are the same. */
static inline library_function library_symbol(void *library, const char *name) {
    void *data = dlsym(library, name);
    library_function function = NULL;
    memcpy(&function, &data, sizeof function);
    return function;
}

#endif
