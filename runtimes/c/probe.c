/* `edgekit-probe [--lifeline] JOB.json [BUNDLE]`: measure a bundle on a device that has no Python.
 *
 * The job and the results are those of `python -m edgekit_runtime.probe` (docs/manifest.md), with tensors in .npy files
 * and token ids only; README.md lists both. Everything is written beside the job, and its paths are relative to it.
 * The order is part of the measurement: load, first inference, latency, memory, and only then the answers and the
 * baseline. With --lifeline the program ends when its standard input does, so that it never outlives who started it.
 *
 * Exit status 0; 1 with one JSON line {error, message} on stderr; 2 for wrong usage.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>

#include "probe/answers.h"
#include "probe/place.h"
#include "probe/running.h"
#include "probe/timing.h"

#define MAX_JOB_BYTES (64u << 20)
#define MAX_VALUES 4000000

static bool read_info(probe *self) {
    const char *text = edgekit_info(self->session);
    if (!json_parse(&self->info, text, strlen(text), MAX_VALUES)) {
        return wrong(self, "MemoryError", "the manifest cannot be read again: %s", self->info.why);
    }
    self->task = json_get(self->info.root, "task")->text;
    return true;
}

static bool measure(probe *self, FILE *out) {
    const json_value *latency = json_get(self->job, "latency"), *longest = json_get(self->job, "longest");
    question timed = {0}, large = {0};
    double started = now_ms();
    if (edgekit_verify(self->bundle, &self->error) != EDGEKIT_OK) return false;
    fprintf(out, "{\"verify_ms\": %.17g", now_ms() - started);
    started = now_ms();
    if (!open_on(self, NULL, &self->session)) return false;
    fprintf(out, ", \"load_ms\": %.17g", now_ms() - started);
    if (!read_info(self)) return false;
    bool is_timed = latency != NULL && latency->kind != JSON_NULL;
    bool done = !is_timed || (read_question(self, latency, &timed) && measure_speed(self, &timed, out));
    if (done && longest != NULL && longest->kind != JSON_NULL) {
        done = read_question(self, longest, &large) && run_once(self, self->session, &large, NULL);
    }
    free_question(&large);
    if (done) write_memory(out);
    done = done && answer(self) && (!is_timed || against_baseline(self, &timed, out));
    free_question(&timed);
    if (done) write_environment(self, out);
    fputs("}\n", out);
    return done;
}

/* result.json appears whole or not at all. */
static bool measure_into_result(probe *self) {
    char *part = path_join(self->folder, "result.json.part"), *result = path_join(self->folder, "result.json");
    FILE *out = part == NULL || result == NULL ? NULL : fopen(part, "we");
    bool done = out == NULL ? disk_failed(self, "result.json") : measure(self, out);
    bool kept = out == NULL || (fflush(out) == 0 && ferror(out) == 0);
    if (done && !kept) done = disk_failed(self, "result.json");
    if (out != NULL && fclose(out) != 0 && done) done = disk_failed(self, "result.json");
    if (done && rename(part, result) != 0) done = disk_failed(self, "result.json");
    if (!done && part != NULL) unlink(part);
    free(part);
    free(result);
    return done;
}

static void *end_with_input(void *unused) {
    char byte;
    (void)unused;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(1);
}

static bool read_job(probe *self, const char *path, json_document *document, char **text) {
    size_t bytes = 0;
    const char *slash = strrchr(path, '/');
    self->folder = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    *text = read_whole(path, MAX_JOB_BYTES, &bytes);
    if (*text == NULL) return wrong(self, "OSError", "%s cannot be read", path);
    if (!json_parse(document, *text, bytes, MAX_VALUES)) {
        return wrong(self, "ValueError", "the job is not JSON: %s", document->why);
    }
    self->job = document->root;
    const json_value *bundle = json_get(self->job, "bundle");
    if (self->bundle == NULL && json_is(bundle, JSON_STRING)) self->bundle = bundle->text;
    if (self->bundle == NULL) return wrong(self, "KeyError", "%s", "the job names no bundle");
    return true;
}

int main(int count, char **arguments) {
    probe self = {0};
    json_document document = {0};
    char *text = NULL;
    int first = count > 1 && strcmp(arguments[1], "--lifeline") == 0 ? 2 : 1;
    if (count - first != 1 && count - first != 2) {
        fputs("usage: edgekit-probe [--lifeline] JOB.json [BUNDLE]\n", stderr);
        return 2;
    }
    pthread_t watcher;
    if (first == 2 && pthread_create(&watcher, NULL, end_with_input, NULL) == 0) pthread_detach(watcher);
    self.bundle = count - first == 2 ? arguments[first + 1] : NULL;
    bool done = read_job(&self, arguments[first], &document, &text) && measure_into_result(&self);
    if (!done) {
        fputs("{\"error\": ", stderr);
        json_write(stderr, self.kind != NULL ? self.kind : edgekit_code_name(self.error.code));
        fputs(", \"message\": ", stderr);
        json_write(stderr, self.error.message);
        fputs("}\n", stderr);
    }
    edgekit_free(self.baseline);
    edgekit_free(self.session);
    json_free(&self.info);
    json_free(&document);
    free(self.outputs);
    free(self.folder);
    free(text);
    return done ? 0 : 1;
}
