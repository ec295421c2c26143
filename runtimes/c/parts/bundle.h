/* A bundle's files: read the manifest, prove that the folder is what was packed. The rules are docs/manifest.md's.
 *
 * Hashes prove that nothing changed since packing, not who packed it: a signature is the caller's business. */
#ifndef EDGEKIT_BUNDLE_H
#define EDGEKIT_BUNDLE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "json.h"
#include "sha256.h"

#define MANIFEST "edgekit.json"
#define SCHEMA_VERSION 1
#define MAX_MANIFEST_BYTES (8u << 20)
#define MAX_MANIFEST_VALUES 400000
#define GOLDEN "golden.json"
#define MAX_GOLDEN_BYTES (64u << 20)
#define MAX_GOLDEN_VALUES 1000000
#define MAX_FILES 10000
#define MAX_PATH_CHARACTERS 512
#define MAX_FOLDER_DEPTH 32

typedef struct listed_file {
    const char *path, *sha256;
    int64_t size_bytes;
    int64_t found_bytes; /* -1: not there */
} listed_file;

typedef struct bundle {
    char *folder, *text;
    json_document document;
    const json_value *manifest;
    const char *name, *task, *engine, *model_file;
    listed_file *files; /* sorted by path */
    size_t file_count;
} bundle;

/* Whether Python's str.isprintable would say no: controls, separators but the space, formats, private use. */
static bool is_unprintable(uint32_t point) {
    static const uint32_t ranges[][2] = {
        {0x00, 0x1F},       {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},
        {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x1680, 0x1680},   {0x180E, 0x180E},   {0x2000, 0x200F},
        {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},   {0xE000, 0xF8FF},   {0xFEFF, 0xFEFF},
        {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},   {0xE0000, 0x10FFFF},
    };
    for (size_t index = 0; index < sizeof ranges / sizeof *ranges; index++) {
        if (point >= ranges[index][0] && point <= ranges[index][1]) return true;
    }
    return false;
}

static const char *path_fault(const char *path) {
    size_t characters = 0, part = 0, bytes = strlen(path);
    bool empty_part = false, climbs = false, marks = false, unprintable = false;
    for (size_t at = 0; at < bytes; characters++) {
        uint32_t point = 0;
        size_t step = utf8_character(path + at, bytes - at, &point);
        marks = marks || point == '\\' || point == ':';
        unprintable = unprintable || is_unprintable(point);
        at += step == 0 ? 1 : step;
    }
    for (size_t at = 0; at <= bytes; at++) {
        if (path[at] != '/' && path[at] != '\0') continue;
        size_t length = at - part;
        empty_part = empty_part || length == 0 || (length == 1 && path[part] == '.');
        climbs = climbs || (length == 2 && memcmp(path + part, "..", 2) == 0);
        part = at + 1;
    }
    if (bytes == 0 || characters > MAX_PATH_CHARACTERS) return "is empty or longer than 512 characters";
    if (path[0] == '/') return "is absolute";
    if (climbs) return "climbs out of the bundle";
    if (empty_part) return "has an empty or '.' part";
    if (marks) return "has a backslash or a colon (a drive or stream on Windows)";
    if (unprintable) return "has a control character";
    if (strcmp(path, MANIFEST) == 0) return "cannot list itself";
    return NULL;
}

static edgekit_code check_entry(const json_value *entry, listed_file *file, edgekit_error *error) {
    const json_value *path = json_get(entry, "path"), *size = json_get(entry, "size_bytes");
    const json_value *sha256 = json_get(entry, "sha256");
    if (!json_is(entry, JSON_OBJECT)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": an entry of files is not an object");
    }
    if (!json_is(path, JSON_STRING)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": an entry of files has no path");
    }
    const char *fault = path_fault(path->text);
    if (fault != NULL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": the path '%.200s' %s", path->text, fault);
    }
    if (!json_is_whole(size) || size->integer < 0) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": size_bytes of '%.200s' is no size", path->text);
    }
    if (!json_is(sha256, JSON_STRING) || strlen(sha256->text) != 64 ||
        strspn(sha256->text, "0123456789abcdef") != 64) {
        return fail(error, EDGEKIT_BUNDLE_INVALID,
                    MANIFEST ": sha256 of '%.200s' is not 64 lower-case hexadecimal digits", path->text);
    }
    *file = (listed_file){path->text, sha256->text, size->integer, -1};
    return EDGEKIT_OK;
}

