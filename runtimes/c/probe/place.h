/* Where it was measured: this process's memory, and what the machine says of itself. */
#ifndef EDGEKIT_PROBE_PLACE_H
#define EDGEKIT_PROBE_PLACE_H

#include "../parts/machine.h"
#include "running.h"

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

#endif
