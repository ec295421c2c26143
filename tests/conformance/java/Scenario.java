import dev.edgekit.DType;
import dev.edgekit.Edgekit;
import dev.edgekit.EdgekitException;
import dev.edgekit.GenerateOptions;
import dev.edgekit.OpenOptions;
import dev.edgekit.Session;
import dev.edgekit.Tensor;
import dev.edgekit.TextListener;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;

/** `Scenario NAME BUNDLE LIBRARY`: what an app does with a session, and the name of what comes back of each step. */
public final class Scenario {
    private static Session session;

    private Scenario() {}

    private interface Step {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        OpenOptions options = new OpenOptions().threads(1).engineLibrary(arguments[2]);
        session = Edgekit.open(arguments[1], options);
        switch (arguments[0]) {
            case "inputs": inputs(); break;
            case "threads": threads(); break;
            case "listeners": listeners(); break;
            case "early": early(); break;
            case "runs": repeat(() -> session.run(four())); break;
            case "answers": repeat(() -> session.generate("A", new GenerateOptions().stop("x", "yé"), null)); break;
            case "refusals": repeat(() -> told(() -> one("y", four().get("x")))); break;
            case "sessions": repeat(() -> Edgekit.open(arguments[1], options).close()); break;
            default: throw new IllegalArgumentException(arguments[0]);
        }
        session.close();
    }

    private static String told(Step step) {
        try {
            step.run();
            return "OK";
        } catch (EdgekitException error) {
            if (!error.code().equals(error.getClass().getSimpleName()) || error.getMessage().contains("\n")) {
                return "an exception of another shape: " + error;
            }
            return error.code();
        } catch (Exception error) {
            return error.toString();
        }
    }

    private static void say(String name, Step step) {
        System.out.println(name + " " + told(step));
    }

    private static Map<String, Tensor> four() {
        return Collections.singletonMap("x", Tensor.float32(new float[] {1, 2, 3, 4}, 1, 4));
    }

    private static void one(String name, Tensor tensor) {
        session.run(Collections.singletonMap(name, tensor));
    }

    private static void inputs() {
        float[] values = {1, 2, 3, 4};
        ByteBuffer direct = ByteBuffer.allocateDirect(24); // big-endian by its own account: nobody asks
        direct.putInt(0, 7).position(4);
        direct.limit(20);
        say("right", () -> one("x", Tensor.float32(values, 1, 4)));
        say("heap", () -> one("x", Tensor.of(DType.FLOAT32, ByteBuffer.allocate(16), 1, 4)));
        say("slice", () -> one("x", Tensor.of(DType.FLOAT32, direct, 1, 4)));
        say("none", () -> one("x", Tensor.float32(new float[0], 0, 4)));
        say("name", () -> one("y", Tensor.float32(values, 1, 4)));
        say("dtype", () -> one("x", Tensor.int32(new int[4], 1, 4)));
        say("axis", () -> one("x", Tensor.float32(values, 4, 1)));
        say("rank", () -> one("x", Tensor.float32(values, 1, 1, 1, 1, 1, 1, 1, 4)));
        say("axes", () -> one("x", Tensor.float32(values, 1, 1, 1, 1, 1, 1, 1, 1, 4)));
        say("bytes", () -> one("x", Tensor.float32(values, 1, 3)));
        say("negative", () -> one("x", Tensor.float32(values, -1, -4)));
        say("overflow", () -> one("x", Tensor.float32(values, 1L << 62, 4, 1)));
        say("missing", () -> session.run(Collections.emptyMap()));
        say("null", () -> session.run(null));
        say("nothing", () -> one("x", null));
        say("nameless", () -> one(null, Tensor.float32(values, 1, 4)));
        say("zero", () -> one("x\0", Tensor.float32(values, 1, 4)));
        say("surrogate", () -> one("\ud83c", Tensor.float32(values, 1, 4)));
        say("read", () -> Tensor.float32(values, 4).longs());
        say("label", () -> DType.labelled("FLOAT32"));
        say("output", () -> one("x", session.run(four()).get("y")));
        System.out.println("y " + java.util.Arrays.toString(session.run(four()).get("y").floats()));
    }

