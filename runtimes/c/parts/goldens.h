/* Goldens: recorded inputs with the outputs expected of them, replayed here. See docs/manifest.md. */
#ifndef EDGEKIT_GOLDENS_H
#define EDGEKIT_GOLDENS_H

#include "chat.h"
#include "classifying.h"
#include "differences.h"
#include "machine.h"
#include "tensors.h"

#define MAX_GOLDEN_INPUTS 64
#define MAX_GOLDEN_MESSAGES 64

struct edgekit_goldens {
    size_t count, room;
    edgekit_golden *items;
};

size_t edgekit_goldens_count(const edgekit_goldens *goldens) { return goldens == NULL ? 0 : goldens->count; }

const edgekit_golden *edgekit_goldens_at(const edgekit_goldens *goldens, size_t index) {
    return goldens == NULL || index >= goldens->count ? NULL : &goldens->items[index];
}

void edgekit_goldens_free(edgekit_goldens *goldens) {
    if (goldens == NULL) return;
    for (size_t index = 0; index < goldens->count; index++) free((char *)(uintptr_t)goldens->items[index].name);
    free(goldens->items);
    free(goldens);
}

/* One case being replayed. */
typedef struct golden_case {
    edgekit_session *session;
    const json_value *stored, *input, *expected;
    const char *name, *kind;
    edgekit_goldens *results;
    edgekit_error *error;
} golden_case;

static edgekit_code malformed(const golden_case *self, const char *why) {
    return fail(self->error, EDGEKIT_BUNDLE_INVALID, GOLDEN ": the case '%.100s' is malformed: %s", self->name, why);
}

static edgekit_code no_memory(const golden_case *self) {
    return fail(self->error, EDGEKIT_RUN_FAILED, "there is no memory for the self-test");
}

static edgekit_code golden_add(const golden_case *self, const char *suffix, double difference, double tolerance) {
    edgekit_goldens *results = self->results;
    size_t bytes = strlen(self->name) + strlen(suffix) + 1;
    char *name = malloc(bytes);
    if (results->count == results->room) {
        size_t room = 2 * results->room + 16;
        edgekit_golden *grown = realloc(results->items, room * sizeof *grown);
        if (grown != NULL) results->items = grown, results->room = room;
    }
    if (name == NULL || results->count == results->room) {
        free(name);
        return no_memory(self);
    }
    snprintf(name, bytes, "%s%s", self->name, suffix);
    results->items[results->count++] = (edgekit_golden){name, difference <= tolerance, difference, tolerance};
    return EDGEKIT_OK;
}

/* This CPU's tolerance: the most particular key that applies wins, among equals the widest. NaN where it is no number. */
static double tolerance_here(const json_value *tolerance) {
    static const char prefix[] = MACHINE_ARCH "+";
    const json_value *arch = json_get(tolerance, MACHINE_ARCH);
    double usual = json_number(json_get(tolerance, "default")), particular = -1;
    for (const json_value *each = tolerance->first; each != NULL; each = each->next) {
        if (strncmp(each->key, prefix, sizeof prefix - 1) != 0) continue;
        char feature[32];
        snprintf(feature, sizeof feature, "%.*s", (int)strcspn(each->key + sizeof prefix - 1, "+"),
                 each->key + sizeof prefix - 1);
        if (has_feature(feature) != 1) continue;
        if (each->kind != JSON_NUMBER) return (double)NAN;
        if (json_number(each) > particular) particular = json_number(each);
    }
    return isnan(usual) ? usual : particular >= 0 ? particular : arch != NULL ? json_number(arch) : usual;
}

