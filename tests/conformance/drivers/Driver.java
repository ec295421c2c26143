import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.edgekit.DType;
import dev.edgekit.Edgekit;
import dev.edgekit.EdgekitException;
import dev.edgekit.GenerateOptions;
import dev.edgekit.GoldenResult;
import dev.edgekit.Label;
import dev.edgekit.Message;
import dev.edgekit.OpenOptions;
import dev.edgekit.Pixels;
import dev.edgekit.Session;
import dev.edgekit.Tensor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The Java runtime behind the suite's lines of JSON; see README.md. */
public final class Driver {
    private static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

    private Session session;

    public static void main(String[] arguments) throws IOException {
        Driver driver = new Driver();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(GSON.toJson(driver.answered(JsonParser.parseString(line).getAsJsonObject())));
        }
    }

    private Map<String, Object> answered(JsonObject request) {
        Map<String, Object> answer = new LinkedHashMap<>();
        try {
            answer.put("ok", answer(request));
        } catch (EdgekitException error) {
            answer.put("error", error.code());
            answer.put("message", error.getMessage());
        }
        return answer;
    }

    private Object answer(JsonObject request) {
        String op = request.get("op").getAsString();
        switch (op) {
            case "open": return open(request);
            case "verify": return named(Edgekit.verify(text(request, "bundle")), "name");
            case "tokenize": return session.tokenize(text(request, "text"));
            case "embed": return session.embed(text(request, "text"));
            case "classify": return labels(session.classify(text(request, "text"), text(request, "pair")));
            case "classify_pixels": return labels(session.classify(picture(request.getAsJsonObject("picture"))));
            case "run": return outputs(session.run(inputs(request.getAsJsonObject("inputs"))));
            case "generate": return generate(request);
            case "chat": return chat(request);
            case "self_test": return goldens(session.selfTest());
            case "cancel": return session.generate(
                    text(request, "prompt"), new GenerateOptions().maxTokens(64), text -> session.cancel());
            case "busy": return busy(text(request, "prompt"));
            case "not_utf8": return session.tokenize("half a pair: \ud83c");
            case "close": return close();
            default: throw new IllegalArgumentException("the operation " + op + " is unknown");
        }
    }

    private Object open(JsonObject request) {
        close();
        OpenOptions options = new OpenOptions().engineLibrary(text(request, "engine_library"));
        if (has(request, "threads")) {
            options.threads(request.get("threads").getAsInt());
        }
        if (has(request, "memory_budget")) {
            options.memoryBudget(request.get("memory_budget").getAsLong());
        }
        if (has(request, "low_memory")) {
            options.lowMemory(request.get("low_memory").getAsBoolean());
        }
        if (has(request, "text_library")) {
            options.textLibrary(text(request, "text_library"));
        }
        session = Edgekit.open(text(request, "bundle"), options);
        Map<String, Object> told = named(session.info(), "name", "task", "engine");
        JsonObject info = JsonParser.parseString(session.info()).getAsJsonObject();
        told.put("threads", info.getAsJsonObject("runtime").get("threads").getAsInt());
        return told;
    }

    private Object close() {
        if (session != null) {
            session.close();
        }
        return null;
    }

    private static Map<String, Object> named(String manifest, String... names) {
        JsonObject found = JsonParser.parseString(manifest).getAsJsonObject();
        Map<String, Object> told = new LinkedHashMap<>();
        for (String name : names) {
            told.put(name, found.get(name));
        }
        return told;
    }

    private Object generate(JsonObject request) {
        List<String> texts = new ArrayList<>();
        session.generate(text(request, "prompt"), options(request), texts::add);
        return texts;
    }

    private Object chat(JsonObject request) {
        List<Message> messages = new ArrayList<>();
        for (JsonElement one : request.getAsJsonArray("messages")) {
            messages.add(new Message(text(one.getAsJsonObject(), "role"), text(one.getAsJsonObject(), "content")));
        }
        List<String> texts = new ArrayList<>();
        session.chat(messages, options(request), texts::add);
        return texts;
    }

    private static GenerateOptions options(JsonObject request) {
        GenerateOptions options = new GenerateOptions();
        if (has(request, "max_tokens")) {
            options.maxTokens(request.get("max_tokens").getAsInt());
        }
        if (has(request, "temperature")) {
            options.temperature(request.get("temperature").getAsFloat());
        }
        if (has(request, "top_p")) {
            options.topP(request.get("top_p").getAsFloat());
        }
        if (has(request, "seed")) {
            options.seed(request.get("seed").getAsLong());
        }
        if (has(request, "stop")) {
            options.stop(GSON.fromJson(request.get("stop"), String[].class));
        }
        return options;
    }

    /** What a second call gets, asked for by another thread while the first one waits in its listener. */
    private Object busy(String prompt) {
        List<EdgekitException> refusals = new ArrayList<>();
        Thread other = new Thread(() -> {
            try {
                session.generate(prompt, new GenerateOptions().maxTokens(1), null);
            } catch (EdgekitException refusal) {
                refusals.add(refusal);
            }
        });
        try {
            session.generate(prompt, new GenerateOptions().maxTokens(64), text -> {
                other.start();
                join(other);
                session.cancel();
            });
        } catch (dev.edgekit.Cancelled expected) {
            for (EdgekitException refusal : refusals) {
                throw refusal;
            }
        }
        return "both calls were served";
    }

    private static void join(Thread thread) {
        try {
            thread.join();
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private static List<Object> labels(List<Label> found) {
        List<Object> told = new ArrayList<>();
        for (Label one : found) {
            Map<String, Object> label = new LinkedHashMap<>();
            label.put("label", one.label);
            label.put("score", one.score);
            if (one.word != null) {
                label.put("word", one.word);
            }
            told.add(label);
        }
        return told;
    }

    private static List<Object> goldens(List<GoldenResult> results) {
        List<Object> told = new ArrayList<>();
        for (GoldenResult one : results) {
            Map<String, Object> golden = new LinkedHashMap<>();
            golden.put("name", one.name);
            golden.put("passed", one.passed);
            golden.put("difference", Double.isNaN(one.difference) ? null : one.difference);
            golden.put("tolerance", one.tolerance);
            told.add(golden);
        }
        return told;
    }

    private static Map<String, Tensor> inputs(JsonObject given) {
        Map<String, Tensor> inputs = new LinkedHashMap<>();
        for (Map.Entry<String, JsonElement> one : given.entrySet()) {
            JsonObject tensor = one.getValue().getAsJsonObject();
            inputs.put(one.getKey(), Tensor.of(DType.labelled(text(tensor, "dtype")), bytes(tensor), shape(tensor)));
        }
        return inputs;
    }

    private static Map<String, Object> outputs(Map<String, Tensor> found) {
        Map<String, Object> outputs = new LinkedHashMap<>();
        for (Map.Entry<String, Tensor> one : found.entrySet()) {
            Map<String, Object> tensor = new LinkedHashMap<>();
            byte[] bytes = new byte[one.getValue().data().remaining()];
            one.getValue().data().get(bytes);
            tensor.put("dtype", one.getValue().dtype().label());
            tensor.put("shape", one.getValue().shape());
            tensor.put("base64", Base64.getEncoder().encodeToString(bytes));
            outputs.put(one.getKey(), tensor);
        }
        return outputs;
    }

    private static Pixels picture(JsonObject tensor) {
        long[] shape = shape(tensor);
        return new Pixels(bytes(tensor).array(), (int) shape[1], (int) shape[0]);
    }

    private static ByteBuffer bytes(JsonObject tensor) {
        return ByteBuffer.wrap(Base64.getDecoder().decode(text(tensor, "base64")));
    }

    private static long[] shape(JsonObject tensor) {
        return GSON.fromJson(tensor.get("shape"), long[].class);
    }

    /** Null of what Java could not pass for a text: a number, for one. */
    private static String text(JsonObject object, String key) {
        JsonElement found = object.get(key);
        boolean isText = found != null && found.isJsonPrimitive() && found.getAsJsonPrimitive().isString();
        return isText ? found.getAsString() : null;
    }

    private static boolean has(JsonObject object, String key) {
        return object.has(key) && !object.get(key).isJsonNull();
    }
}
