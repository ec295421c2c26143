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

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "edgekit.h"

#include "parts/files.h"
#include "parts/json.h"
#include "parts/machine.h"
#include "parts/npy.h"

#define MAX_JOB_BYTES (64u << 20)
#define MAX_VALUES 4000000
#define MAX_INPUTS 64
#define MIN_LM_REPEATS 3
/* A failure that is the device's disk's, not the bundle's. */
#define DISK_FULL "DiskFull"

/* What one run is given: tensors, or token ids. */
typedef struct question {
    edgekit_tensor *tensors;
    size_t tensor_count;
    int32_t *ids;
    size_t id_count;
    int32_t decode_tokens;
} question;

/* Milliseconds, as many as were added. */
typedef struct samples {
    double *ms;
    size_t count, room;
} samples;

typedef struct probe {
    char *folder;
    const char *bundle;
    const json_value *job;
    json_document info; /* the manifest, as the session tells it */
    const char *task;
    edgekit_session *session, *baseline;
    edgekit_error error;
    const char *kind; /* the error's name where it is none of the runtime's */
    char *outputs;    /* JSON list of the graph's output names, once known */
} probe;

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static bool wrong(probe *self, const char *kind, const char *format, const char *what) {
    self->kind = kind;
    snprintf(self->error.message, sizeof self->error.message, format, what);
    return false;
}

