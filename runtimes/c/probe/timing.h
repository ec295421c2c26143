/* How long runs take: the first one, the warm ones, and those in turn with a baseline. */
#ifndef EDGEKIT_PROBE_TIMING_H
#define EDGEKIT_PROBE_TIMING_H

#include "running.h"

#define MIN_LM_REPEATS 3

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

static void write_samples(FILE *out, const char *key, const samples *of, size_t first, size_t every, bool firsts) {
    fprintf(out, ", \"%s\": [", key);
    for (size_t index = 0, told = 0; index < of->count; index++) {
        if (firsts != (index % every < first)) continue;
        fprintf(out, "%s%.17g", told++ > 0 ? ", " : "", of->ms[index]);
    }
    fputs("]", out);
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

#endif
