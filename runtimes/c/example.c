/* edgekit-example BUNDLE LIBRARY TEXT: the answer of a chat model, or the vector of an embedding model. */
#include <stdio.h>
#include <stdlib.h>
#include "edgekit.h"

static int print(const char *text, void *unused) {
    (void)unused;
    return fputs(text, stdout) == EOF || fflush(stdout) == EOF; /* nonzero stops the answer */
}

int main(int count, char **arguments) {
    edgekit_options options;
    edgekit_session *session = NULL;
    edgekit_error error;
    if (count != 4) {
        fprintf(stderr, "usage: edgekit-example BUNDLE LIBRARY TEXT (LIBRARY: libonnxruntime's or libllama's file)\n");
        return 2;
    }
    edgekit_options_init(&options);
    options.engine_library = arguments[2];
    edgekit_code code = edgekit_open(arguments[1], &options, &session, &error);
    size_t width = edgekit_embedding_width(session);
    if (code == EDGEKIT_OK && width > 0) {
        float *vector = calloc(width, sizeof *vector);
        if (vector == NULL) return 1;
        code = edgekit_embed(session, arguments[3], vector, width, &error);
        for (size_t index = 0; code == EDGEKIT_OK && index < width; index++) printf("%g ", (double)vector[index]);
        free(vector);
    } else if (code == EDGEKIT_OK) {
        edgekit_message messages[] = {{"user", arguments[3]}};
        code = edgekit_chat(session, messages, 1, NULL, print, NULL, &error);
    }
    if (code != EDGEKIT_OK) fprintf(stderr, "%s: %s\n", edgekit_code_name(code), error.message);
    puts("");
    edgekit_free(session);
    return code == EDGEKIT_OK ? 0 : 1;
}
