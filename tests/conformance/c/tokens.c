/* What the runtime's tokenizer makes of texts:  tokens BUNDLE [TEXT_LIBRARY]
 *
 * Each request on stdin is a line of five numbers: nonzero for NFC alone, max_tokens, nonzero for special tokens, the
 * bytes of the text, the bytes of its pair or -1; then those bytes. Each answer is one line of JSON: ids, types, special,
 * starts and ends, or code and message, or nfc in hexadecimal digits. */
#include "edgekit.c"

static void print_list(const char *name, const int32_t *values, size_t count, const char *after) {
    printf("\"%s\": [", name);
    for (size_t index = 0; index < count; index++) printf(index == 0 ? "%d" : ", %d", (int)values[index]);
    printf("]%s", after);
}

static void print_encoding(const text_encoding *encoding) {
    int32_t *values = calloc(encoding->count + 1, sizeof *values);
    printf("{");
    print_list("ids", encoding->ids, encoding->count, ", ");
    print_list("types", encoding->types, encoding->count, ", ");
    for (size_t index = 0; index < encoding->count; index++) values[index] = encoding->special[index];
    print_list("special", values, encoding->count, ", ");
    for (size_t index = 0; index < encoding->count; index++) values[index] = (int32_t)encoding->starts[index];
    print_list("starts", values, encoding->count, ", ");
    for (size_t index = 0; index < encoding->count; index++) values[index] = (int32_t)encoding->ends[index];
    print_list("ends", values, encoding->count, "}\n");
    free(values);
}

static void print_error(const edgekit_error *error) {
    printf("{\"code\": \"%s\", \"message\": ", edgekit_code_name(error->code));
    json_write(stdout, error->message);
    printf("}\n");
}

static char *read_bytes(long bytes) {
    char *text = malloc((size_t)bytes + 1);
    if (text == NULL || fread(text, 1, (size_t)bytes, stdin) != (size_t)bytes) exit(3);
    text[bytes] = '\0';
    return text;
}

static void print_nfc(const char *text) {
    char *composed = text_nfc(text);
    printf("{\"nfc\": \"");
    for (const char *at = composed; at != NULL && *at != '\0'; at++) printf("%02x", (unsigned char)*at);
    printf("\"}\n");
    free(composed);
}

static void print_answer(const text_tokenizer *tokenizer, long max_tokens, long special, const char *text, const char *pair) {
    text_encoding encoding;
    edgekit_error error;
    edgekit_code code =
        text_encode(tokenizer, text, pair, special != 0, (size_t)max_tokens, &encoding, &error);
    if (code == EDGEKIT_OK) print_encoding(&encoding);
    if (code != EDGEKIT_OK) print_error(&error);
    text_encoding_free(&encoding);
}

int main(int count, char **arguments) {
    bundle packed;
    edgekit_error error;
    text_tokenizer *tokenizer = NULL;
    long nfc, max_tokens, special, bytes, pair_bytes;
    if (count < 2) return 2;
    edgekit_code code = bundle_read(&packed, arguments[1], &error);
    if (code == EDGEKIT_OK) code = text_open(&tokenizer, &packed, count > 2 ? arguments[2] : NULL, &error);
    if (code != EDGEKIT_OK) print_error(&error);
    while (code == EDGEKIT_OK &&
           scanf("%ld %ld %ld %ld %ld", &nfc, &max_tokens, &special, &bytes, &pair_bytes) == 5 && getchar() == '\n') {
        char *text = read_bytes(bytes), *pair = pair_bytes < 0 ? NULL : read_bytes(pair_bytes);
        if (nfc != 0) print_nfc(text);
        if (nfc == 0) print_answer(tokenizer, max_tokens, special, text, pair);
        fflush(stdout);
        free(text);
        free(pair);
    }
    text_close(tokenizer);
    bundle_free(&packed);
    return 0;
}