/* The two rows of a case: how far the answer is off, and for text how many token ids differ. */
static edgekit_code golden_tell(const golden_case *self, const answer *found, const int32_t *ids, size_t count) {
    const json_value *tolerance = json_get(self->stored, "tolerance"), *metric = json_get(tolerance, "metric");
    const json_value *tokens = json_get(self->expected, "token_ids");
    double limit = tolerance_here(tolerance), away = 0;
    if (isnan(limit)) return malformed(self, "its tolerance is no number");
    bool cosine = json_is(metric, JSON_STRING) && strcmp(metric->text, "cosine") == 0;
    if (!cosine && !(json_is(metric, JSON_STRING) && strcmp(metric->text, "max_abs") == 0)) {
        return malformed(self, "its metric is neither cosine nor max_abs");
    }
    const char *fault = answer_difference(self->kind, json_get(self->expected, "values"), found, cosine, &away);
    if (fault != NULL) return malformed(self, fault);
    edgekit_code code = golden_add(self, "", away, limit);
    if (code != EDGEKIT_OK || tokens == NULL || ids == NULL) return code;
    if (!json_is(tokens, JSON_ARRAY)) return malformed(self, "token_ids is no list");
    size_t wrong = tokens->count > count ? tokens->count - count : count - tokens->count, at = 0;
    for (const json_value *each = tokens->first; each != NULL && at < count; each = each->next, at++) {
        if (!json_is_whole(each)) return malformed(self, "a token id is no whole number");
        wrong += each->integer != ids[at];
    }
    return golden_add(self, " tokens", (double)wrong, 0);
}

static edgekit_code check_kind(const golden_case *self, const char *given) {
    if (strcmp(self->kind, given) == 0) return EDGEKIT_OK;
    return fail(self->error, EDGEKIT_BUNDLE_INVALID,
                GOLDEN ": the case '%.100s' is malformed: expected is of kind '%.40s', this bundle gives '%s'",
                self->name, self->kind, given);
}

static edgekit_code replay_tensors(const golden_case *self, const json_value *tensors) {
    edgekit_tensor inputs[MAX_GOLDEN_INPUTS];
    size_t count = 0;
    edgekit_outputs *outputs = NULL;
    edgekit_code code = check_served(self->session, "run", self->error);
    if (code == EDGEKIT_OK) code = check_kind(self, "outputs");
    if (code != EDGEKIT_OK) return code;
    if (tensors->count > MAX_GOLDEN_INPUTS) return malformed(self, "it has too many tensors");
    for (const json_value *each = tensors->first; each != NULL && code == EDGEKIT_OK; each = each->next) {
        if (tensor_decode(each, &inputs[count])) {
            count++;
        } else {
            code = malformed(self, "a tensor's dtype, shape and data do not fit");
        }
    }
    if (code == EDGEKIT_OK) {
        code = onnx_run(self->session->onnx, inputs, count, EVERY_OUTPUT, &outputs, self->error);
    }
    if (code == EDGEKIT_OK) code = golden_tell(self, &(answer){.outputs = outputs}, NULL, 0);
    edgekit_outputs_free(outputs);
    while (count > 0) free(inputs[--count].data);
    return code;
}

/* Scores of what follows the last of `ids`; the ids themselves are compared where they come of a text. */
static edgekit_code replay_logits(const golden_case *self, const int32_t *ids, size_t count, bool of_text) {
    llama_engine *llama = self->session->llama;
    size_t width = (size_t)llama->vocabulary;
    float *scores = malloc((width + 1) * sizeof *scores);
    if (scores == NULL) return no_memory(self);
    edgekit_code code = check_kind(self, "logits");
    if (code == EDGEKIT_OK) code = llama_forced(llama, ids, count, take_last, scores, self->error);
    if (code == EDGEKIT_OK) {
        answer found = {.values = scores, .count = width, .picked = json_get(self->expected, "ids")};
        code = golden_tell(self, &found, of_text ? ids : NULL, count);
    }
    free(scores);
    return code;
}

/* A list of token ids, to be freed; NULL and BUNDLE_INVALID otherwise. */
static int32_t *golden_ids(const golden_case *self, const json_value *list, size_t *count, edgekit_code *code) {
    int32_t *ids = json_is(list, JSON_ARRAY) ? malloc((list->count + 1) * sizeof *ids) : NULL;
    *count = 0;
    *code = EDGEKIT_OK;
    for (const json_value *each = ids == NULL ? NULL : list->first; each != NULL; each = each->next) {
        if (!json_is_whole(each) || each->integer < INT32_MIN || each->integer > INT32_MAX) {
            free(ids);
            ids = NULL;
            break;
        }
        ids[(*count)++] = (int32_t)each->integer;
    }
    if (ids == NULL) *code = malformed(self, "its ids are no list of whole numbers");
    return ids;
}

