import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.edgekit.Edgekit;
import dev.edgekit.OpenOptions;
import dev.edgekit.Session;
import dev.edgekit.Tensor;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What Java, JNI and the C runtime cost beside the engine: {@code Overhead BUNDLE ENGINE_LIBRARY ROUNDS} of an ONNX text
 * bundle, 128 tokens, one thread. The wrapper and the bare engine (overhead_jni.c, its tensors made once) take turns on
 * one session of the engine; one line of JSON has the time of each call.
 *
 * <p>-Ddev.edgekit.library=... names libedgekit_jni.so, -Doverhead.library=... what overhead_jni.c was compiled to.
 */
public final class Overhead {
    private static final int TOKENS = 128;
    private static final int WARM_UP = 400; // the compilers have done their work, the heap has gone round

    private Overhead() {}

    public static void main(String[] arguments) throws ReflectiveOperationException {
        System.load(System.getProperty("overhead.library"));
        int rounds = Integer.parseInt(arguments[2]);
        long started = System.nanoTime();
        Session session = Edgekit.open(arguments[0], new OpenOptions().threads(1).engineLibrary(arguments[1]));
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("open_ms", milliseconds(started));
        JsonObject manifest = JsonParser.parseString(session.info()).getAsJsonObject();
        Map<String, Tensor> inputs = inputs(manifest);
        started = System.nanoTime();
        session.run(inputs);
        told.put("first_ms", milliseconds(started));

        long bare = bare(session, inputs);
        float same = session.run(inputs).values().iterator().next().floats()[0];
        if (runBare(bare) != same) {
            throw new IllegalStateException("the engine answers " + runBare(bare) + ", the wrapper " + same);
        }
        time(session, inputs, bare, WARM_UP);
        double[][] times = time(session, inputs, bare, rounds);
        told.put("wrapper_ms", times[0]);
        told.put("bare_ms", times[1]);
        System.out.println(new Gson().toJson(told));
        session.close();
    }

    private static double[][] time(Session session, Map<String, Tensor> inputs, long bare, int rounds) {
        double[][] times = new double[2][rounds];
        for (int round = 0; round < rounds; round++) {
            long started = System.nanoTime();
            session.run(inputs);
            times[0][round] = milliseconds(started);
            started = System.nanoTime();
            runBare(bare);
            times[1][round] = milliseconds(started);
        }
        return times;
    }

    private static double milliseconds(long started) {
        return (System.nanoTime() - started) / 1e6;
    }

    /** Ids that any vocabulary of BERT's has, all of them attended to. */
    private static Map<String, Tensor> inputs(JsonObject manifest) {
        Map<String, Tensor> inputs = new LinkedHashMap<>();
        for (JsonElement one : manifest.getAsJsonArray("inputs")) {
            String name = one.getAsJsonObject().get("name").getAsString();
            long[] values = new long[TOKENS];
            for (int index = 0; index < TOKENS; index++) {
                values[index] = name.equals("input_ids") ? 2000 + index : name.equals("attention_mask") ? 1 : 0;
            }
            inputs.put(name, Tensor.int64(values, 1, TOKENS));
        }
        return inputs;
    }

    private static long bare(Session session, Map<String, Tensor> inputs) throws ReflectiveOperationException {
        Field address = Session.class.getDeclaredField("address");
        address.setAccessible(true);
        ByteBuffer[] data = new ByteBuffer[inputs.size()];
        int index = 0;
        for (Tensor one : inputs.values()) {
            data[index++] = one.data();
        }
        return bareOf(address.getLong(session), inputs.keySet().toArray(new String[0]), data);
    }

    /** The engine in a session of the C runtime; inputs are int64 [1, elements]. */
    private static native long bareOf(long session, String[] names, ByteBuffer[] data);

    /** The first number of the first output. */
    private static native float runBare(long bare);
}
