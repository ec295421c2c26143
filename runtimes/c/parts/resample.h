/* Resizing as Pillow 13 does it (libImaging/Resample.c; HPND licence): every filter widened when a picture shrinks, its
 * weights rounded to 22 bits, sums clipped to 8 bits after each of the two passes. The same pixels come out, bit for bit
 * where sin and cos agree. Older versions go across first always, which differs by a level or two here and there. */
#ifndef EDGEKIT_RESAMPLE_H
#define EDGEKIT_RESAMPLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLE_BITS 22
#define RESAMPLE_NEAREST 0
#define RESAMPLE_PI 3.14159265358979323846

/* uint8 [height, width, 3] */
typedef struct picture {
    uint8_t *rgb;
    int height, width;
} picture;

static double filter_box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double filter_bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double filter_hamming(double x) {
    x = fabs(x);
    if (x == 0) return 1;
    if (x >= 1) return 0;
    x *= RESAMPLE_PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x)); /* floats, as there */
}

static double filter_bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double filter_sinc(double x) {
    if (x == 0) return 1;
    x *= RESAMPLE_PI;
    return sin(x) / x;
}

static double filter_lanczos(double x) { return x >= -3 && x < 3 ? filter_sinc(x) * filter_sinc(x / 3) : 0; }

/* By Pillow's numbers, which manifests use. */
static const struct resample_filter {
    double (*weight)(double);
    double support;
} resample_filters[] = {{NULL, 0},           {filter_lanczos, 3}, {filter_bilinear, 1},
                        {filter_bicubic, 2}, {filter_box, 0.5},   {filter_hamming, 1}};
enum { RESAMPLE_FILTERS = sizeof resample_filters / sizeof *resample_filters };

/* What each output pixel of one axis is the weighted sum of: `counts` pixels from `starts` on. */
typedef struct resample_axis {
    int *starts, *counts;
    int32_t *weights; /* [out, widest] */
    int widest;
} resample_axis;

static void axis_free(resample_axis *axis) {
    free(axis->starts);
    free(axis->counts);
    free(axis->weights);
}

