/* Messages to a prompt, by the manifest's generation.chat_format: fixed words around each message (docs/manifest.md). */
#ifndef EDGEKIT_CHAT_H
#define EDGEKIT_CHAT_H

#include "buffer.h"
#include "bundle.h"

#define CHAT_FORMAT "generation.chat_format"

/* Whether Python's str.strip() takes the character away. */
static bool is_white_space(uint32_t point) {
    return (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20) || point == 0x85 || point == 0xA0 ||
           point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
           point == 0x202F || point == 0x205F || point == 0x3000;
}

/* `text`, which is UTF-8, without white space at both ends. */
static const char *stripped(const char *text, size_t *bytes) {
    const char *start = NULL, *end = text;
    size_t step = 0;
    for (const char *at = text; *at != '\0'; at += step) {
        uint32_t point = 0;
        step = utf8_character(at, 4, &point); /* the zero behind the text ends it */
        if (is_white_space(point)) continue;
        if (start == NULL) start = at;
        end = at + step;
    }
    *bytes = start == NULL ? 0 : (size_t)(end - start);
    return start == NULL ? text : start;
}

static bool is_turn(const json_value *turn) {
    return json_is(json_get(turn, "before"), JSON_STRING) && json_is(json_get(turn, "after"), JSON_STRING);
}

/* The format, its shape checked. WRONG_TASK where the bundle has none, BUNDLE_INVALID where it is damaged. */
static edgekit_code chat_format(const bundle *packed, const json_value **format, edgekit_error *error) {
    static const char *const words[] = {"start", "no_system", "answer"};
    const json_value *generation = json_get(packed->manifest, "generation");
    const json_value *found = *format = json_get(generation, "chat_format");
    if (!json_is(json_get(generation, "chat_template"), JSON_STRING)) {
        return fail(error, EDGEKIT_WRONG_TASK, "%.100s is a base model without a chat template: use generate()",
                    packed->name);
    }
    if (found == NULL || found->kind == JSON_NULL) {
        return fail(error, EDGEKIT_WRONG_TASK,
                    "the chat template of %.100s is more than a string of turns: render it, and call generate() with "
                    "no_special_tokens",
                    packed->name);
    }
    const json_value *turns = json_get(found, "turns"), *strip = json_get(found, "strip");
    bool sound = json_is(turns, JSON_OBJECT) && (json_is(strip, JSON_TRUE) || json_is(strip, JSON_FALSE));
    for (size_t index = 0; index < 3; index++) sound = sound && json_is(json_get(found, words[index]), JSON_STRING);
    for (const json_value *turn = sound ? turns->first : NULL; turn != NULL; turn = turn->next) {
        bool known = strcmp(turn->key, "system") == 0 || strcmp(turn->key, "user") == 0 ||
                     strcmp(turn->key, "assistant") == 0;
        sound = sound && known && is_turn(turn);
    }
    if (sound) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BUNDLE_INVALID,
                MANIFEST ": " CHAT_FORMAT " is not of start, no_system, turns {role: {before, after}}, answer, strip");
}

/* At most one message of the system, the first; then user and assistant in turn, the user first and last. */
static edgekit_code check_messages(const edgekit_message *messages, size_t count, edgekit_error *error) {
    if (messages == NULL || count == 0) return fail(error, EDGEKIT_BAD_INPUT, "there is no message");
    for (size_t index = 0; index < count; index++) {
        const char *role = messages[index].role, *content = messages[index].content;
        if (role == NULL || content == NULL) {
            return fail(error, EDGEKIT_BAD_INPUT, "message %zu has no role or no content", index);
        }
        if (utf8_fault(content) >= 0) {
            return fail(error, EDGEKIT_BAD_INPUT, "message %zu is not UTF-8 at byte %zu", index,
                        (size_t)utf8_fault(content));
        }
    }
    size_t first = strcmp(messages[0].role, "system") == 0;
    for (size_t index = first; index < count; index++) {
        const char *wanted = (index - first) % 2 == 0 ? "user" : "assistant";
        if (strcmp(messages[index].role, wanted) != 0) {
            return fail(error, EDGEKIT_BAD_INPUT,
                        "message %zu is of '%.40s', expected '%s': one of the system first, then user and assistant in "
                        "turn",
                        index, messages[index].role, wanted);
        }
    }
    if ((count - first) % 2 == 1) return EDGEKIT_OK;
    return fail(error, EDGEKIT_BAD_INPUT, "the last message is of '%.40s', expected 'user'", messages[count - 1].role);
}

/* The prompt that ends where the assistant's answer begins, to be freed with buffer_free. */
static edgekit_code chat_prompt(const bundle *packed, const edgekit_message *messages, size_t count, buffer *prompt,
                                edgekit_error *error) {
    const json_value *format = NULL;
    memset(prompt, 0, sizeof *prompt);
    edgekit_code code = chat_format(packed, &format, error);
    if (code == EDGEKIT_OK) code = check_messages(messages, count, error);
    if (code != EDGEKIT_OK) return code;
    const json_value *turns = json_get(format, "turns");
    buffer_text(prompt, json_get(format, "start")->text);
    if (strcmp(messages[0].role, "system") != 0) buffer_text(prompt, json_get(format, "no_system")->text);
    for (size_t index = 0; index < count; index++) {
        const json_value *turn = json_get(turns, messages[index].role);
        const char *content = messages[index].content;
        size_t bytes = strlen(content);
        if (turn == NULL) {
            return fail(error, EDGEKIT_BAD_INPUT, "the chat template refuses these messages: none may be of '%s'",
                        messages[index].role);
        }
        if (json_is(json_get(format, "strip"), JSON_TRUE)) content = stripped(content, &bytes);
        buffer_text(prompt, json_get(turn, "before")->text);
        buffer_add(prompt, content, bytes);
        buffer_text(prompt, json_get(turn, "after")->text);
    }
    buffer_text(prompt, json_get(format, "answer")->text);
    return prompt->failed ? fail(error, EDGEKIT_RUN_FAILED, "there is no memory for the prompt") : EDGEKIT_OK;
}

#endif