static int files_by_path(const void *one, const void *other) {
    return strcmp(((const listed_file *)one)->path, ((const listed_file *)other)->path);
}

/* Lower case of the Latin, Greek and Cyrillic letters, by which some disks take two names for one. */
static uint32_t folded(uint32_t point) {
    if ((point >= 'A' && point <= 'Z') || (point >= 0xC0 && point <= 0xDE && point != 0xD7)) return point + 32;
    if ((point >= 0x100 && point <= 0x137) || (point >= 0x14A && point <= 0x177)) return point | 1;
    if ((point >= 0x139 && point <= 0x148) || (point >= 0x179 && point <= 0x17E)) return point + (point & 1);
    if ((point >= 0x391 && point <= 0x3A9) || (point >= 0x410 && point <= 0x42F)) return point + 32;
    return point >= 0x400 && point <= 0x40F ? point + 80 : point;
}

static int paths_folded(const void *one, const void *other) {
    const char *a = *(const char *const *)one, *b = *(const char *const *)other;
    while (*a != '\0' && *b != '\0') {
        uint32_t left = 0, right = 0;
        a += utf8_character(a, strlen(a), &left);
        b += utf8_character(b, strlen(b), &right);
        if (folded(left) != folded(right)) return folded(left) < folded(right) ? -1 : 1;
    }
    return (*a != '\0') - (*b != '\0');
}

static edgekit_code check_twins(const bundle *self, edgekit_error *error) {
    const char **paths = malloc(self->file_count * sizeof *paths);
    edgekit_code code = EDGEKIT_OK;
    if (paths == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for the manifest's files");
    for (size_t index = 0; index < self->file_count; index++) paths[index] = self->files[index].path;
    qsort(paths, self->file_count, sizeof *paths, paths_folded);
    for (size_t index = 1; index < self->file_count && code == EDGEKIT_OK; index++) {
        if (paths_folded(&paths[index - 1], &paths[index]) == 0) {
            code = fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " lists '%.200s' twice", paths[index]);
        }
    }
    free(paths);
    return code;
}

static edgekit_code check_files(bundle *self, edgekit_error *error) {
    const json_value *entries = json_get(self->manifest, "files");
    if (!json_is(entries, JSON_ARRAY) || entries->count == 0 || entries->count > MAX_FILES) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": files is not a list of 1 to %d entries", MAX_FILES);
    }
    self->files = calloc(entries->count, sizeof *self->files);
    if (self->files == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for the manifest's files");
    for (const json_value *entry = entries->first; entry != NULL; entry = entry->next) {
        edgekit_code code = check_entry(entry, &self->files[self->file_count++], error);
        if (code != EDGEKIT_OK) return code;
    }
    qsort(self->files, self->file_count, sizeof *self->files, files_by_path);
    return check_twins(self, error);
}

static listed_file *find_file(const bundle *self, const char *path) {
    listed_file wanted = {path, NULL, 0, 0};
    return bsearch(&wanted, self->files, self->file_count, sizeof *self->files, files_by_path);
}

