/* The C runtime behind the suite's protocol (README.md here): a JSON request a line in, a JSON answer a line out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgekit.h"
#include "parts/base64.h"
#include "parts/json.h"

#define MAX_VALUES 4000000
#define MOST 64

static edgekit_session *session;
static edgekit_error error;
static char task[64];

static const struct {
    const char *name;
    edgekit_dtype dtype;
} dtypes[] = {{"float32", EDGEKIT_FLOAT32}, {"float64", EDGEKIT_FLOAT64}, {"float16", EDGEKIT_FLOAT16},
              {"int64", EDGEKIT_INT64},     {"int32", EDGEKIT_INT32},     {"int16", EDGEKIT_INT16},
              {"int8", EDGEKIT_INT8},       {"uint64", EDGEKIT_UINT64},   {"uint32", EDGEKIT_UINT32},
              {"uint16", EDGEKIT_UINT16},   {"uint8", EDGEKIT_UINT8},     {"bool", EDGEKIT_BOOL}};

static const char *text_of(const json_value *request, const char *key) {
    const json_value *value = json_get(request, key);
    return json_is(value, JSON_STRING) ? value->text : NULL;
}

static int64_t number_of(const json_value *request, const char *key) {
    const json_value *value = json_get(request, key);
    return json_is_whole(value) ? value->integer : 0;
}

static void refuse(edgekit_code code) {
    if (code != error.code) abort();
    printf("{\"error\": \"%s\", \"message\": ", edgekit_code_name(code));
    json_write(stdout, error.message);
    fputs("}\n", stdout);
}

static void write_number(double number) {
    if (number - number == 0) {
        printf("%.9g", number);
    } else {
        fputs("null", stdout);
    }
}

static edgekit_tensor tensor_of(const json_value *stored) {
    edgekit_tensor tensor = {0};
    const char *dtype = text_of(stored, "dtype"), *packed = text_of(stored, "base64");
    const json_value *shape = json_get(stored, "shape");
    tensor.name = stored->key;
    for (size_t index = 0; index < sizeof dtypes / sizeof *dtypes; index++) {
        if (dtype != NULL && strcmp(dtypes[index].name, dtype) == 0) tensor.dtype = dtypes[index].dtype;
    }
    for (const json_value *axis = shape == NULL ? NULL : shape->first; axis != NULL; axis = axis->next) {
        if (tensor.rank == EDGEKIT_MAX_RANK) abort();
        tensor.shape[tensor.rank++] = axis->integer;
    }
    tensor.data = packed == NULL ? NULL : base64_decode(packed, &tensor.bytes);
    if (tensor.data == NULL) abort();
    return tensor;
}

static void write_tensor(const edgekit_tensor *tensor) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *data = tensor->data;
    const char *name = "";
    for (size_t index = 0; index < sizeof dtypes / sizeof *dtypes; index++) {
        if (dtypes[index].dtype == tensor->dtype) name = dtypes[index].name;
    }
    printf("{\"dtype\": \"%s\", \"shape\": [", name);
    for (int axis = 0; axis < tensor->rank; axis++) printf("%s%lld", axis ? ", " : "", (long long)tensor->shape[axis]);
    fputs("], \"base64\": \"", stdout);
    for (size_t at = 0; at < tensor->bytes; at += 3) {
        size_t left = tensor->bytes - at;
        unsigned group = (unsigned)data[at] << 16 | (left > 1 ? (unsigned)data[at + 1] << 8 : 0) |
                         (left > 2 ? (unsigned)data[at + 2] : 0);
        putchar(digits[group >> 18]);
        putchar(digits[group >> 12 & 63]);
        putchar(left > 1 ? digits[group >> 6 & 63] : '=');
        putchar(left > 2 ? digits[group & 63] : '=');
    }
    fputs("\"}", stdout);
}

static edgekit_code do_open(const json_value *request) {
    edgekit_options options;
    edgekit_free(session);
    session = NULL;
    edgekit_options_init(&options);
    options.engine_library = text_of(request, "engine_library");
    options.text_library = text_of(request, "text_library");
    options.threads = (int32_t)number_of(request, "threads");
    options.memory_budget_bytes = (uint64_t)number_of(request, "memory_budget");
    options.low_memory = json_is(json_get(request, "low_memory"), JSON_TRUE);
    edgekit_code code = edgekit_open(text_of(request, "bundle"), &options, &session, &error);
    if (code != EDGEKIT_OK) return code;
    json_document info;
    const char *text = edgekit_info(session);
    if (!json_parse(&info, text, strlen(text), MAX_VALUES)) abort();
    snprintf(task, sizeof task, "%s", text_of(info.root, "task"));
    static const char *const keys[] = {"name", "task", "engine"};
    fputs("{\"ok\": {", stdout);
    for (size_t index = 0; index < 3; index++) {
        printf("\"%s\": ", keys[index]);
        json_write(stdout, text_of(info.root, keys[index]));
        fputs(", ", stdout);
    }
    printf("\"threads\": %d}}\n", (int)number_of(json_get(info.root, "runtime"), "threads"));
    json_free(&info);
    return EDGEKIT_OK;
}

static edgekit_code do_verify(const json_value *request) {
    const char *folder = text_of(request, "bundle");
    edgekit_code code = edgekit_verify(folder, &error);
    if (code != EDGEKIT_OK) return code;
    char path[4096], *text = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s/edgekit.json", folder);
    FILE *file = fopen(path, "rb");
    ssize_t bytes = file == NULL ? -1 : getdelim(&text, &room, EOF, file);
    json_document manifest;
    if (bytes < 0 || !json_parse(&manifest, text, (size_t)bytes, MAX_VALUES)) abort();
    fclose(file);
    fputs("{\"ok\": {\"name\": ", stdout);
    json_write(stdout, text_of(manifest.root, "name"));
    fputs("}}\n", stdout);
    json_free(&manifest);
    free(text);
    return EDGEKIT_OK;
}

static edgekit_code do_tokenize(const json_value *request) {
    int32_t *ids = NULL;
    size_t count = 0;
    edgekit_code code = edgekit_tokenize(session, text_of(request, "text"), &ids, &count, &error);
    if (code != EDGEKIT_OK) return code;
    fputs("{\"ok\": [", stdout);
    for (size_t index = 0; index < count; index++) printf("%s%d", index ? ", " : "", (int)ids[index]);
    fputs("]}\n", stdout);
    edgekit_ids_free(ids);
    return EDGEKIT_OK;
}

static edgekit_code do_embed(const json_value *request) {
    size_t width = edgekit_embedding_width(session);
    float *vector = malloc((width + 1) * sizeof *vector);
    if (vector == NULL) abort();
    edgekit_code code = edgekit_embed(session, text_of(request, "text"), vector, width, &error);
    if (code == EDGEKIT_OK) {
        fputs("{\"ok\": [", stdout);
        for (size_t index = 0; index < width; index++) {
            if (index > 0) fputs(", ", stdout);
            write_number(vector[index]);
        }
        fputs("]}\n", stdout);
    }
    free(vector);
    return code;
}

/* With the words they stand for where `text` is not NULL. */
static void write_labels(edgekit_labels *labels, const char *text) {
    fputs("{\"ok\": [", stdout);
    for (size_t index = 0; index < edgekit_labels_count(labels); index++) {
        const edgekit_label *label = edgekit_labels_at(labels, index);
        printf("%s{\"label\": ", index ? ", " : "");
        json_write(stdout, label->label);
        fputs(", \"score\": ", stdout);
        write_number(label->score);
        if (text != NULL) {
            char *word = strndup(text + label->start, label->end - label->start);
            fputs(", \"word\": ", stdout);
            json_write(stdout, word);
            free(word);
        }
        putchar('}');
    }
    fputs("]}\n", stdout);
    edgekit_labels_free(labels);
}