static bool add_sample(probe *self, samples *to, double ms) {
    if (to->count == to->room) {
        size_t room = to->room == 0 ? 256 : 2 * to->room;
        double *grown = realloc(to->ms, room * sizeof *grown);
        if (grown == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the samples");
        to->ms = grown, to->room = room;
    }
    to->ms[to->count++] = ms;
    return true;
}

static int by_size(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* As numpy.percentile: linear between neighbours. */
static double percentile(const samples *of, double rank) {
    double *sorted = malloc((of->count + 1) * sizeof *sorted), value = 0;
    if (sorted == NULL || of->count == 0) {
        free(sorted);
        return 0;
    }
    memcpy(sorted, of->ms, of->count * sizeof *sorted);
    qsort(sorted, of->count, sizeof *sorted, by_size);
    double at = rank / 100 * (double)(of->count - 1);
    size_t below = (size_t)at, above = below + 1 < of->count ? below + 1 : below;
    value = sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
    free(sorted);
    return value;
}

static void free_question(question *self) {
    for (size_t index = 0; self->tensors != NULL && index < self->tensor_count; index++) {
        free(self->tensors[index].data);
    }
    free(self->tensors);
    free(self->ids);
    memset(self, 0, sizeof *self);
}

static bool read_tensors(probe *self, const json_value *tensors, question *into) {
    if (tensors->count > MAX_INPUTS) return wrong(self, "ValueError", "%s", "the job names too many tensors");
    into->tensors = calloc(tensors->count + 1, sizeof *into->tensors);
    if (into->tensors == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the tensors");
    for (const json_value *each = tensors->first; each != NULL; each = each->next) {
        edgekit_tensor *tensor = &into->tensors[into->tensor_count++];
        if (each->kind != JSON_STRING) return wrong(self, "ValueError", "tensor %s names no file", each->key);
        char *path = path_join(self->folder, each->text);
        const char *fault = path == NULL ? "has no memory" : npy_read(path, tensor);
        free(path);
        if (fault != NULL) {
            snprintf(self->error.message, sizeof self->error.message, "%.200s %s", each->text, fault);
            self->kind = "OSError";
            return false;
        }
        tensor->name = each->key;
    }
    return true;
}

static bool read_ids(probe *self, const json_value *ids, question *into) {
    into->ids = calloc(ids->count + 1, sizeof *into->ids);
    if (into->ids == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for the ids");
    for (const json_value *each = ids->first; each != NULL; each = each->next) {
        if (!json_is_whole(each) || each->integer < INT32_MIN || each->integer > INT32_MAX) {
            return wrong(self, "ValueError", "%s", "ids holds something else than whole numbers");
        }
        into->ids[into->id_count++] = (int32_t)each->integer;
    }
    return true;
}

static bool read_question(probe *self, const json_value *given, question *into) {
    const json_value *tensors = json_get(given, "tensors"), *ids = json_get(given, "ids");
    const json_value *steps = json_get(given, "decode_tokens");
    memset(into, 0, sizeof *into);
    into->decode_tokens = json_is_whole(steps) ? (int32_t)steps->integer : 32;
    if (json_is(tensors, JSON_OBJECT)) return read_tensors(self, tensors, into);
    if (json_is(ids, JSON_ARRAY)) return read_ids(self, ids, into);
    return wrong(self, "ValueError", "%s", "an input of the job is neither {tensors} nor {ids}");
}

static bool is_speaking(const probe *self) { return strcmp(self->task, "causal-lm") == 0; }

static size_t embedding_width(const probe *self) {
    const json_value *width = json_get(json_get(self->info.root, "embedding"), "width");
    return json_is_whole(width) && width->integer > 0 && width->integer < 1 << 20 ? (size_t)width->integer : 1;
}

struct steps {
    probe *probe;
    samples *samples;
    double started;
};

static int on_token(int32_t token, void *user) {
    struct steps *steps = user;
    double now = now_ms();
    (void)token;
    if (steps->samples != NULL && !add_sample(steps->probe, steps->samples, now - steps->started)) return 1;
    steps->started = now_ms();
    return 0;
}

/* One inference; the whole's milliseconds, or, of a language model, each step's, are added to `to` if given. */
static bool run_once(probe *self, edgekit_session *session, const question *given, samples *to) {
    edgekit_code code;
    double started = now_ms();
    if (given->ids != NULL && is_speaking(self)) {
        struct steps steps = {self, to, started};
        return edgekit_greedy(session, given->ids, given->id_count, given->decode_tokens, on_token, &steps,
                              &self->error) == EDGEKIT_OK;
    }
    if (given->ids != NULL) {
        size_t width = embedding_width(self);
        float *vector = calloc(width, sizeof *vector);
        if (vector == NULL) return wrong(self, "MemoryError", "%s", "there is no memory for a vector");
        code = edgekit_embed_ids(session, given->ids, given->id_count, vector, width, &self->error);
        free(vector);
    } else {
        edgekit_outputs *outputs = NULL;
        code = edgekit_run(session, given->tensors, given->tensor_count, &outputs, &self->error);
        edgekit_outputs_free(outputs);
    }
    return code == EDGEKIT_OK && (to == NULL || add_sample(self, to, now_ms() - started));
}

static void write_samples(FILE *out, const char *key, const samples *of, size_t first, size_t every, bool firsts) {
    fprintf(out, ", \"%s\": [", key);
    for (size_t index = 0, told = 0; index < of->count; index++) {
        if (firsts != (index % every < first)) continue;
        fprintf(out, "%s%.17g", told++ > 0 ? ", " : "", of->ms[index]);
    }
    fputs("]", out);
}

static long job_number(const probe *self, const char *key, long otherwise) {
    const json_value *value = json_get(self->job, key);
    return json_is_whole(value) && value->integer >= 0 && value->integer < 1000000 ? (long)value->integer : otherwise;
}

static bool measure_whole(probe *self, const question *given, FILE *out) {
    samples warm = {0};
    long warmup = job_number(self, "warmup", 3), repeats = job_number(self, "repeats", 20);
    bool ran = true;
    for (long turn = 0; turn < warmup + repeats && ran; turn++) {
        ran = run_once(self, self->session, given, turn < warmup ? NULL : &warm);
    }
    write_samples(out, "latency_ms", &warm, 0, 1, false);
    fprintf(out, ", \"p50_ms\": %.17g, \"p90_ms\": %.17g, \"p99_ms\": %.17g", percentile(&warm, 50),
            percentile(&warm, 90), percentile(&warm, 99));
    free(warm.ms);
    return ran;
}

/* Every `every`th sample from `first` on: of runs that are one after another in `all`. */
static bool strided(probe *self, const samples *all, size_t every, bool firsts, samples *into) {
    for (size_t index = 0; index < all->count; index++) {
        if (firsts == (index % every == 0) && !add_sample(self, into, all->ms[index])) return false;
    }
    return true;
}

static long lm_repeats(const probe *self) {
    long repeats = job_number(self, "repeats", 20) / 10;
    return repeats > MIN_LM_REPEATS ? repeats : MIN_LM_REPEATS;
}

static bool measure_steps(probe *self, const question *given, FILE *out) {
    samples all = {0}, first = {0}, decode = {0};
    size_t every = (size_t)given->decode_tokens;
    bool ran = true;
    for (long turn = 0; turn < lm_repeats(self) && ran; turn++) ran = run_once(self, self->session, given, &all);
    ran = ran && strided(self, &all, every, true, &first) && strided(self, &all, every, false, &decode);
    double ttft = percentile(&first, 50), step = percentile(&decode, 50);
    fprintf(out, ", \"prompt_tokens\": %zu", given->id_count);
    write_samples(out, "ttft_samples_ms", &all, 1, every, true);
    fprintf(out, ", \"ttft_ms\": %.17g, \"prefill_tokens_per_s\": %.17g", ttft,
            ttft > 0 ? 1000 * (double)given->id_count / ttft : 0);
    write_samples(out, "decode_ms", &all, 1, every, false);
    if (decode.count > 0 && step > 0) {
        fprintf(out, ", \"decode_tokens_per_s\": %.17g", 1000 / step);
    } else {
        fputs(", \"decode_tokens_per_s\": null", out);
    }
    free(all.ms);
    free(first.ms);
    free(decode.ms);
    return ran;
}

static bool measure_speed(probe *self, const question *given, FILE *out) {
    samples first = {0};
    bool ran = run_once(self, self->session, given, &first);
    if (ran) fprintf(out, ", \"first_ms\": %.17g", first.ms[0]);
    free(first.ms);
    if (!ran) return false;
    return is_speaking(self) ? measure_steps(self, given, out) : measure_whole(self, given, out);
}

/* Peak resident, and resident now in anonymous and in file-backed pages; null where the kernel does not tell. */
static void write_memory(FILE *out) {
    static const char *const fields[][2] = {
        {"VmHWM", "peak_rss_bytes"}, {"RssAnon", "anonymous_bytes"}, {"RssFile", "file_rss_bytes"}};
    char *text = read_proc("/proc/self/status");
    for (size_t index = 0; index < 3; index++) {
        size_t length = 0;
        const char *value = text == NULL ? NULL : proc_field(text, fields[index][0], &length);
        if (value == NULL) {
            fprintf(out, ", \"%s\": null", fields[index][1]);
        } else {
            fprintf(out, ", \"%s\": %lld", fields[index][1], atoll(value) * 1024);
        }
    }
    free(text);
}

static bool disk_failed(probe *self, const char *name) {
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return wrong(self, full ? DISK_FULL : "OSError", full ? "no space left for %s" : "%s cannot be written", name);
}

/* A file of the tensor's size, mapped for writing, its header in place: blocks are claimed before, so that a full disk
 * is an error and no signal. `*data` is where the values go; `*mapped` and `*bytes` are for unmapping. */
static bool map_answer(probe *self, const char *name, const edgekit_tensor *like, void **data, void **mapped,
                       size_t *bytes) {
    unsigned char header[NPY_MAX_HEADER];
    size_t head = npy_header(like, header);
    char *path = path_join(self->folder, name);
    int descriptor = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    free(path);
    if (descriptor < 0) return disk_failed(self, name);
    *bytes = head + like->bytes;
    errno = posix_fallocate(descriptor, 0, (off_t)*bytes);
    *mapped = errno != 0 ? MAP_FAILED : mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    bool made = *mapped != MAP_FAILED || disk_failed(self, name);
    close(descriptor);
    if (!made) return false;
    memcpy(*mapped, header, head);
    *data = (unsigned char *)*mapped + head;
    return true;
}

static bool answer_ids(probe *self, const question *given, size_t number) {
    int64_t width = edgekit_vocabulary(self->session);
    edgekit_tensor like = {"", EDGEKIT_FLOAT32, 2, {(int64_t)given->id_count, width}, NULL, 0};
    char name[40];
    void *data = NULL, *mapped = NULL;
    size_t bytes = 0;
    if (!is_speaking(self)) {
        like.rank = 1;
        like.shape[0] = (int64_t)embedding_width(self);
    }
    size_t values = (size_t)like.shape[0] * (like.rank == 2 ? (size_t)like.shape[1] : 1);
    like.bytes = values * sizeof(float);
    snprintf(name, sizeof name, "answer-%zu.npy", number);
    if (!map_answer(self, name, &like, &data, &mapped, &bytes)) return false;
    edgekit_code code = is_speaking(self)
                            ? edgekit_logits(self->session, given->ids, given->id_count, data, values, &self->error)
                            : edgekit_embed_ids(self->session, given->ids, given->id_count, data, values, &self->error);
    munmap(mapped, bytes);
    return code == EDGEKIT_OK;
}

static bool answer_tensors(probe *self, const question *given, size_t number) {
    edgekit_outputs *outputs = NULL;
    bool written =
        edgekit_run(self->session, given->tensors, given->tensor_count, &outputs, &self->error) == EDGEKIT_OK;
    for (size_t index = 0; index < edgekit_outputs_count(outputs) && written; index++) {
        const edgekit_tensor *tensor = edgekit_outputs_at(outputs, index);
        char name[60];
        void *data = NULL, *mapped = NULL;
        size_t bytes = 0;
        snprintf(name, sizeof name, "answer-%zu-%zu.npy", number, index);
        written = map_answer(self, name, tensor, &data, &mapped, &bytes);
        if (!written) break;
        memcpy(data, tensor->data, tensor->bytes);
        munmap(mapped, bytes);
    }
    if (written && self->outputs == NULL) {
        size_t bytes = 0;
        FILE *names = open_memstream(&self->outputs, &bytes);
        for (size_t index = 0; names != NULL && index < edgekit_outputs_count(outputs); index++) {
            if (index > 0) fputs(", ", names);
            json_write(names, edgekit_outputs_at(outputs, index)->name);
        }
        if (names != NULL) fclose(names);
    }
    edgekit_outputs_free(outputs);
    return written;
}

static bool answer(probe *self) {
    const json_value *answers = json_get(self->job, "answers");
    size_t number = 0;
    if (answers != NULL && answers->kind != JSON_NULL && answers->kind != JSON_ARRAY) {
        return wrong(self, "ValueError", "%s", "answers of the job is no list");
    }
    for (const json_value *each = answers == NULL ? NULL : answers->first; each != NULL; each = each->next, number++) {
        question given;
        bool done = read_question(self, each, &given);
        done = done && (given.ids != NULL ? answer_ids(self, &given, number) : answer_tensors(self, &given, number));
        free_question(&given);
        if (!done) return false;
    }
    return true;
}

static bool open_on(probe *self, const char *model_file, edgekit_session **session) {
    edgekit_options options;
    const json_value *library = json_get(self->job, "engine_library");
    const json_value *context = json_get(self->job, "context_tokens");
    bool named = json_is(library, JSON_STRING), relative = named && library->text[0] != '/';
    char *path = relative ? path_join(self->folder, library->text) : NULL;
    edgekit_options_init(&options);
    options.threads = (int32_t)job_number(self, "threads", 0);
    options.low_memory = json_is(json_get(self->job, "low_memory"), JSON_TRUE);
    options.context_tokens = json_is_whole(context) ? (int32_t)context->integer : 0;
    options.skip_verify = 1;
    options.engine_library = relative ? path : named ? library->text : NULL;
    options.model_file = model_file;
    edgekit_code code = edgekit_open(self->bundle, &options, session, &self->error);
    free(path);
    return code == EDGEKIT_OK;
}

/* The bundle and the baseline in turn, A B A B, so that whatever else the device does falls on both alike. */
static bool against_baseline(probe *self, const question *given, FILE *out) {
    const json_value *file = json_get(json_get(self->job, "baseline"), "model_file");
    samples own = {0}, its = {0};
    if (!json_is(file, JSON_STRING)) return true;
    char *path = file->text[0] == '/' ? strdup(file->text) : path_join(self->folder, file->text);
    bool ran = path != NULL && open_on(self, path, &self->baseline);
    long warmup = is_speaking(self) ? 1 : job_number(self, "warmup", 3);
    long repeats = is_speaking(self) ? lm_repeats(self) : job_number(self, "repeats", 20);
    for (long turn = 0; turn < warmup + repeats && ran; turn++) {
        ran = run_once(self, self->session, given, turn < warmup ? NULL : &own) &&
              run_once(self, self->baseline, given, turn < warmup ? NULL : &its);
    }
    /* Of a language model the decoding steps, not the prompt. */
    size_t first = is_speaking(self) ? 1 : 0, every = is_speaking(self) ? (size_t)given->decode_tokens : 1;
    if (ran) {
        write_samples(out, "paired_latency_ms", &own, first, every, false);
        write_samples(out, "baseline_latency_ms", &its, first, every, false);
    }
    free(path);
    free(own.ms);
    free(its.ms);
    return ran;
}

/* The sha256 that the manifest lists for the model. */
static const char *model_sha256(const probe *self) {
    const char *model = json_get(self->info.root, "model_file")->text;
    const json_value *file = json_get(self->info.root, "files")->first;
    while (strcmp(json_get(file, "path")->text, model) != 0) file = file->next;
    return json_get(file, "sha256")->text;
}

static void write_environment(probe *self, FILE *out) {
    isa_feature features[ISA_MAX_FEATURES];
    size_t count = isa_features(features), told = 0;
    struct utsname system;
    char cpu[200];
    cpu_model(cpu, sizeof cpu);
    uname(&system);
    const json_value *runtime = json_get(self->info.root, "runtime");
    static const char *const copied[] = {"threads", "engine", "notes"};
    for (size_t index = 0; index < 3; index++) {
        const json_value *value = json_get(runtime, copied[index]);
        if (value != NULL) fprintf(out, ", \"%s\": %.*s", copied[index], (int)value->source_bytes, value->source);
    }
    fprintf(out, ", \"model_sha256\": \"%s\"", model_sha256(self));
    fputs(", \"cpu\": ", out);
    json_write(out, cpu[0] != '\0' ? cpu : MACHINE_ARCH);
    fputs(", \"arch\": \"" MACHINE_ARCH "\", \"isa\": ", out);
    for (size_t index = 0; index < count; index++) {
        if (!features[index].here) continue;
        fprintf(out, "%s\"%s\"", told++ > 0 ? ", " : "[", features[index].name);
    }
    fputs(count == 0 ? "null" : told == 0 ? "[]" : "]", out);
    fputs(", \"system\": ", out);
    char words[sizeof system.sysname + sizeof system.release + sizeof system.machine];
    snprintf(words, sizeof words, "%s-%s-%s", system.sysname, system.release, system.machine);
    json_write(out, words);
    fprintf(out, ", \"cores\": %d, \"cpu_parts\": [", physical_cores());
    known_cores(out);
    char *memory = read_proc("/proc/meminfo");
    size_t length = 0;
    const char *total = memory == NULL ? NULL : proc_field(memory, "MemTotal", &length);
    fputs("], \"ram_total_bytes\": ", out);
    if (total != NULL) {
        fprintf(out, "%lld", atoll(total) * 1024);
    } else {
        fputs("null", out);
    }
    free(memory);
    fprintf(out, ", \"outputs\": [%s]", self->outputs == NULL ? "" : self->outputs);
    fputs(", \"libraries\": {\"edgekit\": \"" EDGEKIT_VERSION "\"}, \"modules\": []", out);
}

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
    if (out != NULL && (ferror(out) != 0 || fclose(out) != 0) && done) done = disk_failed(self, "result.json");
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