/* One output pixel's weights, in `exact` first. */
static void axis_weigh(resample_axis *axis, const struct resample_filter *filter, int from, double scale, int at,
                       double *exact) {
    double widening = scale < 1 ? 1 : scale, support = filter->support * widening;
    double centre = (at + 0.5) * scale, sum = 0;
    int start = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
    if (start < 0) start = 0;
    if (end > from) end = from;
    axis->starts[at] = start;
    axis->counts[at] = end - start;
    for (int x = 0; x < end - start; x++) {
        exact[x] = filter->weight((x + start - centre + 0.5) * (1 / widening));
        sum += exact[x];
    }
    for (int x = 0; x < end - start; x++) {
        double weight = (sum != 0 ? exact[x] / sum : exact[x]) * (1 << RESAMPLE_BITS);
        axis->weights[(size_t)at * (size_t)axis->widest + (size_t)x] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
}

static bool axis_open(resample_axis *axis, const struct resample_filter *filter, int from, int to) {
    double scale = (double)from / to, widening = scale < 1 ? 1 : scale;
    axis->widest = (int)ceil(filter->support * widening) * 2 + 1;
    if (axis->widest > from) axis->widest = from;
    axis->starts = malloc((size_t)to * sizeof *axis->starts);
    axis->counts = malloc((size_t)to * sizeof *axis->counts);
    axis->weights = malloc((size_t)to * (size_t)axis->widest * sizeof *axis->weights);
    double *exact = malloc((size_t)axis->widest * sizeof *exact);
    bool made = axis->starts != NULL && axis->counts != NULL && axis->weights != NULL && exact != NULL;
    for (int at = 0; made && at < to; at++) axis_weigh(axis, filter, from, scale, at, exact);
    free(exact);
    return made;
}

/* One pass: `count` pixels, `step` bytes apart, to one. */
static uint8_t resample_sum(const uint8_t *pixels, size_t step, const int32_t *weights, int count) {
    int64_t sum = 1 << (RESAMPLE_BITS - 1);
    for (int index = 0; index < count; index++) sum += (int64_t)pixels[(size_t)index * step] * weights[index];
    sum >>= RESAMPLE_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static picture picture_new(int height, int width) {
    return (picture){malloc((size_t)height * (size_t)width * 3), height, width};
}

static picture resample_across(const picture *from, int width, const struct resample_filter *filter) {
    resample_axis axis = {0};
    picture to = picture_new(from->height, width);
    if (to.rgb != NULL && !axis_open(&axis, filter, from->width, width)) {
        free(to.rgb);
        to.rgb = NULL;
    }
    for (int y = 0; to.rgb != NULL && y < to.height; y++) {
        const uint8_t *row = from->rgb + (size_t)y * (size_t)from->width * 3;
        uint8_t *out = to.rgb + (size_t)y * (size_t)width * 3;
        for (int x = 0; x < width; x++) {
            const int32_t *weights = axis.weights + (size_t)x * (size_t)axis.widest;
            for (int colour = 0; colour < 3; colour++) {
                *out++ = resample_sum(row + 3 * (size_t)axis.starts[x] + colour, 3, weights, axis.counts[x]);
            }
        }
    }
    axis_free(&axis);
    return to;
}

static picture resample_down(const picture *from, int height, const struct resample_filter *filter) {
    resample_axis axis = {0};
    picture to = picture_new(height, from->width);
    size_t line = (size_t)from->width * 3;
    if (to.rgb != NULL && !axis_open(&axis, filter, from->height, height)) {
        free(to.rgb);
        to.rgb = NULL;
    }
    for (int y = 0; to.rgb != NULL && y < height; y++) {
        const int32_t *weights = axis.weights + (size_t)y * (size_t)axis.widest;
        for (size_t x = 0; x < line; x++) {
            const uint8_t *column = from->rgb + (size_t)axis.starts[y] * line + x;
            to.rgb[(size_t)y * line + x] = resample_sum(column, line, weights, axis.counts[y]);
        }
    }
    axis_free(&axis);
    return to;
}

/* The pixel under each output pixel's centre, found by adding up steps as Pillow does. */
static picture resample_nearest(const picture *from, int height, int width) {
    picture to = picture_new(height, width);
    double down = (double)from->height / height, across = (double)from->width / width, row = down * 0.5;
    for (int y = 0; to.rgb != NULL && y < height; y++, row += down) {
        int above = (int)row < from->height ? (int)row : from->height - 1;
        double column = across * 0.5;
        for (int x = 0; x < width; x++, column += across) {
            int left = (int)column < from->width ? (int)column : from->width - 1;
            memcpy(to.rgb + ((size_t)y * (size_t)width + (size_t)x) * 3,
                   from->rgb + ((size_t)above * (size_t)from->width + (size_t)left) * 3, 3);
        }
    }
    return to;
}

/* `rgb` is NULL without memory, and to be freed otherwise. */
static picture resample(const picture *from, int height, int width, int filter) {
    if (filter == RESAMPLE_NEAREST) return resample_nearest(from, height, width);
    const struct resample_filter *chosen = &resample_filters[filter];
    const picture none = {NULL, 0, 0};
    bool across = width != from->width, down = height != from->height;
    /* The pass that throws away more goes first. */
    int shorter = from->height - height;
    bool down_first = shorter > 0 && shorter > 2 * ((int64_t)from->width - width);
    if (!across && !down) {
        picture same = picture_new(height, width);
        if (same.rgb != NULL) memcpy(same.rgb, from->rgb, (size_t)height * (size_t)width * 3);
        return same;
    }
    if (!across) return resample_down(from, height, chosen);
    if (!down) return resample_across(from, width, chosen);
    picture half = down_first ? resample_down(from, height, chosen) : resample_across(from, width, chosen);
    if (half.rgb == NULL) return none;
    picture done = down_first ? resample_across(&half, width, chosen) : resample_down(&half, height, chosen);
    free(half.rgb);
    return done;
}

#endif
