/* What stands around the tokens of one text, or of two: the special tokens a model wants, and each token's segment. */
#ifndef EDGEKIT_POST_PROCESSOR_H
#define EDGEKIT_POST_PROCESSOR_H

#include "vocabulary.h"

#define POST_MAX_PIECES 256

enum { POST_FIRST, POST_SECOND, POST_SPECIAL };

/* All tokens of a sequence, or one special token, and their segment. */
typedef struct post_piece {
    int what;
    int32_t id, type;
} post_piece;

typedef struct post_template {
    post_piece pieces[POST_MAX_PIECES];
    size_t count, special;
} post_template;

typedef struct post_processor {
    post_template of[2]; /* of one text, of two */
} post_processor;

static inline const char *post_add(post_template *self, int what, int32_t id, int32_t type) {
    if (self->count == POST_MAX_PIECES) return "its post-processor adds too many tokens";
    self->pieces[self->count++] = (post_piece){what, id, type};
    self->special += what == POST_SPECIAL;
    return NULL;
}

static inline bool post_id(const json_value *value, int32_t *id) {
    bool valid = json_is_whole(value) && value->integer >= 0 && value->integer < VOCABULARY_MAX_ID;
    if (valid) *id = (int32_t)value->integer;
    return valid;
}

/* The segments alone: without a post-processor, and with one that only changes offsets. */
static inline void post_plain(post_processor *self) {
    memset(self, 0, sizeof *self);
    post_add(&self->of[0], POST_FIRST, 0, 0);
    post_add(&self->of[1], POST_FIRST, 0, 0);
    post_add(&self->of[1], POST_SECOND, 0, 1);
}

/* [CLS] a [SEP] and [CLS] a [SEP] b [SEP], or <s> a </s> and <s> a </s> </s> b </s>, all of it one segment. */
static inline const char *post_bert(post_processor *self, const json_value *tree, bool roberta) {
    const json_value *cls = json_get(tree, "cls"), *sep = json_get(tree, "sep");
    int32_t cls_id = 0, sep_id = 0, second = roberta ? 0 : 1;
    bool lists = json_is(cls, JSON_ARRAY) && cls->count == 2 && json_is(sep, JSON_ARRAY) && sep->count == 2;
    if (!lists || !post_id(cls->first->next, &cls_id) || !post_id(sep->first->next, &sep_id)) {
        return "its post-processor lacks its two special tokens";
    }
    memset(self, 0, sizeof *self);
    for (int pair = 0; pair < 2; pair++) {
        post_add(&self->of[pair], POST_SPECIAL, cls_id, 0);
        post_add(&self->of[pair], POST_FIRST, 0, 0);
        post_add(&self->of[pair], POST_SPECIAL, sep_id, 0);
    }
    if (roberta) post_add(&self->of[1], POST_SPECIAL, sep_id, 0);
    post_add(&self->of[1], POST_SECOND, 0, second);
    post_add(&self->of[1], POST_SPECIAL, sep_id, second);
    return NULL;
}

static inline const char *post_special(post_template *self, const json_value *named, int32_t type) {
    const json_value *ids = json_get(named, "ids");
    const char *fault = NULL;
    if (!json_is(ids, JSON_ARRAY)) return "its post-processor names a special token that it does not define";
    for (const json_value *each = ids->first; each != NULL && fault == NULL; each = each->next) {
        int32_t id = 0;
        fault = post_id(each, &id) ? post_add(self, POST_SPECIAL, id, type) : "a special token's id is out of range";
    }
    return fault;
}

