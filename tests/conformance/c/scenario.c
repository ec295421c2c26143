/* `scenario NAME BUNDLE LIBRARY`: what an app does with a session, and the name of what comes back of each step. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edgekit.h"

static edgekit_session *session;
static float four[4] = {1, 2, 3, 4};

static void say(const char *step, edgekit_code code) { printf("%s %s\n", step, edgekit_code_name(code)); }

static edgekit_tensor input(const char *name, edgekit_dtype dtype, int64_t rows, int64_t columns) {
    return (edgekit_tensor){name, dtype, 2, {rows, columns}, four, sizeof four};
}

static edgekit_code run(edgekit_tensor tensor, edgekit_outputs **outputs) {
    edgekit_outputs *unwanted = NULL;
    edgekit_code code = edgekit_run(session, &tensor, 1, outputs == NULL ? &unwanted : outputs, NULL);
    edgekit_outputs_free(unwanted);
    return code;
}

static edgekit_code opened(const char *bundle, const char *library, int threads, uint64_t budget) {
    edgekit_options options;
    edgekit_error error;
    edgekit_options_init(&options);
    options.engine_library = library;
    options.threads = threads;
    options.memory_budget_bytes = budget;
    edgekit_code code = edgekit_open(bundle, &options, &session, &error);
    if ((code == EDGEKIT_OK) != (session != NULL) || code != error.code) abort();
    if (code != EDGEKIT_OK) fprintf(stderr, "%s\n", error.message);
    return code;
}

static void *run_in_thread(void *code) {
    *(edgekit_code *)code = run(input("x", EDGEKIT_FLOAT32, 1, 4), NULL);
    return NULL;
}

static int never(int32_t token, void *user) {
    (void)token, (void)user;
    return 0;
}

static int cancel_at_once(int32_t token, void *user) {
    (void)token, (void)user;
    edgekit_cancel(session);
    return 0;
}

static int stop_at_once(int32_t token, void *user) {
    (void)token, (void)user;
    return 1;
}

/* A call that would not end: another is refused meanwhile; `end` (cancel or close) stops it. */
static void endless(void (*end)(edgekit_session *)) {
    edgekit_code code = EDGEKIT_OK, other = EDGEKIT_OK;
    pthread_t thread;
    struct timespec pause = {0, 1000000};
    pthread_create(&thread, NULL, run_in_thread, &code);
    while ((other = run(input("y", EDGEKIT_FLOAT32, 1, 4), NULL)) == EDGEKIT_BAD_INPUT) nanosleep(&pause, NULL);
    say("other", other);
    end(session);
    pthread_join(thread, NULL);
    say("ended", code);
    say("after", run(input("y", EDGEKIT_FLOAT32, 1, 4), NULL));
}

static sem_t started;

static int linger(const char *text, void *user) {
    struct timespec pause = {0, 100000000};
    (void)text, (void)user;
    sem_post(&started);
    nanosleep(&pause, NULL);
    return 0;
}

static edgekit_code generate(edgekit_generation *options, edgekit_on_text on_text) {
    return edgekit_generate(session, "A", options, on_text, NULL, NULL);
}

static void *generate_in_thread(void *code) {
    *(edgekit_code *)code = generate(NULL, linger);
    return NULL;
}

static int take(const char *text, void *user) {
    (void)text, (void)user;
    return 0;
}

static int refuse(const char *text, void *user) {
    (void)text, (void)user;
    return 1;
}

/* An answer that another thread ends. */
static void interrupted(void (*end)(edgekit_session *)) {
    edgekit_code code = EDGEKIT_OK;
    pthread_t thread;
    sem_init(&started, 0, 0);
    pthread_create(&thread, NULL, generate_in_thread, &code);
    sem_wait(&started);
    say("other", generate(NULL, take));
    say("self", edgekit_self_test(session, &(edgekit_goldens *){NULL}, NULL));
    end(session);
    pthread_join(thread, NULL);
    say("ended", code);
    say("after", generate(NULL, take));
    sem_destroy(&started);
}

