/* What the C runtime costs beside the engine: `overhead BUNDLE ENGINE_LIBRARY ROUNDS` of an ONNX text bundle, 128 tokens,
 * one thread. The wrapper and the bare engine, its tensors made once, take turns on one session of the engine: two of the
 * same model differ by more than a wrapper takes, by where their weights lie. Compiled with the runtime inside, whose
 * session is looked into. One line of JSON has the time of each call. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "edgekit.c"

#define TOKENS 128
#define WARM_UP 20
#define MAX_INPUTS 8
#define MAX_OUTPUTS 8

static onnx_engine *engine;
static edgekit_session *session;
static edgekit_tensor inputs[MAX_INPUTS];
static int64_t ids[MAX_INPUTS][TOKENS];
static const char *names[MAX_INPUTS];
static OrtValue *values[MAX_INPUTS];

static void die(const char *message) {
    fprintf(stderr, "overhead: %s\n", message);
    exit(1);
}

static void check(OrtStatus *status) {
    if (status != NULL) die(engine->api->GetErrorMessage(status));
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Ids that any vocabulary of BERT's has, all of them attended to. */
static void prepare(void) {
    const int64_t shape[2] = {1, TOKENS};
    if (engine->input_count > MAX_INPUTS || engine->output_count > MAX_OUTPUTS) die("too many inputs or outputs");
    for (size_t index = 0; index < engine->input_count; index++) {
        const char *name = engine->inputs[index].name;
        for (int at = 0; at < TOKENS; at++) {
            ids[index][at] = strcmp(name, "input_ids") == 0 ? 2000 + at : strcmp(name, "attention_mask") == 0;
        }
        inputs[index] = (edgekit_tensor){name, EDGEKIT_INT64, 2, {1, TOKENS}, ids[index], sizeof ids[index]};
        names[index] = name;
        check(engine->api->CreateTensorWithDataAsOrtValue(engine->memory, ids[index], sizeof ids[index], shape, 2,
                                                          EDGEKIT_INT64, &values[index]));
    }
}

/* The first number of the first output, as every call here gives it, so that the two are seen to do the same. */
static float run_wrapper(void) {
    edgekit_outputs *outputs = NULL;
    edgekit_error error;
    if (edgekit_run(session, inputs, engine->input_count, &outputs, &error) != EDGEKIT_OK) die(error.message);
    float first = *(const float *)edgekit_outputs_at(outputs, 0)->data;
    edgekit_outputs_free(outputs);
    return first;
}

static float run_bare(void) {
    const ort_api *api = engine->api;
    OrtValue *outputs[MAX_OUTPUTS] = {NULL};
    void *numbers = NULL;
    check(api->Run(engine->session, NULL, names, (const OrtValue *const *)values, engine->input_count,
                   (const char *const *)engine->outputs, engine->output_count, outputs));
    check(api->GetTensorMutableData(outputs[0], &numbers));
    float first = *(float *)numbers;
    for (size_t index = 0; index < engine->output_count; index++) api->ReleaseValue(outputs[index]);
    return first;
}

static double timed(float (*call)(void)) {
    double begun = now_ms();
    call();
    return now_ms() - begun;
}

static void print(const char *name, const double *times, int rounds) {
    printf("\"%s\": [", name);
    for (int round = 0; round < rounds; round++) printf("%s%.6f", round > 0 ? ", " : "", times[round]);
    printf("], ");
}

int main(int count, char **arguments) {
    int rounds = count == 4 ? atoi(arguments[3]) : 0;
    if (rounds < 1) die("usage: overhead BUNDLE ENGINE_LIBRARY ROUNDS");
    edgekit_options options;
    edgekit_error error;
    edgekit_options_init(&options);
    options.threads = 1;
    options.engine_library = arguments[2];
    double begun = now_ms();
    if (edgekit_open(arguments[1], &options, &session, &error) != EDGEKIT_OK) die(error.message);
    double open_ms = now_ms() - begun;
    engine = session->onnx;
    prepare();
    begun = now_ms();
    run_wrapper();
    double first_ms = now_ms() - begun;
    if (run_wrapper() != run_bare()) die("the two answer differently");
    double *wrapper_ms = calloc((size_t)rounds, sizeof *wrapper_ms), *bare_ms = calloc((size_t)rounds, sizeof *bare_ms);
    if (wrapper_ms == NULL || bare_ms == NULL) die("no memory");
    for (int round = -WARM_UP; round < rounds; round++) {
        double wrapper = timed(run_wrapper), bare = timed(run_bare);
        if (round >= 0) wrapper_ms[round] = wrapper, bare_ms[round] = bare;
    }
    printf("{");
    print("wrapper_ms", wrapper_ms, rounds);
    print("bare_ms", bare_ms, rounds);
    printf("\"open_ms\": %.3f, \"first_ms\": %.3f}\n", open_ms, first_ms);
    edgekit_free(session);
    return 0;
}
