/* What this machine says of itself: CPU features, cores, memory of this process. Unknown stays unknown. */
#ifndef EDGEKIT_MACHINE_H
#define EDGEKIT_MACHINE_H

#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#endif

#include "failure.h"
#include "json.h"

#if defined(__x86_64__) || defined(_M_X64)
#define MACHINE_ARCH "x86_64"
#elif defined(__aarch64__)
#define MACHINE_ARCH "aarch64"
#elif defined(__arm__)
#define MACHINE_ARCH "armv7"
#else
#define MACHINE_ARCH "unknown"
#endif

#define MACHINE_MAX_CORES 1024

/* A name and whether this CPU, and the system for the wider registers, has it. */
typedef struct isa_feature {
    const char *name;
    bool here;
} isa_feature;

/* Those that decide which kernels the engines choose, by the names that manifests use; their number, 0 where this
 * system tells nothing. Asked of the CPU itself: an emulator shows its host's /proc/cpuinfo. */
#define ISA_MAX_FEATURES 16
static inline size_t isa_features(isa_feature found[ISA_MAX_FEATURES]) {
    size_t count = 0;
#define HAS(feature, is_here) found[count++] = (isa_feature){feature, (is_here) != 0}
#if defined(__x86_64__) && defined(__GNUC__)
    unsigned a = 0, b = 0, c = 0, d = 0, b7 = 0, c7 = 0, d7 = 0, a71 = 0;
    unsigned long long enabled = 0;
    __get_cpuid(1, &a, &b, &c, &d);
    if (c >> 27 & 1) { /* the system saves wide registers: XGETBV says which */
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        enabled = (unsigned long long)high << 32 | low;
    }
    if (__get_cpuid_max(0, NULL) >= 7) {
        unsigned most, unused_b, unused_c, unused_d;
        __cpuid_count(7, 0, most, b7, c7, d7);
        if (most >= 1) __cpuid_count(7, 1, a71, unused_b, unused_c, unused_d);
    }
    bool ymm = (enabled & 0x6) == 0x6, zmm = ymm && (enabled & 0xE0) == 0xE0;
    bool tiles = (enabled & 0x60000) == 0x60000;
    HAS("sse4_2", c >> 20 & 1);
    HAS("avx", ymm && c >> 28 & 1);
    HAS("avx2", ymm && b7 >> 5 & 1);
    HAS("fma", ymm && c >> 12 & 1);
    HAS("f16c", ymm && c >> 29 & 1);
    HAS("avx_vnni", ymm && a71 >> 4 & 1);
    HAS("avx512f", zmm && b7 >> 16 & 1);
    HAS("avx512_vnni", zmm && c7 >> 11 & 1);
    HAS("avx512_bf16", zmm && a71 >> 5 & 1);
    HAS("amx_int8", tiles && d7 >> 25 & 1);
    HAS("amx_bf16", tiles && d7 >> 22 & 1);
#elif defined(__aarch64__) && defined(__linux__)
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    HAS("neon", one >> 1 & 1);
    HAS("fp16", (one >> 9 & 1) && (one >> 10 & 1));
    HAS("dotprod", one >> 20 & 1);
    HAS("i8mm", two >> 13 & 1);
    HAS("bf16", two >> 14 & 1);
    HAS("sve", one >> 22 & 1);
    HAS("sve2", two >> 1 & 1);
    HAS("sme", two >> 23 & 1);
#else
    (void)found;
#endif
#undef HAS
    return count;
}

/* A line "KEY : value" of a /proc file, from `text` on; its value's length, and where it starts. NULL without one. */
static inline const char *proc_field(const char *text, const char *key, size_t *length) {
    size_t bytes = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, key, bytes) != 0) continue;
        const char *at = line + bytes + strspn(line + bytes, " \t");
        if (*at != ':') continue;
        at += 1 + strspn(at + 1, " \t");
        *length = strcspn(at, "\n");
        return at;
    }
    return NULL;
}

/* A file of /proc or /sys, which tell no size; NULL if it cannot be read. */
static inline char *read_proc(const char *path) {
    enum { MOST = 1 << 20 };
    FILE *file = fopen(path, "re");
    if (file == NULL) return NULL;
    char *text = malloc(MOST + 1);
    size_t bytes = text == NULL ? 0 : fread(text, 1, MOST, file);
    if (text != NULL) text[bytes] = '\0';
    fclose(file);
    return text;
}

/* 1, 0, or -1 where it cannot be told. Names beyond the table are looked up among the kernel's words. */
static inline int has_feature(const char *name) {
    isa_feature known[ISA_MAX_FEATURES];
    size_t count = isa_features(known), length = 0, bytes = strlen(name);
    for (size_t index = 0; index < count; index++) {
        if (strcmp(known[index].name, name) == 0) return known[index].here;
    }
    char *text = read_proc("/proc/cpuinfo");
    const char *words = text == NULL ? NULL : proc_field(text, "flags", &length);
    if (words == NULL && text != NULL) words = proc_field(text, "Features", &length);
    int found = words == NULL ? -1 : 0;
    for (const char *at = words; at != NULL && at < words + length; at += strcspn(at, " \n") + 1) {
        if (strncmp(at, name, bytes) == 0 && strchr(" \n", at[bytes]) != NULL) found = 1;
    }
    free(text);
    return found;
}