/* Structs of options as an older, shorter header has them, and ones that nobody made. */
static void older(const char *bundle, const char *library) {
    edgekit_options options;
    edgekit_generation answer;
    static const size_t sizes[] = {offsetof(edgekit_options, text_library), sizeof options, 8, 5000};
    for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
        edgekit_free(session);
        edgekit_options_init(&options);
        options.engine_library = library;
        options.text_library = index == 0 ? (const char *)(uintptr_t)8 : NULL; /* nobody may look at it */
        options.struct_bytes = sizes[index];
        say("open", edgekit_open(bundle, &options, &session, NULL));
        if (index >= 2) continue;
        edgekit_generation_init(&answer);
        answer.top_p = -5;
        answer.stop_count = 7;
        answer.struct_bytes = offsetof(edgekit_generation, top_p);
        say("shorter", generate(&answer, take));
        answer.struct_bytes = 4;
        say("none", generate(&answer, take));
        answer.struct_bytes = sizeof answer;
        say("whole", generate(&answer, take));
    }
}

static void answers(void) {
    edgekit_generation options;
    const char *const empty[] = {""}, *const broken[] = {"\xff"};
    edgekit_message message = {"user", "A\xc3"};
    edgekit_generation_init(&options);
    say("right", generate(&options, take));
    say("callback", generate(&options, NULL));
    say("refused", generate(&options, refuse));
    say("prompt", edgekit_generate(session, NULL, &options, take, NULL, NULL));
    say("utf8", edgekit_generate(session, "\xc3", &options, take, NULL, NULL));
    say("content", edgekit_chat(session, &message, 1, &options, take, NULL, NULL));
    say("messages", edgekit_chat(session, NULL, 1, &options, take, NULL, NULL));
    options.max_tokens = 256;
    say("long", generate(&options, take));
    options.max_tokens = -1;
    say("negative", generate(&options, take));
    options.max_tokens = 0;
    options.stop = empty, options.stop_count = 1;
    say("empty", generate(&options, take));
    options.stop = broken;
    say("broken", generate(&options, take));
    options.stop = NULL;
    say("nostop", generate(&options, take));
    options.stop_count = 0;
    options.temperature = -1;
    say("cold", generate(&options, take));
    say("tokens", edgekit_tokenize(session, "A", NULL, NULL, NULL));
    say("embed", edgekit_embed(session, "A", four, 4, NULL));
    say("classify", edgekit_classify(session, "A", NULL, NULL, NULL));
    say("goldens", edgekit_self_test(session, NULL, NULL));
    edgekit_close(session);
    say("closed", generate(NULL, take));
    edgekit_labels_free(NULL);
    edgekit_goldens_free(NULL);
    edgekit_ids_free(NULL);
    if (edgekit_labels_at(NULL, 0) != NULL || edgekit_goldens_at(NULL, 0) != NULL) abort();
    if (edgekit_labels_count(NULL) + edgekit_goldens_count(NULL) + edgekit_embedding_width(NULL) != 0) abort();
}

