/* Choosing the next token from scores.
 *
 * Temperature 0 is greedy; otherwise softmax(scores / temperature), cut to the nucleus of mass `top_p`. The numbers come
 * from xoshiro256** (Blackman and Vigna, public domain), its state filled by splitmix64 from the seed: a seed repeats in
 * this runtime where the scores do, which is on one machine with one number of threads. Other runtimes draw otherwise. */
#ifndef EDGEKIT_SAMPLE_H
#define EDGEKIT_SAMPLE_H

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "failure.h"

typedef struct sampler {
    double temperature, top_p;
    uint64_t state[4];
    int32_t vocabulary;
    double *weights; /* NULL where it is greedy */
    int32_t *heap;   /* NULL where nothing is cut */
} sampler;

static uint64_t random_seed(const void *somewhere) {
    struct timespec now = {0, 0};
    uint64_t seed = 0;
    FILE *file = fopen("/dev/urandom", "rbe");
    bool read = file != NULL && fread(&seed, sizeof seed, 1, file) == 1;
    if (file != NULL) fclose(file);
    if (read) return seed;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec << 20 ^ (uint64_t)(uintptr_t)somewhere;
}

static void random_start(uint64_t state[4], uint64_t seed) {
    for (int index = 0; index < 4; index++) {
        uint64_t mixed = seed += 0x9E3779B97F4A7C15u;
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
        state[index] = mixed ^ mixed >> 31;
    }
}

static uint64_t random_rotated(uint64_t value, int by) { return value << by | value >> (64 - by); }

/* In [0, 1), 53 bits of it. */
static double random_next(uint64_t state[4]) {
    uint64_t drawn = random_rotated(state[1] * 5, 7) * 9, shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = random_rotated(state[3], 45);
    return (double)(drawn >> 11) * 0x1p-53;
}

static void sampler_free(sampler *self) {
    free(self->weights);
    free(self->heap);
    self->weights = NULL, self->heap = NULL;
}

static edgekit_code sampler_open(sampler *self, const edgekit_generation *options, edgekit_error *error) {
    memset(self, 0, sizeof *self);
    if (!isfinite(options->temperature) || options->temperature < 0) {
        return fail(error, EDGEKIT_BAD_INPUT, "temperature is %g, expected 0 or more", (double)options->temperature);
    }
    if (!(options->top_p > 0 && options->top_p <= 1)) {
        return fail(error, EDGEKIT_BAD_INPUT, "top_p is %g, expected more than 0 and at most 1",
                    (double)options->top_p);
    }
    self->temperature = options->temperature;
    self->top_p = options->top_p;
    random_start(self->state, options->has_seed ? options->seed : random_seed(self));
    return EDGEKIT_OK;
}

/* Room for scores of that many tokens; false without memory. */
static bool sampler_fit(sampler *self, int32_t vocabulary) {
    self->vocabulary = vocabulary;
    if (self->temperature == 0) return true;
    self->weights = malloc((size_t)vocabulary * sizeof *self->weights);
    if (self->top_p < 1) self->heap = malloc((size_t)vocabulary * sizeof *self->heap);
    return self->weights != NULL && (self->top_p == 1 || self->heap != NULL);
}

/* Whether token `one` goes before `other`: by weight, among equals by number. */
static bool sampler_before(const double *weights, int32_t one, int32_t other) {
    return weights[one] > weights[other] || (weights[one] == weights[other] && one < other);
}

static void sampler_sink(const double *weights, int32_t *heap, int32_t count, int32_t at) {
    for (int32_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && sampler_before(weights, heap[child + 1], heap[child])) child++;
        if (!sampler_before(weights, heap[child], heap[at])) return;
        int32_t moved = heap[at];
        heap[at] = heap[child], heap[child] = moved;
        at = child;
    }
}

/* Weights outside the nucleus become 0: what is left is the fewest best tokens that have top_p of the mass. */
static void sampler_cut(sampler *self, double mass) {
    int32_t count = self->vocabulary;
    for (int32_t token = 0; token < count; token++) self->heap[token] = token;
    for (int32_t at = count / 2 - 1; at >= 0; at--) sampler_sink(self->weights, self->heap, count, at);
    for (double taken = 0; count > 0 && taken < self->top_p * mass;) {
        taken += self->weights[self->heap[0]];
        self->heap[0] = self->heap[--count];
        sampler_sink(self->weights, self->heap, count, 0);
    }
    for (int32_t at = 0; at < count; at++) self->weights[self->heap[at]] = 0;
}

/* `best` is the likeliest token, which is what comes of scores that are no numbers. */
static int32_t sampler_pick(sampler *self, const float *scores, int32_t best) {
    if (self->temperature == 0) return best;
    double mass = 0, passed = 0;
    for (int32_t token = 0; token < self->vocabulary; token++) {
        double weight = exp(((double)scores[token] - (double)scores[best]) / self->temperature);
        self->weights[token] = isfinite(weight) ? weight : 0;
        mass += self->weights[token];
    }
    if (self->top_p < 1) {
        sampler_cut(self, mass);
        mass = 0;
        for (int32_t token = 0; token < self->vocabulary; token++) mass += self->weights[token];
    }
    double drawn = random_next(self->state) * mass;
    for (int32_t token = 0; token < self->vocabulary; token++) {
        passed += self->weights[token];
        if (passed > drawn) return token;
    }
    return best;
}

#endif