static edgekit_code check_version(const json_value *manifest, edgekit_error *error) {
    const json_value *version = json_get(manifest, "schema_version");
    if (!json_is_whole(version) || version->integer < 1) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": schema_version is %.*s, expected %d",
                    version == NULL ? 7 : (int)(version->source_bytes < 40 ? version->source_bytes : 40),
                    version == NULL ? "missing" : version->source, SCHEMA_VERSION);
    }
    if (version->integer > SCHEMA_VERSION) {
        return fail(error, EDGEKIT_BUNDLE_INVALID,
                    MANIFEST " has schema_version %lld, this runtime reads %d: update edgekit-runtime",
                    (long long)version->integer, SCHEMA_VERSION);
    }
    return EDGEKIT_OK;
}

static bool holds_strings(const json_value *list) {
    if (!json_is(list, JSON_ARRAY)) return false;
    for (const json_value *each = list->first; each != NULL; each = each->next) {
        if (each->kind != JSON_STRING) return false;
    }
    return true;
}

/* The ids that end an answer, besides those of which the engine knows it. */
static edgekit_code check_ends(const json_value *manifest, edgekit_error *error) {
    const json_value *ends = json_get(json_get(manifest, "generation"), "eos_token_ids");
    bool sound = ends == NULL || ends->kind == JSON_NULL || ends->kind == JSON_ARRAY;
    for (const json_value *each = json_is(ends, JSON_ARRAY) ? ends->first : NULL; each != NULL; each = each->next) {
        sound = sound && json_is_whole(each);
    }
    if (sound) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": generation.eos_token_ids is no list of token ids");
}

static edgekit_code check_sections(const json_value *manifest, edgekit_error *error) {
    static const char *const sections[] = {"text",   "image",   "embedding", "generation",
                                           "memory", "min_isa", "device"};
    for (size_t index = 0; index < sizeof sections / sizeof *sections; index++) {
        const json_value *section = json_get(manifest, sections[index]);
        if (section != NULL && section->kind != JSON_OBJECT && section->kind != JSON_NULL) {
            return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": %s is neither an object nor null", sections[index]);
        }
    }
    const json_value *labels = json_get(manifest, "labels"), *min_isa = json_get(manifest, "min_isa");
    if (labels != NULL && !holds_strings(labels)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": labels is not a list of strings");
    }
    for (const json_value *names = min_isa == NULL ? NULL : min_isa->first; names != NULL; names = names->next) {
        if (!holds_strings(names)) {
            return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": min_isa does not hold lists of feature names");
        }
    }
    return check_ends(manifest, error);
}

static edgekit_code check_manifest(bundle *self, edgekit_error *error) {
    static const char *const tasks[] = {"embedding",           "text-classification",  "token-classification",
                                        "causal-lm",           "image-classification", "tensors"};
    const struct {
        const char *key, **value;
    } strings[] = {{"name", &self->name},
                   {"task", &self->task},
                   {"engine", &self->engine},
                   {"model_file", &self->model_file}};
    edgekit_code code = check_version(self->manifest, error);
    bool known = false;
    if (code != EDGEKIT_OK) return code;
    for (size_t index = 0; index < sizeof strings / sizeof *strings; index++) {
        const json_value *value = json_get(self->manifest, strings[index].key);
        if (!json_is(value, JSON_STRING)) {
            return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": %s is missing or not a string", strings[index].key);
        }
        *strings[index].value = value->text;
    }
    for (size_t index = 0; index < sizeof tasks / sizeof *tasks; index++) {
        known = known || strcmp(self->task, tasks[index]) == 0;
    }
    if (!known) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": task '%.60s' is not one this runtime knows", self->task);
    }
    if ((code = check_sections(self->manifest, error)) != EDGEKIT_OK) return code;
    if ((code = check_files(self, error)) != EDGEKIT_OK) return code;
    if (find_file(self, self->model_file) == NULL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": model_file '%.200s' is not among the listed files",
                    self->model_file);
    }
    return EDGEKIT_OK;
}

static void bundle_free(bundle *self) {
    json_free(&self->document);
    free(self->files);
    free(self->text);
    free(self->folder);
    memset(self, 0, sizeof *self);
}