static edgekit_code do_classify(const json_value *request) {
    edgekit_labels *labels = NULL;
    const char *text = text_of(request, "text");
    edgekit_code code = edgekit_classify(session, text, text_of(request, "pair"), &labels, &error);
    if (code == EDGEKIT_OK) write_labels(labels, strcmp(task, "token-classification") == 0 ? text : NULL);
    return code;
}

static edgekit_code do_classify_pixels(const json_value *request) {
    edgekit_labels *labels = NULL;
    edgekit_tensor picture = tensor_of(json_get(request, "picture"));
    edgekit_code code = edgekit_classify_pixels(session, picture.data, (int32_t)picture.shape[0],
                                                (int32_t)picture.shape[1], &labels, &error);
    free(picture.data);
    if (code == EDGEKIT_OK) write_labels(labels, NULL);
    return code;
}

static edgekit_code do_run(const json_value *request) {
    edgekit_tensor inputs[MOST] = {{0}};
    edgekit_outputs *outputs = NULL;
    size_t count = 0;
    const json_value *given = json_get(request, "inputs");
    for (const json_value *each = given->first; each != NULL && count < MOST; each = each->next) {
        inputs[count++] = tensor_of(each);
    }
    edgekit_code code = edgekit_run(session, inputs, count, &outputs, &error);
    while (count > 0) free(inputs[--count].data);
    if (code != EDGEKIT_OK) return code;
    fputs("{\"ok\": {", stdout);
    for (size_t index = 0; index < edgekit_outputs_count(outputs); index++) {
        const edgekit_tensor *output = edgekit_outputs_at(outputs, index);
        if (index > 0) fputs(", ", stdout);
        json_write(stdout, output->name);
        fputs(": ", stdout);
        write_tensor(output);
    }
    fputs("}}\n", stdout);
    edgekit_outputs_free(outputs);
    return EDGEKIT_OK;
}

