/* Decoded pixels to what an image model takes: resize, crop, rescale, normalise, as the manifest's image says. */
#ifndef EDGEKIT_PICTURES_H
#define EDGEKIT_PICTURES_H

#include <float.h>

#include "classifying.h"
#include "resample.h"

#define MAX_EDGE 16384
#define MAX_PIXELS ((int64_t)1 << 28)

typedef struct image_setup {
    int height, width, shortest_edge; /* 0: none */
    int resample;
    float rescale, mean[3], std[3];
} image_setup;

static edgekit_code image_number(const bundle *packed, const char *key, int64_t least, int64_t most, int *number,
                                 edgekit_error *error) {
    const json_value *value = bundle_setting(packed, "image", key, JSON_NUMBER, error);
    if (value == NULL) return EDGEKIT_BUNDLE_INVALID;
    if (value->integer < least || value->integer > most) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": image.%s is %lld, expected %lld to %lld", key,
                    (long long)value->integer, (long long)least, (long long)most);
    }
    *number = (int)value->integer;
    return EDGEKIT_OK;
}

/* False unless it is a number that a float holds. */
static bool image_float(const json_value *value, float *number) {
    double found = json_number(value);
    if (!(fabs(found) <= (double)FLT_MAX)) return false;
    *number = (float)found;
    return true;
}

static edgekit_code image_colours(const bundle *packed, const char *key, float colours[3], edgekit_error *error) {
    const json_value *list = bundle_setting(packed, "image", key, JSON_ARRAY, error);
    size_t count = 0;
    if (list == NULL) return EDGEKIT_BUNDLE_INVALID;
    for (const json_value *each = list->first; each != NULL && count < 3 && image_float(each, &colours[count]);) {
        count++;
        each = each->next;
    }
    if (count == 3 && list->count == 3) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": image.%s is not three numbers", key);
}

static edgekit_code image_read(const bundle *packed, image_setup *setup, edgekit_error *error) {
    const json_value *image = json_get(packed->manifest, "image"), *edge = json_get(image, "shortest_edge");
    const json_value *rescale = json_get(image, "rescale");
    edgekit_code code = image_number(packed, "height", 1, MAX_EDGE, &setup->height, error);
    if (code == EDGEKIT_OK) code = image_number(packed, "width", 1, MAX_EDGE, &setup->width, error);
    if (code == EDGEKIT_OK) code = image_number(packed, "resample", 0, RESAMPLE_FILTERS - 1, &setup->resample, error);
    setup->shortest_edge = 0;
    if (code == EDGEKIT_OK && edge != NULL && edge->kind != JSON_NULL) {
        code = image_number(packed, "shortest_edge", 1, MAX_EDGE, &setup->shortest_edge, error);
    }
    if (code == EDGEKIT_OK) code = image_colours(packed, "mean", setup->mean, error);
    if (code == EDGEKIT_OK) code = image_colours(packed, "std", setup->std, error);
    if (code == EDGEKIT_OK && !image_float(rescale, &setup->rescale)) {
        code = fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": image.rescale is no number");
    }
    return code;
}

/* float32 [3, height, width] of the centre; what lies outside the picture is black. */
static void normalise(const picture *pixels, const image_setup *setup, float *values) {
    int missing_down = setup->height > pixels->height ? setup->height - pixels->height : 0;
    int missing_across = setup->width > pixels->width ? setup->width - pixels->width : 0;
    int top = (pixels->height + missing_down - setup->height) / 2 - (missing_down + 1) / 2;
    int left = (pixels->width + missing_across - setup->width) / 2 - (missing_across + 1) / 2;
    for (int colour = 0; colour < 3; colour++) {
        for (int y = 0; y < setup->height; y++) {
            for (int x = 0; x < setup->width; x++) {
                int row = y + top, column = x + left;
                bool inside = row >= 0 && row < pixels->height && column >= 0 && column < pixels->width;
                size_t at = inside ? ((size_t)row * (size_t)pixels->width + (size_t)column) * 3 + (size_t)colour : 0;
                float scaled = (inside ? (float)pixels->rgb[at] : 0) * setup->rescale;
                *values++ = (scaled - setup->mean[colour]) / setup->std[colour];
            }
        }
    }
}

/* `values` of the picture, to be freed. */
static edgekit_code pixel_values(const image_setup *setup, const picture *given, float **values, edgekit_error *error) {
    int64_t height = setup->height, width = setup->width, edge = setup->shortest_edge;
    if (edge > 0 && given->height <= given->width) {
        height = edge, width = (int64_t)((double)(edge * given->width) / given->height);
    } else if (edge > 0) {
        height = (int64_t)((double)(edge * given->height) / given->width), width = edge;
    }
    if (height > MAX_PIXELS / width) {
        return fail(error, EDGEKIT_BAD_INPUT, "a picture of %d x %d would become one of %lld x %lld", given->height,
                    given->width, (long long)height, (long long)width);
    }
    bool same = height == given->height && width == given->width;
    picture resized = same ? *given : resample(given, (int)height, (int)width, setup->resample);
    *values = malloc((size_t)setup->height * (size_t)setup->width * 3 * sizeof **values);
    bool made = resized.rgb != NULL && *values != NULL;
    if (made) normalise(&resized, setup, *values);
    if (!same) free(resized.rgb);
    return made ? EDGEKIT_OK : fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a picture");
}

static edgekit_code classify_values(edgekit_session *self, const image_setup *setup, float *values,
                                    edgekit_labels *labels, edgekit_error *error) {
    edgekit_outputs *outputs = NULL;
    size_t bytes = (size_t)setup->height * (size_t)setup->width * 3 * sizeof *values;
    edgekit_tensor input = {self->onnx->inputs[0].name, EDGEKIT_FLOAT32, 4, {1, 3, setup->height, setup->width}, values,
                            bytes};
    edgekit_code code = onnx_run(self->onnx, &input, 1, logits_output(self->onnx), &outputs, error);
    if (code == EDGEKIT_OK) code = rank_logits(self, &outputs->tensors[0], labels, error);
    edgekit_outputs_free(outputs);
    return code;
}

static edgekit_code session_classify_pixels(edgekit_session *self, const uint8_t *rgb, int32_t height, int32_t width,
                                            edgekit_labels **labels, edgekit_error *error) {
    image_setup setup;
    float *values = NULL;
    if (labels == NULL) return fail(error, EDGEKIT_BAD_INPUT, "labels is NULL");
    *labels = NULL;
    if (rgb == NULL || height < 1 || width < 1 || height > MAX_PIXELS / width) {
        return fail(error, EDGEKIT_BAD_INPUT, "a picture is uint8 [%d, %d, 3], expected axes of 1 or more",
                    rgb == NULL ? 0 : (int)height, rgb == NULL ? 0 : (int)width);
    }
    edgekit_code code = image_read(&self->bundle, &setup, error);
    if (code != EDGEKIT_OK) return code;
    picture given = {(uint8_t *)(uintptr_t)rgb, height, width};
    edgekit_labels *found = calloc(1, sizeof *found);
    code = found == NULL ? fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the labels")
                         : pixel_values(&setup, &given, &values, error);
    if (code == EDGEKIT_OK) code = classify_values(self, &setup, values, found, error);
    free(values);
    if (code == EDGEKIT_OK) {
        *labels = found;
    } else {
        edgekit_labels_free(found);
    }
    return code;
}

#endif
