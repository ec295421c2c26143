/* Scores to labels. */
#ifndef EDGEKIT_LABELS_H
#define EDGEKIT_LABELS_H

#include <math.h>

#include "bundle.h"

struct edgekit_labels {
    size_t count, room;
    edgekit_label *items;
};

size_t edgekit_labels_count(const edgekit_labels *labels) { return labels == NULL ? 0 : labels->count; }

const edgekit_label *edgekit_labels_at(const edgekit_labels *labels, size_t index) {
    return labels == NULL || index >= labels->count ? NULL : &labels->items[index];
}

void edgekit_labels_free(edgekit_labels *labels) {
    if (labels == NULL) return;
    for (size_t index = 0; index < labels->count; index++) free((char *)(uintptr_t)labels->items[index].label);
    free(labels->items);
    free(labels);
}

/* Softmax of `count` logits in place; the logistic function where labels are independent, or there is only one. */
static void probabilities(const bundle *packed, double *logits, size_t count) {
    const json_value *type = json_get(packed->manifest, "problem_type");
    bool independent = json_is(type, JSON_STRING) && strcmp(type->text, "multi_label_classification") == 0;
    double most = -INFINITY, sum = 0;
    for (size_t index = 0; index < count; index++) most = logits[index] > most ? logits[index] : most;
    for (size_t index = 0; index < count; index++) {
        bool logistic = independent || count == 1;
        logits[index] = logistic ? 1 / (1 + exp(-logits[index])) : exp(logits[index] - most);
        sum += logits[index];
    }
    for (size_t index = 0; index < count && !independent && count > 1; index++) logits[index] /= sum;
}

/* RUN_FAILED where the manifest names labels, and not as many as there are scores. */
static edgekit_code check_label_count(const bundle *packed, size_t count, edgekit_error *error) {
    const json_value *labels = json_get(packed->manifest, "labels");
    if (labels == NULL || labels->count == 0 || labels->count == count) return EDGEKIT_OK;
    return fail(error, EDGEKIT_RUN_FAILED, "the model scores %zu labels, the manifest names %zu", count,
                labels->count);
}

/* A copy of the manifest's label, or LABEL_0, LABEL_1, ... where it has none. */
static char *label_name(const bundle *packed, size_t index) {
    const json_value *labels = json_get(packed->manifest, "labels");
    const json_value *label = labels == NULL ? NULL : labels->first;
    char name[32];
    for (size_t at = 0; at < index && label != NULL; at++) label = label->next;
    snprintf(name, sizeof name, "LABEL_%zu", index);
    return strdup(label == NULL ? name : label->text);
}

static bool labels_add(edgekit_labels *labels, const bundle *packed, size_t label, double score, size_t start,
                       size_t end) {
    if (labels->count == labels->room) {
        size_t room = 2 * labels->room + 16;
        edgekit_label *grown = realloc(labels->items, room * sizeof *grown);
        if (grown == NULL) return false;
        labels->items = grown, labels->room = room;
    }
    char *name = label_name(packed, label);
    if (name == NULL) return false;
    labels->items[labels->count++] = (edgekit_label){name, (float)score, start, end};
    return true;
}

/* A score and the label's number. */
typedef struct ranked_label {
    float score;
    size_t label;
} ranked_label;

/* Best first, among equals the first; what is no number comes last. */
static int ranked_by_score(const void *one, const void *other) {
    const ranked_label *a = one, *b = other;
    bool less = a->score < b->score || (isnan(a->score) && !isnan(b->score));
    bool more = a->score > b->score || (!isnan(a->score) && isnan(b->score));
    return less ? 1 : more ? -1 : a->label < b->label ? -1 : 1;
}

static edgekit_code labels_of_scores(const bundle *packed, const double *scores, size_t count, edgekit_labels *labels,
                                     edgekit_error *error) {
    edgekit_code code = check_label_count(packed, count, error);
    if (code != EDGEKIT_OK) return code;
    ranked_label *order = malloc((count + 1) * sizeof *order);
    bool done = order != NULL;
    for (size_t index = 0; index < count && done; index++) order[index] = (ranked_label){(float)scores[index], index};
    if (done) qsort(order, count, sizeof *order, ranked_by_score);
    for (size_t index = 0; index < count && done; index++) {
        done = labels_add(labels, packed, order[index].label, order[index].score, 0, 0);
    }
    free(order);
    return done ? EDGEKIT_OK : fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the labels");
}

#endif