/* Texts as they came, as JSON. */
typedef struct texts {
    FILE *file;
    char *text;
    size_t bytes, count;
} texts;

static int add_text(const char *text, void *user) {
    texts *to = user;
    if (to->count++ > 0) fputs(", ", to->file);
    json_write(to->file, text);
    return 0;
}

static edgekit_generation generation_of(const json_value *request, const char **stops) {
    edgekit_generation options;
    const json_value *stop = json_get(request, "stop"), *seed = json_get(request, "seed");
    const json_value *temperature = json_get(request, "temperature"), *top_p = json_get(request, "top_p");
    edgekit_generation_init(&options);
    options.max_tokens = (int32_t)number_of(request, "max_tokens");
    options.has_seed = json_is_whole(seed);
    options.no_special_tokens = json_is(json_get(request, "no_special_tokens"), JSON_TRUE);
    options.seed = (uint64_t)number_of(request, "seed");
    if (json_is(temperature, JSON_NUMBER)) options.temperature = (float)atof(temperature->source);
    if (json_is(top_p, JSON_NUMBER)) options.top_p = (float)atof(top_p->source);
    for (const json_value *one = stop == NULL ? NULL : stop->first; one != NULL; one = one->next) {
        if (options.stop_count < MOST) stops[options.stop_count++] = one->text;
    }
    options.stop = stops;
    return options;
}

static edgekit_code do_answer(const json_value *request, bool chats) {
    const char *stops[MOST];
    edgekit_message messages[MOST] = {{0}};
    size_t count = 0;
    texts found = {0};
    edgekit_generation options = generation_of(request, stops);
    const json_value *given = json_get(request, "messages");
    for (const json_value *each = given == NULL ? NULL : given->first; each != NULL && count < MOST;) {
        messages[count++] = (edgekit_message){text_of(each, "role"), text_of(each, "content")};
        each = each->next;
    }
    found.file = open_memstream(&found.text, &found.bytes);
    edgekit_code code =
        chats ? edgekit_chat(session, messages, count, &options, add_text, &found, &error)
              : edgekit_generate(session, text_of(request, "prompt"), &options, add_text, &found, &error);
    fclose(found.file);
    if (code == EDGEKIT_OK) printf("{\"ok\": [%s]}\n", found.text);
    free(found.text);
    return code;
}

static edgekit_code do_generate(const json_value *request) { return do_answer(request, false); }

static edgekit_code do_chat(const json_value *request) { return do_answer(request, true); }