static inline const char *post_pieces(post_template *self, const json_value *list, const json_value *special,
                                      bool pair) {
    const char *fault = json_is(list, JSON_ARRAY) ? NULL : "its post-processor has no template";
    for (const json_value *each = fault == NULL ? list->first : NULL; each != NULL && fault == NULL;
         each = each->next) {
        const json_value *sequence = json_get(each, "Sequence"), *token = json_get(each, "SpecialToken");
        const json_value *piece = sequence != NULL ? sequence : token, *id = json_get(piece, "id");
        int32_t type = 0;
        if (!json_is(id, JSON_STRING) || !post_id(json_get(piece, "type_id"), &type) || each->count != 1) {
            return "its post-processor's template is malformed";
        }
        if (sequence == NULL) {
            fault = post_special(self, json_get(special, id->text), type);
        } else if (strcmp(id->text, "A") == 0) {
            fault = post_add(self, POST_FIRST, 0, type);
        } else if (strcmp(id->text, "B") == 0 && pair) {
            fault = post_add(self, POST_SECOND, 0, type);
        } else {
            fault = "its post-processor's template names a sequence that is not there";
        }
    }
    return fault;
}

static inline edgekit_code post_of(post_processor *self, const json_value *tree, bool offsets,
                                   const tokenizer_json *file, edgekit_error *error);

/* Of several one may add tokens; the others only change offsets. */
static inline edgekit_code post_sequence(post_processor *self, const json_value *tree, bool offsets,
                                         const tokenizer_json *file, edgekit_error *error) {
    const json_value *list = json_get(tree, "processors"), *adding = NULL;
    if (!json_is(list, JSON_ARRAY)) return tokenizer_wrong(error, file, "its post-processors are not a list");
    for (const json_value *each = list->first; each != NULL; each = each->next) {
        const json_value *type = json_get(each, "type");
        if (!offsets && json_is(type, JSON_STRING) && strcmp(type->text, "ByteLevel") == 0) continue;
        bool nested = json_is(type, JSON_STRING) && strcmp(type->text, "Sequence") == 0;
        if (adding != NULL || nested) return tokenizer_lacks(error, file, "several post-processors: this runtime does one");
        adding = each;
    }
    return adding == NULL ? EDGEKIT_OK : post_of(self, adding, offsets, file, error);
}

static inline edgekit_code post_of(post_processor *self, const json_value *tree, bool offsets,
                                   const tokenizer_json *file, edgekit_error *error) {
    const json_value *type = json_get(tree, "type"), *trim = json_get(tree, "trim_offsets");
    const char *fault = NULL;
    if (tree->kind == JSON_NULL) return EDGEKIT_OK;
    if (!json_is(type, JSON_STRING)) return tokenizer_wrong(error, file, "its post-processor has no type");
    bool trims = offsets && !json_is(trim, JSON_FALSE);
    if (strcmp(type->text, "TemplateProcessing") == 0) {
        const json_value *special = json_get(tree, "special_tokens");
        memset(self, 0, sizeof *self);
        fault = post_pieces(&self->of[0], json_get(tree, "single"), special, false);
        if (fault == NULL) fault = post_pieces(&self->of[1], json_get(tree, "pair"), special, true);
    } else if (strcmp(type->text, "BertProcessing") == 0) {
        fault = post_bert(self, tree, false);
    } else if (strcmp(type->text, "RobertaProcessing") == 0 && !trims) {
        fault = post_bert(self, tree, true);
    } else if (strcmp(type->text, "Sequence") == 0) {
        return post_sequence(self, tree, offsets, file, error);
    } else if (strcmp(type->text, "ByteLevel") != 0 || trims) {
        return tokenizer_lacks(error, file, "the post-processor %.60s%s, which this runtime does not have", type->text,
                               json_is(trim, JSON_TRUE) ? " with trim_offsets" : "");
    }
    return fault == NULL ? EDGEKIT_OK : tokenizer_wrong(error, file, "%s", fault);
}

/* `offsets`: whether they are wanted, so that a post-processor that changes them is refused. */
static inline edgekit_code post_read(post_processor *self, bool offsets, const tokenizer_json *file,
                                     edgekit_error *error) {
    json_document document;
    post_plain(self);
    edgekit_code code = tokenizer_part(file, file->post_processor, &document, error);
    if (code == EDGEKIT_OK) code = post_of(self, document.root, offsets, file, error);
    json_free(&document);
    return code;
}

#endif