/* Where the template is more than a string of turns the recorded ids stand for the messages, and are not compared. */
static edgekit_code replay_messages(const golden_case *self, const json_value *messages) {
    edgekit_message given[MAX_GOLDEN_MESSAGES];
    size_t count = 0, id_count = 0;
    int32_t *ids = NULL;
    buffer prompt = {0};
    edgekit_code code = check_served(self->session, "chat", self->error);
    if (code != EDGEKIT_OK) return code;
    const json_value *generation = json_get(self->session->bundle.manifest, "generation");
    bool can_render = json_is(json_get(generation, "chat_format"), JSON_OBJECT);
    if (!json_is(messages, JSON_ARRAY) || messages->count > MAX_GOLDEN_MESSAGES) {
        return malformed(self, "messages is no list of at most 64");
    }
    for (const json_value *each = messages->first; each != NULL; each = each->next) {
        const json_value *role = json_get(each, "role"), *content = json_get(each, "content");
        if (!json_is(role, JSON_STRING) || !json_is(content, JSON_STRING)) {
            return malformed(self, "a message has no role or content");
        }
        given[count++] = (edgekit_message){role->text, content->text};
    }
    if (can_render) {
        code = chat_prompt(&self->session->bundle, given, count, &prompt, self->error);
        if (code == EDGEKIT_OK) code = session_ids(self->session, prompt.bytes, false, &ids, &id_count, self->error);
    } else {
        ids = golden_ids(self, json_get(self->expected, "token_ids"), &id_count, &code);
    }
    if (code == EDGEKIT_OK) code = replay_logits(self, ids, id_count, can_render);
    buffer_free(&prompt);
    free(ids);
    return code;
}

static edgekit_code replay_embedding(const golden_case *self, const char *text, const int32_t *ids, size_t count) {
    size_t width = embedding_width(self->session);
    float *vector = malloc((width + 1) * sizeof *vector);
    if (vector == NULL) return no_memory(self);
    edgekit_code code = check_kind(self, "embedding");
    if (code == EDGEKIT_OK) code = session_embed(self->session, text, vector, width, self->error);
    if (code == EDGEKIT_OK) code = golden_tell(self, &(answer){.values = vector, .count = width}, ids, count);
    free(vector);
    return code;
}

static edgekit_code replay_scores(const golden_case *self, const char *text, const int32_t *ids, size_t count) {
    edgekit_labels *labels = NULL;
    edgekit_code code = check_kind(self, "scores");
    if (code == EDGEKIT_OK) code = session_classify(self->session, text, NULL, &labels, self->error);
    if (code == EDGEKIT_OK) code = golden_tell(self, &(answer){.labels = labels}, ids, count);
    edgekit_labels_free(labels);
    return code;
}

/* What the graph gives of one text, cut to max_tokens. */
static edgekit_code replay_outputs(const golden_case *self, const char *text, const int32_t *ids, size_t count) {
    text_encoding encoding = {0};
    edgekit_outputs *outputs = NULL;
    edgekit_code code = check_served(self->session, "run", self->error);
    if (code == EDGEKIT_OK) code = check_kind(self, "outputs");
    if (code == EDGEKIT_OK) code = encode_cut(self->session, text, NULL, &encoding, self->error);
    if (code == EDGEKIT_OK) {
        code = run_ids(self->session, encoding.ids, encoding.types, encoding.count, EVERY_OUTPUT, &outputs,
                       self->error);
    }
    if (code == EDGEKIT_OK) code = golden_tell(self, &(answer){.outputs = outputs}, ids, count);
    edgekit_outputs_free(outputs);
    text_encoding_free(&encoding);
    return code;
}

static edgekit_code replay_text(const golden_case *self, const char *text) {
    int32_t *ids = NULL;
    size_t count = 0;
    edgekit_code code = check_served(self->session, "tokenize", self->error);
    if (code == EDGEKIT_OK) code = session_ids(self->session, text, true, &ids, &count, self->error);
    if (code != EDGEKIT_OK) return code;
    if (is_task(self->session, "causal-lm")) {
        code = check_served(self->session, "logits", self->error);
        if (code == EDGEKIT_OK) code = replay_logits(self, ids, count, true);
    } else if (is_task(self->session, "embedding")) {
        code = replay_embedding(self, text, ids, count);
    } else if (is_task(self->session, "text-classification")) {
        code = replay_scores(self, text, ids, count);
    } else {
        code = replay_outputs(self, text, ids, count);
    }
    free(ids);
    return code;
}