static void inputs(void) {
    edgekit_outputs *outputs = NULL;
    edgekit_tensor twice[2] = {input("x", EDGEKIT_FLOAT32, 1, 4), input("x", EDGEKIT_FLOAT32, 1, 4)};
    say("right", run(input("x", EDGEKIT_FLOAT32, 1, 4), &outputs));
    say("name", run(input("y", EDGEKIT_FLOAT32, 1, 4), NULL));
    say("dtype", run(input("x", EDGEKIT_INT32, 1, 4), NULL));
    say("axis", run(input("x", EDGEKIT_FLOAT32, 4, 1), NULL));
    say("bytes", run(input("x", EDGEKIT_FLOAT32, 2, 4), NULL));
    say("negative", run(input("x", EDGEKIT_FLOAT32, -1, 4), NULL));
    say("twice", edgekit_run(session, twice, 2, &outputs, NULL));
    say("none", edgekit_run(session, NULL, 1, &outputs, NULL));
    say("logits", edgekit_logits(session, (int32_t[]){1}, 1, four, 4, NULL));
    edgekit_cancel(session); /* without a call, nothing happens */
    say("again", run(input("x", EDGEKIT_FLOAT32, 1, 4), NULL));
    edgekit_close(session);
    edgekit_close(session);
    edgekit_cancel(session);
    const edgekit_tensor *tensor = edgekit_outputs_at(outputs, 0);
    printf("%s %g %g %zu\n", tensor->name, ((float *)tensor->data)[0], ((float *)tensor->data)[3],
           edgekit_outputs_count(outputs));
    if (edgekit_outputs_at(outputs, 1) != NULL) abort();
    edgekit_outputs_free(outputs);
    say("closed", run(input("x", EDGEKIT_FLOAT32, 1, 4), NULL));
}

static void language(void) {
    int32_t many[300] = {1};
    int32_t vocabulary = edgekit_vocabulary(session);
    float *logits = calloc(300 * (size_t)vocabulary, sizeof *logits);
    if (logits == NULL) abort();
    say("logits", edgekit_logits(session, many, 2, logits, 2 * (size_t)vocabulary, NULL));
    say("room", edgekit_logits(session, many, 2, logits, 3, NULL));
    say("long", edgekit_logits(session, many, 300, logits, 300 * (size_t)vocabulary, NULL));
    say("nothing", edgekit_logits(session, many, 0, logits, 0, NULL));
    many[1] = vocabulary;
    say("id", edgekit_logits(session, many, 2, logits, 2 * (size_t)vocabulary, NULL));
    many[1] = -1;
    say("negative", edgekit_logits(session, many, 2, logits, 2 * (size_t)vocabulary, NULL));
    say("greedy", edgekit_greedy(session, many, 1, 3, never, NULL, NULL));
    say("zero", edgekit_greedy(session, many, 1, 0, never, NULL, NULL));
    say("answer", edgekit_greedy(session, many, 1, 256, never, NULL, NULL));
    say("cancel", edgekit_greedy(session, many, 1, 9, cancel_at_once, NULL, NULL));
    say("stop", edgekit_greedy(session, many, 1, 9, stop_at_once, NULL, NULL));
    say("run", run(input("x", EDGEKIT_FLOAT32, 1, 4), NULL));
    say("embed", edgekit_embed_ids(session, many, 1, four, 4, NULL));
    free(logits);
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    if (strcmp(arguments[1], "older") == 0) {
        older(arguments[2], arguments[3]);
        edgekit_free(session);
        return 0;
    }
    const char *name = arguments[1], *bundle = arguments[2], *library = arguments[3];
    if (strcmp(name, "threads") == 0) {
        say("open", opened(bundle, library, -1, 0));
    } else if (strcmp(name, "budget") == 0) {
        say("open", opened(bundle, library, 1, 1000));
    } else {
        say("open", opened(bundle, library, 1, (uint64_t)1 << 40));
    }
    if (session == NULL) return 0;
    if (strcmp(name, "info") == 0) puts(edgekit_info(session));
    if (strcmp(name, "inputs") == 0) inputs();
    if (strcmp(name, "language") == 0) language();
    if (strcmp(name, "answers") == 0) answers();
    if (strcmp(name, "cancel-answer") == 0) interrupted(edgekit_cancel);
    if (strcmp(name, "close-answer") == 0) interrupted(edgekit_close);
    if (strcmp(name, "cancel") == 0) endless(edgekit_cancel);
    if (strcmp(name, "close") == 0) endless(edgekit_close);
    edgekit_free(session);
    edgekit_free(NULL);
    return 0;
}