    /** A call on another thread. */
    private static Thread start(AtomicReference<String> end, Step step) {
        Thread thread = new Thread(() -> {
            String told = told(step);
            while (told.equals("Busy")) { // with those who only look whether it has begun
                told = told(step);
            }
            end.set(told);
        });
        thread.start();
        return thread;
    }

    /** A call that would not end, and what other threads may do meanwhile. */
    private static void threads() throws Exception {
        AtomicReference<String> end = new AtomicReference<>();
        say("cancel nothing", session::cancel);
        Thread thread = start(end, () -> session.run(four()));
        String other;
        while ((other = told(() -> one("y", Tensor.float32(new float[4], 1, 4)))).equals("BadInput")) {
            Thread.sleep(1);
        }
        System.out.println("other " + other);
        say("close", session::close);
        say("info", () -> session.info().length());
        Thread.sleep(50);
        session.cancel();
        thread.join();
        System.out.println("ended " + end.get());
        say("again", () -> one("y", Tensor.float32(new float[4], 1, 4)));
        say("close", session::close);
        say("close", session::close);
        say("cancel", session::cancel);
        say("info", () -> session.info().length());
        say("after", () -> session.run(four()));
        say("self-test", session::selfTest);
        say("text", () -> session.tokenize("a"));
    }

    private static void listeners() {
        GenerateOptions eight = new GenerateOptions().maxTokens(8);
        Map<String, Step> steps = new java.util.LinkedHashMap<>();
        steps.put("throws", () -> answer(text -> { throw new IllegalStateException("mine"); }));
        steps.put("overflows", () -> {
            try {
                answer(text -> { throw new StackOverflowError("deep"); });
            } catch (StackOverflowError error) {
                throw new IOException(error.getMessage());
            }
        });
        steps.put("asks", () -> answer(text -> session.generate("A", eight, null)));
        steps.put("closes", () -> answer(text -> session.close()));
        steps.put("reads", () -> answer(text -> session.info()));
        steps.put("cancels", () -> answer(text -> session.cancel()));
        steps.put("cancels and throws", () -> answer(text -> {
            session.cancel();
            throw new IllegalStateException("mine");
        }));
        steps.put("without", () -> answer(null));
        for (Map.Entry<String, Step> one : steps.entrySet()) {
            say(one.getKey(), one.getValue());
        }
        StringBuilder heard = new StringBuilder();
        String whole = session.generate("A", eight, heard::append);
        System.out.println("same " + whole.contentEquals(heard));
    }

    private static void answer(TextListener listener) {
        session.generate("A", new GenerateOptions().maxTokens(64), listener);
    }

    /** A cancel that comes as soon as a call can be seen, even before the engine has begun. */
    private static void early() throws Exception {
        Map<String, Integer> ends = new HashMap<>();
        for (int round = 0; round < 200; round++) {
            AtomicReference<String> end = new AtomicReference<>();
            Thread thread = start(end, () -> session.run(four()));
            while (!told(() -> one("y", four().get("x"))).equals("Busy")) {
                Thread.yield();
            }
            session.cancel();
            thread.join(20_000);
            ends.merge(String.valueOf(end.get()), 1, Integer::sum);
        }
        System.out.println(ends);
    }

    /** What is asked for again and again, and by how much the process grew after the first rounds. */
    private static void repeat(Step step) throws Exception {
        int rounds = 1000;
        for (int round = 0; round < rounds; round++) {
            step.run();
        }
        System.gc();
        long before = residentBytes();
        for (int round = 0; round < rounds; round++) {
            step.run();
        }
        System.gc();
        System.out.println("grew " + (residentBytes() - before));
    }

    private static long residentBytes() throws IOException {
        String statm = new String(Files.readAllBytes(Paths.get("/proc/self/statm")), StandardCharsets.US_ASCII);
        return Long.parseLong(statm.split(" ")[1]) * 4096;
    }
}