static edgekit_code do_self_test(const json_value *request) {
    (void)request;
    edgekit_goldens *goldens = NULL;
    edgekit_code code = edgekit_self_test(session, &goldens, &error);
    if (code != EDGEKIT_OK) return code;
    fputs("{\"ok\": [", stdout);
    for (size_t index = 0; index < edgekit_goldens_count(goldens); index++) {
        const edgekit_golden *golden = edgekit_goldens_at(goldens, index);
        printf("%s{\"name\": ", index ? ", " : "");
        json_write(stdout, golden->name);
        printf(", \"passed\": %s, \"difference\": ", golden->passed ? "true" : "false");
        write_number(golden->difference);
        fputs(", \"tolerance\": ", stdout);
        write_number(golden->tolerance);
        putchar('}');
    }
    fputs("]}\n", stdout);
    edgekit_goldens_free(goldens);
    return EDGEKIT_OK;
}

static int cancel_now(const char *text, void *user) {
    (void)text, (void)user;
    edgekit_cancel(session);
    return 0;
}

static edgekit_code do_cancel(const json_value *request) {
    edgekit_generation options;
    edgekit_generation_init(&options);
    options.max_tokens = 64;
    edgekit_code code = edgekit_generate(session, text_of(request, "prompt"), &options, cancel_now, NULL, &error);
    if (code == EDGEKIT_OK) puts("{\"ok\": null}");
    return code;
}

/* The second call, from a thread of its own: none may be made in a callback. */
typedef struct rival {
    const char *prompt;
    edgekit_code code;
    edgekit_error error;
} rival;

static void *ask_too(void *user) {
    rival *self = user;
    edgekit_generation options;
    edgekit_generation_init(&options);
    self->code = edgekit_generate(session, self->prompt, &options, cancel_now, NULL, &self->error);
    return NULL;
}

static int ask_a_second_time(const char *text, void *user) {
    pthread_t thread;
    (void)text;
    if (pthread_create(&thread, NULL, ask_too, user) != 0) abort();
    pthread_join(thread, NULL);
    edgekit_cancel(session);
    return 0;
}

static edgekit_code do_busy(const json_value *request) {
    rival other = {.prompt = text_of(request, "prompt")};
    edgekit_code code = edgekit_generate(session, other.prompt, NULL, ask_a_second_time, &other, &error);
    if (code != EDGEKIT_CANCELLED) return code == EDGEKIT_OK ? abort(), code : code;
    error = other.error;
    if (other.code == EDGEKIT_OK) puts("{\"ok\": null}");
    return other.code;
}

static edgekit_code do_not_utf8(const json_value *request) {
    int32_t *ids = NULL;
    size_t count = 0;
    (void)request;
    edgekit_code code = edgekit_tokenize(session, "a\xff", &ids, &count, &error);
    if (code == EDGEKIT_OK) puts("{\"ok\": null}");
    edgekit_ids_free(ids);
    return code;
}

static edgekit_code do_close(const json_value *request) {
    (void)request;
    edgekit_close(session);
    puts("{\"ok\": null}");
    return EDGEKIT_OK;
}

static const struct {
    const char *op;
    edgekit_code (*run)(const json_value *);
} operations[] = {{"open", do_open},         {"verify", do_verify},     {"tokenize", do_tokenize},
                  {"embed", do_embed},       {"classify", do_classify}, {"classify_pixels", do_classify_pixels},
                  {"run", do_run},           {"generate", do_generate}, {"chat", do_chat},
                  {"self_test", do_self_test}, {"cancel", do_cancel},   {"busy", do_busy},
                  {"not_utf8", do_not_utf8}, {"close", do_close}};

int main(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    while ((bytes = getline(&line, &room, stdin)) > 0) {
        json_document request;
        size_t index = 0, count = sizeof operations / sizeof *operations;
        if (!json_parse(&request, line, (size_t)bytes, MAX_VALUES)) {
            fprintf(stderr, "a request %s\n", request.why);
            return 2;
        }
        const char *op = text_of(request.root, "op");
        while (index < count && (op == NULL || strcmp(operations[index].op, op) != 0)) index++;
        if (index == count) {
            fprintf(stderr, "there is no operation %s\n", op == NULL ? "" : op);
            return 2;
        }
        edgekit_code code = operations[index].run(request.root);
        if (code != EDGEKIT_OK) refuse(code);
        fflush(stdout);
        json_free(&request);
    }
    free(line);
    edgekit_free(session);
    return 0;
}
