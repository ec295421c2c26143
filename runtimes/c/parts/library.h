/* An engine's shared library, opened while the program runs. It stays loaded: engines keep threads and handlers. */
#ifndef EDGEKIT_LIBRARY_H
#define EDGEKIT_LIBRARY_H

#include <dlfcn.h>
#include <string.h>

#include "failure.h"

typedef void (*library_function)(void);

/* `path`, or the first of `names` (which ends with NULL) that the system's loader finds. NULL and LOAD_FAILED. */
static inline void *library_open(const char *path, const char *const *names, const char *engine, edgekit_error *error) {
    void *library = NULL;
    if (path != NULL) {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    for (; path == NULL && library == NULL && *names != NULL; names++) library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *reason = dlerror();
        fail(error, EDGEKIT_LOAD_FAILED,
             "the engine's library cannot be opened (%.250s): install %s, or name its library in engine_library",
             reason == NULL ? "no reason given" : reason, engine);
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