/* UNSUPPORTED_DEVICE if this CPU lacks a feature demanded of its architecture. `note` (512 bytes) tells what could
 * not be checked, or is empty. */
static inline edgekit_code check_isa(const json_value *manifest, char *note, edgekit_error *error) {
    const json_value *demanded = json_get(json_get(manifest, "min_isa"), MACHINE_ARCH);
    char missing[256] = "", unknown[256] = "";
    note[0] = '\0';
    for (const json_value *each = demanded == NULL ? NULL : demanded->first; each != NULL; each = each->next) {
        int here = has_feature(each->text);
        char *list = here == 0 ? missing : unknown;
        size_t used = strlen(list);
        if (here != 1) snprintf(list + used, sizeof missing - used, "%s%s", used == 0 ? "" : ", ", each->text);
    }
    if (missing[0] != '\0') {
        return fail(error, EDGEKIT_UNSUPPORTED_DEVICE,
                    "this " MACHINE_ARCH " CPU lacks %s, which the bundle needs: pack it again for this device",
                    missing);
    }
    if (unknown[0] != '\0') {
        snprintf(note, 512, "the CPU's features cannot be read here; the bundle needs %s on " MACHINE_ARCH, unknown);
    }
    return EDGEKIT_OK;
}

/* Whether int8 products saturate here, and answers change silently, unless the session forbids it: x86 without VNNI.
 * Where there is VNNI the guard changes no answer and costs three quarters of the speed. */
static inline bool machine_saturates(void) {
    return strcmp(MACHINE_ARCH, "x86_64") == 0 && has_feature("avx512_vnni") != 1 && has_feature("avx_vnni") != 1;
}

/* The CPU's name as the kernel tells it, or "". */
static inline void cpu_model(char *name, size_t room) {
    static const char *const keys[] = {"model name", "Model", "Hardware"};
    char *text = read_proc("/proc/cpuinfo");
    name[0] = '\0';
    for (size_t index = 0; index < 3 && text != NULL && name[0] == '\0'; index++) {
        size_t length = 0;
        const char *found = proc_field(text, keys[index], &length);
        if (found != NULL) snprintf(name, room, "%.*s", (int)(length < room ? length : room - 1), found);
    }
    free(text);
}

/* Whole CPUs that control group 2 grants, rounded up; 0 without a limit. */
static inline int cpu_quota(void) {
    char *text = read_proc("/sys/fs/cgroup/cpu.max");
    long long quota = 0, period = 0;
    int read = text == NULL ? 0 : sscanf(text, "%lld %lld", &quota, &period);
    free(text);
    return read == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

/* What a core is, as JSON: "implementer:part" of ARM, "vendor:family:model:stepping" of x86; nothing if untold. */
static inline void write_part(const char *block, FILE *parts, int *told) {
    static const char *const keys[2][4] = {{"CPU implementer", "CPU part", NULL, NULL},
                                           {"vendor_id", "cpu family", "model", "stepping"}};
    for (int kind = 0; kind < 2; kind++) {
        char words[200] = "";
        size_t used = 0, length = 0;
        int known = 0;
        for (int index = 0; index < 4 && keys[kind][index] != NULL; index++) {
            const char *value = proc_field(block, keys[kind][index], &length);
            if (value == NULL || length == 0 || length > 40) break;
            used += (size_t)snprintf(words + used, sizeof words - used, "%s%.*s", index > 0 ? ":" : "", (int)length,
                                     value);
            known++;
        }
        if (known != (kind == 0 ? 2 : 4)) continue;
        if ((*told)++ > 0) fputs(", ", parts);
        json_write(parts, words);
        return;
    }
}

/* Cores this process may use, hyper-threads counted once; 0 where the system does not say. What each is goes to
 * `parts`, unless that is NULL, as JSON strings with commas between them. */
static inline int known_cores(FILE *parts) {
    int count = 0;
#if defined(__linux__)
    cpu_set_t allowed;
    long seen[MACHINE_MAX_CORES];
    int told = 0;
    char *text = read_proc("/proc/cpuinfo");
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) CPU_ZERO(&allowed);
    for (char *block = text, *end; block != NULL && *block != '\0' && count < MACHINE_MAX_CORES; block = end) {
        size_t length = 0;
        end = strstr(block, "\n\n");
        if (end != NULL) *end = '\0', end += 2;
        const char *processor = proc_field(block, "processor", &length);
        if (processor == NULL || !CPU_ISSET((size_t)atoi(processor) % CPU_SETSIZE, &allowed)) continue;
        const char *core = proc_field(block, "core id", &length), *socket = proc_field(block, "physical id", &length);
        long key = core == NULL ? -1 - atoi(processor) : (socket == NULL ? 0 : atol(socket)) * 100000 + atol(core);
        bool known = false;
        for (int index = 0; index < count; index++) known = known || seen[index] == key;
        if (known) continue;
        seen[count++] = key;
        if (parts != NULL) write_part(block, parts, &told);
    }
    free(text);
    if (count == 0) count = CPU_COUNT(&allowed);
#else
    (void)parts;
#endif
    return count;
}

/* As many, no more than the CPU quota. At least 1. */
static inline int physical_cores(void) {
    int count = known_cores(NULL), quota = cpu_quota();
    if (count < 1) count = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (quota > 0 && quota < count) count = quota;
    return count < 1 ? 1 : count;
}

#endif
