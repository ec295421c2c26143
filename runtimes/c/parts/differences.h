/* How far an answer is from what was expected: 1 - cosine, or the largest absolute difference, the worst over all
 * arrays; NaN where the two do not compare: another shape, a label that is not there, no numbers. */
#ifndef EDGEKIT_DIFFERENCES_H
#define EDGEKIT_DIFFERENCES_H

#include "labels.h"
#include "tensors.h"

/* What the session answered: one row of values, labels, or outputs. Of a row only the numbers `picked` may be compared.
 */
typedef struct answer {
    const float *values;
    size_t count;
    const json_value *picked;
    const edgekit_labels *labels;
    const edgekit_outputs *outputs;
} answer;

/* Pairs of numbers, summed up as they come. */
typedef struct comparison {
    double product, want_squares, have_squares, largest;
} comparison;

static void compare(comparison *self, double want, double have) {
    double away = fabs(want - have);
    self->product += want * have;
    self->want_squares += want * want;
    self->have_squares += have * have;
    if (isnan(away) || away > self->largest) self->largest = away; /* nothing is larger than NaN: it stays */
}

/* NaN of anything infinite or undefined. */
static double compared(const comparison *self, bool cosine) {
    double norms = sqrt(self->want_squares) * sqrt(self->have_squares);
    double away = cosine && norms != 0 ? 1 - self->product / norms : self->largest;
    return isfinite(away) ? away : (double)NAN;
}

static const edgekit_tensor *output_named(const edgekit_outputs *outputs, const char *name) {
    for (size_t index = 0; index < outputs->count; index++) {
        if (strcmp(outputs->tensors[index].name, name) == 0) return &outputs->tensors[index];
    }
    return NULL;
}

/* NULL, or what is malformed. The arrays are as many as expected and of the same names, or they do not compare. */
static const char *outputs_difference(const json_value *want, const edgekit_outputs *have, bool cosine, double *away) {
    *away = want->count == have->count ? 0 : (double)NAN;
    for (const json_value *each = want->first; each != NULL; each = each->next) {
        edgekit_tensor expected = {0};
        const edgekit_tensor *found = output_named(have, each->key);
        comparison sums = {0};
        if (!tensor_decode(each, &expected)) return "a tensor's dtype, shape and data do not fit";
        bool alike = found != NULL && found->rank == expected.rank &&
                     memcmp(found->shape, expected.shape, (size_t)expected.rank * sizeof *found->shape) == 0;
        size_t count = expected.bytes / dtype_bytes((int)expected.dtype);
        for (size_t index = 0; index < count && alike; index++) {
            compare(&sums, tensor_number(expected.data, expected.dtype, index),
                    tensor_number(found->data, found->dtype, index));
        }
        double one = alike ? compared(&sums, cosine) : (double)NAN;
        if (!(one <= *away)) *away = isnan(*away) ? *away : one;
        free(expected.data);
    }
    return NULL;
}

static const char *scores_difference(const json_value *want, const edgekit_labels *have, bool cosine, double *away) {
    *away = want->count == have->count ? 0 : (double)NAN;
    for (const json_value *each = want->first; each != NULL; each = each->next) {
        comparison sums = {0};
        size_t index = 0;
        if (each->kind != JSON_NUMBER) return "a score is no number";
        while (index < have->count && strcmp(have->items[index].label, each->key) != 0) index++;
        if (index < have->count) compare(&sums, (float)json_number(each), have->items[index].score);
        double one = index < have->count ? compared(&sums, cosine) : (double)NAN;
        if (!(one <= *away)) *away = isnan(*away) ? *away : one;
    }
    return NULL;
}

static const char *row_difference(const json_value *want, const answer *found, bool cosine, double *away) {
    const json_value *picked = found->picked == NULL ? NULL : found->picked->first;
    size_t have = found->picked == NULL ? found->count : found->picked->count, index = 0;
    comparison sums = {0};
    for (const json_value *each = want->first; each != NULL && want->count == have; each = each->next, index++) {
        size_t at = index;
        if (each->kind != JSON_NUMBER) return "a value is no number";
        if (picked != NULL) {
            bool there = json_is_whole(picked) && picked->integer >= 0 && (uint64_t)picked->integer < found->count;
            if (!there) return "one of its ids is outside the vocabulary";
            at = (size_t)picked->integer;
            picked = picked->next;
        }
        compare(&sums, (float)json_number(each), found->values[at]);
    }
    *away = want->count == have ? compared(&sums, cosine) : (double)NAN;
    return NULL;
}

/* NULL, and the difference; or what is malformed in `want`, a case's expected values of `kind`. */
static const char *answer_difference(const char *kind, const json_value *want, const answer *found, bool cosine,
                                     double *away) {
    bool named = found->outputs != NULL || found->labels != NULL;
    if (!json_is(want, named ? JSON_OBJECT : JSON_ARRAY)) return "its values are of another shape than its kind's";
    if (found->outputs != NULL) return outputs_difference(want, found->outputs, cosine, away);
    if (found->labels != NULL) return scores_difference(want, found->labels, cosine, away);
    if (strcmp(kind, "logits") == 0 && !json_is(found->picked, JSON_ARRAY)) return "logits have no ids";
    return row_difference(want, found, cosine, away);
}

#endif
