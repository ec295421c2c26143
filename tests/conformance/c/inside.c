/* The parts of the runtime that are pure, asked by themselves: a JSON request a line in, a JSON answer a line out. */
#include "edgekit.c"

#define MOST 4096

static const char *text_of(const json_value *request, const char *key) { return json_get(request, key)->text; }

static void write_double(double number) {
    if (isfinite(number)) {
        printf("%.17g", number);
    } else {
        fputs("null", stdout);
    }
}

static int write_piece(const char *text, void *count) {
    if ((*(int *)count)++ > 0) fputs(", ", stdout);
    json_write(stdout, text);
    return 0;
}

/* {"pieces": [base64], "stops": [text]}: the texts as they came */
static void stream(const json_value *request) {
    const char *stops[MOST];
    int given = 0;
    edgekit_error error;
    text_stream self = {.stops = stops, .on_text = write_piece, .user = &given};
    for (const json_value *each = json_get(request, "stops")->first; each != NULL; each = each->next) {
        stops[self.stop_count++] = each->text;
    }
    putchar('[');
    const json_value *each = json_get(request, "pieces")->first;
    for (; each != NULL && !self.stopped; each = each->next) {
        size_t bytes = 0;
        unsigned char *piece = base64_decode(each->text, &bytes);
        if (stream_add(&self, (const char *)piece, bytes, &error) != EDGEKIT_OK) abort();
        free(piece);
    }
    if (stream_end(&self, &error) != EDGEKIT_OK) abort();
    puts("]");
    buffer_free(&self.held);
}

/* {"scores": [...], "temperature", "top_p", "seed", "draws"}: the tokens drawn */
static void sample(const json_value *request) {
    float scores[MOST];
    int32_t count = 0;
    sampler self;
    edgekit_error error;
    edgekit_generation options;
    edgekit_generation_init(&options);
    options.temperature = (float)json_number(json_get(request, "temperature"));
    options.top_p = (float)json_number(json_get(request, "top_p"));
    options.seed = (uint64_t)json_get(request, "seed")->integer;
    options.has_seed = json_is(json_get(request, "seed"), JSON_NUMBER);
    for (const json_value *each = json_get(request, "scores")->first; each != NULL; each = each->next) {
        scores[count++] = each->kind == JSON_NULL ? NAN : (float)json_number(each);
    }
    if (sampler_open(&self, &options, &error) != EDGEKIT_OK) {
        json_write(stdout, error.message);
    } else {
        if (!sampler_fit(&self, count)) abort();
        for (int64_t draw = 0; draw < json_get(request, "draws")->integer; draw++) {
            printf("%s%d", draw == 0 ? "[" : ", ", (int)sampler_pick(&self, scores, llama_best(scores, count)));
        }
        putchar(']');
    }
    putchar('\n');
    sampler_free(&self);
}

/* {"numbers": [...]}: what they are read as; as float16 and back too */
static void numbers(const json_value *request) {
    putchar('[');
    for (const json_value *each = json_get(request, "numbers")->first; each != NULL; each = each->next) {
        double number = json_number(each);
        putchar('[');
        write_double(number);
        fputs(", ", stdout);
        write_double((double)(float)number);
        fputs(", ", stdout);
        write_double(half_to_double(half_of_double(number)));
        printf("]%s", each->next == NULL ? "" : ", ");
    }
    puts("]");
}

/* {"height", "width", "rgb": base64, "to": [height, width], "filter"}: the pixels */
static void resize(const json_value *request) {
    size_t bytes = 0;
    picture from = {base64_decode(text_of(request, "rgb"), &bytes), (int)json_get(request, "height")->integer,
                    (int)json_get(request, "width")->integer};
    const json_value *to = json_get(request, "to")->first;
    picture made = resample(&from, (int)to->integer, (int)to->next->integer, (int)json_get(request, "filter")->integer);
    putchar('[');
    for (size_t at = 0; at < (size_t)made.height * (size_t)made.width * 3; at++) {
        printf("%s%d", at == 0 ? "" : ",", made.rgb[at]);
    }
    puts("]");
    free(made.rgb);
    free(from.rgb);
}

/* {"manifest": {...}, "height", "width", "rgb": base64}: pixel_values, or the error */
static void pixels(const json_value *request) {
    size_t bytes = 0;
    bundle packed = {.manifest = json_get(request, "manifest")};
    image_setup setup = {0};
    float *values = NULL;
    edgekit_error error;
    picture given = {base64_decode(text_of(request, "rgb"), &bytes), (int)json_get(request, "height")->integer,
                     (int)json_get(request, "width")->integer};
    edgekit_code code = image_read(&packed, &setup, &error);
    if (code == EDGEKIT_OK) code = pixel_values(&setup, &given, &values, &error);
    if (code != EDGEKIT_OK) {
        json_write(stdout, edgekit_code_name(code));
        putchar('\n');
    } else {
        for (int at = 0; at < setup.height * setup.width * 3; at++) printf("%s%.9g", at == 0 ? "[" : ", ", values[at]);
        puts("]");
    }
    free(values);
    free(given.rgb);
}

/* {"generation": {...}, "messages": [{role, content}]}: the prompt, or [the error] */
static void chat(const json_value *request) {
    bundle packed = {.manifest = json_get(request, "manifest"), .name = "it"};
    edgekit_message messages[MOST] = {{0}};
    size_t count = 0;
    buffer prompt = {0};
    edgekit_error error;
    for (const json_value *each = json_get(request, "messages")->first; each != NULL; each = each->next) {
        messages[count++] = (edgekit_message){text_of(each, "role"), text_of(each, "content")};
    }
    edgekit_code code = chat_prompt(&packed, messages, count, &prompt, &error);
    if (code == EDGEKIT_OK) {
        json_write(stdout, prompt.bytes);
        putchar('\n');
    } else {
        printf("[\"%s\"]\n", edgekit_code_name(code));
    }
    buffer_free(&prompt);
}

/* {"tensor": {...}}: its numbers, or null */
static void decode(const json_value *request) {
    edgekit_tensor tensor = {0};
    if (!tensor_decode(json_get(request, "tensor"), &tensor)) {
        puts("null");
        return;
    }
    size_t count = tensor.bytes / dtype_bytes((int)tensor.dtype);
    putchar('[');
    for (size_t index = 0; index < count; index++) {
        if (index > 0) fputs(", ", stdout);
        write_double(tensor_number(tensor.data, tensor.dtype, index));
    }
    puts("]");
    free(tensor.data);
}

int main(void) {
    static const struct {
        const char *op;
        void (*run)(const json_value *);
    } operations[] = {{"stream", stream}, {"sample", sample}, {"numbers", numbers}, {"resize", resize},
                      {"pixels", pixels}, {"chat", chat},     {"decode", decode}};
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes;
    while ((bytes = getline(&line, &room, stdin)) > 0) {
        json_document request;
        if (!json_parse(&request, line, (size_t)bytes, 4000000)) {
            fprintf(stderr, "%s\n", request.why);
            return 2;
        }
        for (size_t index = 0; index < sizeof operations / sizeof *operations; index++) {
            if (strcmp(operations[index].op, text_of(request.root, "op")) == 0) operations[index].run(request.root);
        }
        fflush(stdout);
        json_free(&request);
    }
    free(line);
    return 0;
}