/* The manifest, its shape checked as far as the runtime relies on it; no other file is looked at. */
static edgekit_code bundle_read(bundle *self, const char *folder, edgekit_error *error) {
    struct stat status;
    size_t bytes = 0, length = folder == NULL ? 0 : strlen(folder);
    memset(self, 0, sizeof *self);
    if (length == 0) return fail(error, EDGEKIT_BUNDLE_INVALID, "no folder is named");
    int found = stat(folder, &status);
    if (found == 0 && S_ISREG(status.st_mode) && length > 4 && strcmp(folder + length - 4, ".zip") == 0) {
        return fail(error, EDGEKIT_BUNDLE_INVALID,
                    "%.300s is a zip file: unpack it and open the folder, models load by path", folder);
    }
    if (found != 0 || !S_ISDIR(status.st_mode)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s is not a folder", folder);
    }
    self->folder = strdup(folder);
    char *path = path_join(folder, MANIFEST);
    if (self->folder == NULL || path == NULL) {
        free(path);
        return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
    }
    self->text = read_whole(path, MAX_MANIFEST_BYTES, &bytes);
    int reason = self->text == NULL ? errno : 0;
    bool linked = lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
    free(path);
    if (linked) return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " is a symbolic link");
    if (reason == ENOENT || reason == EINVAL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s holds no " MANIFEST ": not a bundle", folder);
    }
    if (reason == EFBIG) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " is larger than %u bytes", MAX_MANIFEST_BYTES);
    }
    if (reason != 0) return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " cannot be read: %s", strerror(reason));
    if (!json_parse(&self->document, self->text, bytes, MAX_MANIFEST_VALUES)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " is not valid JSON: %s", self->document.why);
    }
    self->manifest = self->document.root;
    if (self->manifest->kind != JSON_OBJECT) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " is not a JSON object");
    }
    return check_manifest(self, error);
}

static int entries_by_name(const struct dirent **one, const struct dirent **other) {
    return strcmp((*one)->d_name, (*other)->d_name);
}

static bool is_compiled_python(const char *path) {
    static const char cache[] = "/__pycache__/";
    const char *name = strrchr(path, '/');
    size_t length = strlen(path), folder = name == NULL ? 0 : (size_t)(name - path) + 1;
    return folder >= sizeof cache - 1 && memcmp(path + folder - (sizeof cache - 1), cache, sizeof cache - 1) == 0 &&
           length > 4 && strcmp(path + length - 4, ".pyc") == 0;
}

static edgekit_code walk(bundle *self, const char *prefix, int depth, char **unlisted, edgekit_error *error);

/* One entry of the folder: a folder is walked, a listed file's size noted, the first unlisted one remembered. */
static edgekit_code walk_entry(bundle *self, const char *path, int depth, char **unlisted, edgekit_error *error) {
    struct stat status;
    char *full = path_join(self->folder, path);
    int found = full == NULL ? -1 : lstat(full, &status);
    free(full);
    if (found != 0) return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s cannot be read: %s", path, strerror(errno));
    if (S_ISLNK(status.st_mode)) return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s is a symbolic link", path);
    if (S_ISDIR(status.st_mode)) return walk(self, path, depth + 1, unlisted, error);
    if (!S_ISREG(status.st_mode)) return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s is not a regular file", path);
    listed_file *file = find_file(self, path);
    if (file != NULL) {
        file->found_bytes = status.st_size;
    } else if (strcmp(path, MANIFEST) != 0 && !is_compiled_python(path) && *unlisted == NULL) {
        *unlisted = strdup(path);
        if (*unlisted == NULL) return fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path");
    }
    return EDGEKIT_OK;
}