static edgekit_code replay_case(golden_case *self) {
    const json_value *name = json_get(self->stored, "name"), *kind = NULL;
    self->input = json_get(self->stored, "input");
    self->expected = json_get(self->stored, "expected");
    kind = json_get(self->expected, "kind");
    if (!json_is(name, JSON_STRING) || !json_is(self->input, JSON_OBJECT) || !json_is(self->expected, JSON_OBJECT) ||
        !json_is(json_get(self->stored, "tolerance"), JSON_OBJECT)) {
        return fail(self->error, EDGEKIT_BUNDLE_INVALID,
                    GOLDEN ": cases is not a list of objects with name, input, expected, tolerance");
    }
    self->name = name->text;
    if (!json_is(kind, JSON_STRING)) return malformed(self, "what it expects has no kind");
    self->kind = kind->text;
    const json_value *tensors = json_get(self->input, "tensors"), *messages = json_get(self->input, "messages");
    const json_value *text = json_get(self->input, "text"), *ids = json_get(self->input, "ids");
    if (json_is(tensors, JSON_OBJECT) && tensors->count > 0) return replay_tensors(self, tensors);
    if (messages != NULL) return replay_messages(self, messages);
    if (json_is(text, JSON_STRING)) return replay_text(self, text->text);
    if (ids == NULL) return malformed(self, "its input is neither text, ids, tensors nor messages");
    edgekit_code code = check_served(self->session, "logits", self->error);
    if (code != EDGEKIT_OK) return code;
    size_t count = 0;
    int32_t *given = golden_ids(self, ids, &count, &code);
    if (given != NULL) code = replay_logits(self, given, count, false);
    free(given);
    return code;
}

/* The file as a document; `*text` must outlive it. */
static edgekit_code read_goldens(const bundle *packed, char **text, json_document *document, edgekit_error *error) {
    size_t bytes = 0;
    memset(document, 0, sizeof *document);
    if (find_file(packed, GOLDEN) == NULL) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, MANIFEST " uses '" GOLDEN "' and does not list it");
    }
    char *path = path_join(packed->folder, GOLDEN);
    errno = ENOMEM;
    *text = path == NULL ? NULL : read_whole(path, MAX_GOLDEN_BYTES, &bytes);
    int reason = errno;
    free(path);
    if (*text == NULL && reason == EFBIG) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, GOLDEN " is larger than %u bytes", MAX_GOLDEN_BYTES);
    }
    if (*text == NULL) return fail(error, EDGEKIT_BUNDLE_INVALID, GOLDEN " cannot be read: %s", strerror(reason));
    if (!json_parse(document, *text, bytes, MAX_GOLDEN_VALUES)) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, GOLDEN " is not valid JSON: %s", document->why);
    }
    const json_value *version = json_get(document->root, "schema_version");
    if (!json_is_whole(version) || version->integer != 1) {
        return fail(error, EDGEKIT_BUNDLE_INVALID, GOLDEN " has not the schema_version 1");
    }
    if (json_is(json_get(document->root, "cases"), JSON_ARRAY)) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BUNDLE_INVALID,
                GOLDEN ": cases is not a list of objects with name, input, expected, tolerance");
}

static edgekit_code session_self_test(edgekit_session *self, edgekit_goldens **goldens, edgekit_error *error) {
    char *text = NULL;
    json_document document;
    if (goldens == NULL) return fail(error, EDGEKIT_BAD_INPUT, "goldens is NULL");
    *goldens = NULL;
    edgekit_code code = read_goldens(&self->bundle, &text, &document, error);
    edgekit_goldens *results = calloc(1, sizeof *results);
    if (results == NULL && code == EDGEKIT_OK) code = fail(error, EDGEKIT_RUN_FAILED, "there is no memory for a call");
    const json_value *stored = code == EDGEKIT_OK ? json_get(document.root, "cases")->first : NULL;
    for (; stored != NULL && code == EDGEKIT_OK; stored = stored->next) {
        golden_case one = {.session = self, .stored = stored, .results = results, .error = error};
        code = replay_case(&one);
    }
    json_free(&document);
    free(text);
    if (code == EDGEKIT_OK) {
        *goldens = results;
    } else {
        edgekit_goldens_free(results);
    }
    return code;
}

#endif
