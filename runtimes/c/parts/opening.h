/* Opening: everything that can be refused is refused before the engine's library is touched. */
#ifndef EDGEKIT_OPENING_H
#define EDGEKIT_OPENING_H

#include "machine.h"
#include "session.h"

#define NOTE_BYTES 512
#define MAX_THREADS 512 /* what llama.cpp takes at the most: far beyond it the engines end the process */

/* MEMORY_BUDGET if the measured peak, or where none was measured the model's file alone, exceeds the budget. */
static edgekit_code check_memory(const bundle *packed, uint64_t budget, char *note, edgekit_error *error) {
    const json_value *peak = json_get(json_get(packed->manifest, "memory"), "peak_rss_bytes");
    bool measured = json_is_whole(peak);
    note[0] = '\0';
    if (budget == 0) return EDGEKIT_OK;
    int64_t need = measured ? peak->integer : find_file(packed, packed->model_file)->size_bytes;
    if (need > 0 && (uint64_t)need > budget) {
        return fail(error, EDGEKIT_MEMORY_BUDGET,
                    "%.100s %s %.0f MiB, %.0f MiB are allowed: raise the budget or pack for a smaller one",
                    packed->name, measured ? "took at its measured peak" : "has in its file alone",
                    (double)need / 1048576, (double)budget / 1048576);
    }
    if (!measured) {
        snprintf(note, NOTE_BYTES,
                 "the manifest has no measured peak: the memory budget was held against the model's file only");
    }
    return EDGEKIT_OK;
}

/* The manifest, member by member, with "runtime" at its end. */
static char *describe(const edgekit_session *self, const char *const *notes, size_t note_count) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);
    if (file == NULL) return NULL;
    fputc('{', file);
    for (const json_value *each = self->bundle.manifest->first; each != NULL; each = each->next) {
        if (strcmp(each->key, "runtime") == 0) continue;
        json_write(file, each->key);
        fprintf(file, ": %.*s, ", (int)each->source_bytes, each->source);
    }
    fputs("\"runtime\": {\"engine\": ", file);
    json_write(file, self->onnx != NULL ? self->onnx->version : self->llama->version);
    fprintf(file, ", \"threads\": %d, \"low_memory\": %s, \"notes\": [", self->threads,
            self->low_memory ? "true" : "false");
    for (size_t index = 0, told = 0; index < note_count; index++) {
        if (notes[index][0] == '\0') continue;
        if (told++ > 0) fputs(", ", file);
        json_write(file, notes[index]);
    }
    fputs("]}}", file);
    if (fclose(file) == 0) return text;
    free(text);
    return NULL;
}

/* Those asked for; else the bundle's, which are its device's fast cores, as far as there are so many here. */
static int threads_for(const bundle *packed, int32_t asked, char *note) {
    const json_value *device = json_get(json_get(packed->manifest, "device"), "threads");
    note[0] = '\0';
    if (asked > 0) return (int)asked;
    int here = physical_cores();
    if (!json_is_whole(device) || device->integer < 1) return here;
    if (device->integer <= here) return (int)device->integer;
    snprintf(note, NOTE_BYTES, "the bundle was packed for %lld threads, here are %d cores to use",
             (long long)device->integer, here);
    return here;
}

static edgekit_code open_engine(edgekit_session *self, const edgekit_options *options, edgekit_error *error) {
    const bundle *packed = &self->bundle;
    char *inside = path_join(packed->folder, packed->model_file);
    const char *model = options->model_file != NULL ? options->model_file : inside;
    edgekit_code code;
    if (inside == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
    if (strcmp(packed->engine, "onnxruntime") == 0) {
        code = onnx_open(&self->onnx, model, options, self->threads, &self->cancelled, error);
    } else if (strcmp(packed->engine, "llama.cpp") == 0) {
        code = llama_open(&self->llama, packed, model, options, self->threads, &self->cancelled, error);
    } else {
        code = fail(error, EDGEKIT_BUNDLE_INVALID, "the engine '%.60s' is not one of onnxruntime, llama.cpp",
                    packed->engine);
    }
    free(inside);
    return code;
}

/* The bundle's own tokenizer, where it names one; with llama.cpp the engine's vocabulary serves unless it does. */
static edgekit_code open_text(edgekit_session *self, const edgekit_options *options, edgekit_error *error) {
    const json_value *text = json_get(self->bundle.manifest, "text"), *tokenizer = json_get(text, "tokenizer");
    bool wanted = self->llama != NULL ? json_is(tokenizer, JSON_STRING) : json_is(text, JSON_OBJECT);
    return wanted ? text_open(&self->text, &self->bundle, options->text_library, error) : EDGEKIT_OK;
}

static edgekit_code open_session(edgekit_session *self, const char *folder, const edgekit_options *options,
                                 edgekit_error *error) {
    char memory_note[NOTE_BYTES] = "", isa_note[NOTE_BYTES] = "", thread_note[NOTE_BYTES] = "";
    edgekit_code code = bundle_read(&self->bundle, folder, error);
    if (code == EDGEKIT_OK && !options->skip_verify) code = bundle_verify(&self->bundle, error);
    if (code == EDGEKIT_OK) code = check_memory(&self->bundle, options->memory_budget_bytes, memory_note, error);
    if (code == EDGEKIT_OK) code = check_isa(self->bundle.manifest, isa_note, error);
    if (code == EDGEKIT_OK && (options->threads < 0 || options->threads > MAX_THREADS)) {
        code = fail(error, EDGEKIT_BAD_INPUT, "threads is %d, expected 1 to %d", (int)options->threads, MAX_THREADS);
    }
    if (code != EDGEKIT_OK) return code;
    self->threads = threads_for(&self->bundle, options->threads, thread_note);
    self->low_memory = options->low_memory != 0;
    self->normalize = json_is(json_get(json_get(self->bundle.manifest, "embedding"), "normalize"), JSON_TRUE);
    if ((code = open_engine(self, options, error)) != EDGEKIT_OK) return code;
    if ((code = open_text(self, options, error)) != EDGEKIT_OK) return code;
    if (self->llama != NULL) self->vocabulary = self->llama->vocabulary;
    const char *notes[] = {isa_note, thread_note, memory_note};
    self->info = describe(self, notes, 3);
    return self->info != NULL ? EDGEKIT_OK : fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a session");
}

#endif