static edgekit_code walk(bundle *self, const char *prefix, int depth, char **unlisted, edgekit_error *error) {
    struct dirent **entries = NULL;
    char *folder = prefix[0] == '\0' ? strdup(self->folder) : path_join(self->folder, prefix);
    edgekit_code code = EDGEKIT_OK;
    if (depth > MAX_FOLDER_DEPTH) {
        free(folder);
        return fail(error, EDGEKIT_BUNDLE_INVALID, "a folder of the bundle lies more than %d deep: %.80s",
                    MAX_FOLDER_DEPTH, prefix);
    }
    int count = folder == NULL ? -1 : scandir(folder, &entries, NULL, entries_by_name);
    free(folder);
    if (count < 0) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s cannot be read: %s", prefix[0] ? prefix : self->folder,
                    strerror(errno));
    }
    for (int index = 0; index < count; index++) {
        const char *name = entries[index]->d_name;
        if (code == EDGEKIT_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *path = prefix[0] == '\0' ? strdup(name) : path_join(prefix, name);
            code = path == NULL ? fail(error, EDGEKIT_LOAD_FAILED, "there is no memory for a path")
                                : walk_entry(self, path, depth, unlisted, error);
            free(path);
        }
        free(entries[index]);
    }
    free(entries);
    return code;
}

static edgekit_code check_hash(const bundle *self, const listed_file *file, edgekit_error *error) {
    enum { PIECE = 1 << 16 };
    char digits[65], *path = path_join(self->folder, file->path);
    unsigned char *piece = malloc(PIECE);
    int descriptor = path == NULL || piece == NULL ? -1 : open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = descriptor < 0 ? -1 : 1;
    sha256_state state;
    sha256_start(&state);
    while (got > 0 || (got < 0 && descriptor >= 0 && errno == EINTR)) {
        got = read(descriptor, piece, PIECE);
        if (got > 0) sha256_add(&state, piece, (size_t)got);
    }
    int reason = errno;
    if (descriptor >= 0) close(descriptor);
    free(piece);
    free(path);
    if (got < 0) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s cannot be read: %s", file->path, strerror(reason));
    }
    sha256_end(&state, digits);
    if (strcmp(digits, file->sha256) != 0) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s was changed: sha256 %.12s..., %.12s... was packed",
                    file->path, digits, file->sha256);
    }
    return EDGEKIT_OK;
}

/* Every file is there, of the size and the hash that were packed, and no other is. Sizes come first: they are cheap. */
static edgekit_code bundle_verify(bundle *self, edgekit_error *error) {
    char *unlisted = NULL;
    edgekit_code code = walk(self, "", 0, &unlisted, error);
    for (size_t index = 0; index < self->file_count && code == EDGEKIT_OK; index++) {
        const listed_file *file = &self->files[index];
        if (file->found_bytes < 0) {
            code = fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s is missing from the bundle", file->path);
        } else if (file->found_bytes != file->size_bytes) {
            code = fail(error, EDGEKIT_BUNDLE_INVALID, "%.300s has %lld bytes, %lld were packed", file->path,
                        (long long)file->found_bytes, (long long)file->size_bytes);
        }
    }
    if (code == EDGEKIT_OK && unlisted != NULL) {
        code = fail(error, EDGEKIT_BUNDLE_INVALID,
                    "%.300s is in the bundle's folder and not in its manifest: remove it", unlisted);
    }
    free(unlisted);
    for (size_t index = 0; index < self->file_count && code == EDGEKIT_OK; index++) {
        code = check_hash(self, &self->files[index], error);
    }
    return code;
}

/* manifest[section][key] if it is of `kind`; NULL and BUNDLE_INVALID otherwise. */
static const json_value *bundle_setting(const bundle *self, const char *section, const char *key, enum json_kind kind,
                                        edgekit_error *error) {
    const json_value *value = json_get(json_get(self->manifest, section), key);
    if (json_is(value, kind) && (kind != JSON_NUMBER || value->whole)) return value;
    fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST ": %s.%s is %.*s, which this task cannot use", section, key,
         value == NULL ? 7 : (int)(value->source_bytes < 40 ? value->source_bytes : 40),
         value == NULL ? "missing" : value->source);
    return NULL;
}

#endif
