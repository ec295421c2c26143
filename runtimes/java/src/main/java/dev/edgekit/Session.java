package dev.edgekit;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * An open bundle. Made by {@link Edgekit#open}; must be closed, for the garbage collector does not know its memory.
 *
 * <p>Threads. Every method may be called from every thread. One call runs at a time: a second one is refused with
 * {@link Busy}, from whatever thread, and so is {@link #close}; the order is {@link #cancel}, the end of the call, {@code
 * close}. {@code cancel} and {@link #info} are never refused. Calls take as long as the model does: not on an app's main
 * thread. Two sessions are independent.
 *
 * <p>Every call throws {@link Closed} after {@code close}, {@link WrongTask} where the bundle has no such call, {@link
 * BadInput} for arguments that do not fit, {@link Cancelled}, and {@link RunFailed} if the engine fails. Text that is not
 * Unicode (a lone surrogate) is BadInput.
 */
public final class Session implements AutoCloseable {
    private final String info;
    private final Object lock = new Object(); // over what stands below it, but for the volatile
    private long address; // 0: closed
    private long calls;
    private boolean running;
    private Object caller; // whoever hears the running call; null: nobody does
    private volatile boolean cancelled;
    private volatile Names lastNames; // the same call after call
    private volatile List<String> outputNames; // the graph's; null until the first run

    Session(long handle, String info) {
        address = handle;
        this.info = info;
    }

    /** The manifest as JSON, with {engine, threads, low_memory, notes} under "runtime". Also after {@link #close}. */
    public String info() {
        return info;
    }

    /** The graph's outputs by name, in its order, of tensors named, typed and shaped as its inputs. ONNX bundles. */
    public Map<String, Tensor> run(Map<String, Tensor> inputs) {
        Checks.given("inputs", inputs);
        List<String> names = new ArrayList<>(inputs.keySet());
        int[] heads = new int[2 * names.size()];
        long[] axes = new long[Tensor.MAX_RANK * names.size()];
        ByteBuffer[] data = new ByteBuffer[names.size()];
        int axis = 0;
        for (int index = 0; index < data.length; index++) {
            Tensor tensor = Checks.given("an input", inputs.get(names.get(index)));
            long[] shape = tensor.axes();
            heads[2 * index] = tensor.dtype().number;
            heads[2 * index + 1] = shape.length;
            System.arraycopy(shape, 0, axes, axis, shape.length);
            axis += shape.length;
            data[index] = tensor.direct();
        }
        byte[] joined = joined(names);
        List<String> known = outputNames;
        return outputs(known, call(handle -> Native.run(handle, joined, heads, axes, data, known == null)));
    }

    /** Ids with the special tokens the model wants, never truncated. */
    public int[] tokenize(String text) {
        byte[] utf8 = Utf8.encode("a text", text);
        return call(handle -> Native.tokenize(handle, utf8));
    }

    /** The vector of one text, which is cut to the manifest's max_tokens. */
    public float[] embed(String text) {
        byte[] utf8 = Utf8.encode("a text", text);
        return call(handle -> Native.embed(handle, utf8));
    }

    /**
     * Of text classification every label with its score, best first; of token classification one label a token, in the
     * text's order.
     */
    public List<Label> classify(String text) {
        return classify(text, null);
    }

    /** Of a pair of texts; {@code pair} may be null. */
    public List<Label> classify(String text, String pair) {
        byte[] first = Utf8.encode("a text", text);
        byte[] second = Utf8.encodeIfGiven("a text", pair);
        return labels(text, call(handle -> Native.classify(handle, first, second)));
    }

    /** Of a picture: every label with its score, best first. */
    public List<Label> classify(Pixels picture) {
        Checks.given("a picture", picture);
        return labels(
                "", call(handle -> Native.classifyPixels(handle, picture.rgb, picture.height, picture.width)));
    }

    /**
     * The whole continuation of {@code prompt}, of which {@code listener}, if there is one, hears every piece as it
     * comes. What a listener throws ends the answer and is thrown here.
     *
     * @throws PromptTooLong prompt and answer do not fit the context
     */
    public String generate(String prompt, GenerateOptions options, TextListener listener) {
        return answer(Utf8.encode("a prompt", prompt), null, options, listener);
    }

    /**
     * The assistant's whole answer, by the bundle's chat format; otherwise as {@link #generate}.
     *
     * @throws WrongTask the bundle has no format that is a string of turns: render the chat's template yourself and
     *     call {@link #generate} with {@link GenerateOptions#specialTokens} false
     */
    public String chat(List<Message> messages, GenerateOptions options, TextListener listener) {
        List<String> parts = new ArrayList<>();
        for (Message message : Checks.given("messages", messages)) {
            Checks.given("a message", message);
            parts.add(message.role);
            parts.add(message.content);
        }
        return answer(null, Utf8.join("a message", parts), options, listener);
    }

    /** The goldens packed with the model, replayed on this device. */
    public List<GoldenResult> selfTest() {
        Object[] found = call(Native::selfTest);
        List<String> names = Utf8.split((byte[]) found[0]);
        boolean[] passed = (boolean[]) found[1];
        double[] figures = (double[]) found[2];
        List<GoldenResult> results = new ArrayList<>();
        for (int index = 0; index < passed.length; index++) {
            results.add(new GoldenResult(
                    names.get(index), passed[index], figures[2 * index], figures[2 * index + 1]));
        }
        return results;
    }

    /** Stop the running call: it throws {@link Cancelled}. Without a call, nothing happens. */
    public void cancel() {
        synchronized (lock) {
            stop();
        }
    }

    /** As {@link #cancel}, if it is the call that {@code listener} hears. */
    void cancelFor(TextListener listener) {
        synchronized (lock) {
            if (caller == listener) {
                stop();
            }
        }
    }

    private void stop() {
        if (running && !cancelled) {
            cancelled = true;
            Native.cancel(address);
            long call = calls;
            Thread insisting = new Thread(() -> insist(call), "edgekit cancel");
            insisting.setDaemon(true);
            insisting.start();
        }
    }

    /**
     * Say it again until the call has ended: native code forgets a cancel that it hears before it begins, which is a
     * moment after the call began here.
     */
    private void insist(long call) {
        long pauseMs = 1;
        synchronized (lock) {
            while (running && calls == call) {
                Native.cancel(address);
                try {
                    lock.wait(pauseMs);
                } catch (InterruptedException stopped) {
                    return;
                }
                pauseMs = Math.min(2 * pauseMs, 100);
            }
        }
    }

    /**
     * Free the model. Closing twice is allowed.
     *
     * @throws Busy a call is running; the session stays open
     */
    @Override
    public void close() {
        long freed;
        synchronized (lock) {
            if (running) {
                throw new Busy("a call is running on this session: cancel() it and wait for its end before close()");
            }
            freed = address;
            address = 0;
        }
        if (freed != 0) {
            Native.free(freed);
        }
    }

    void checkCancelled() {
        if (cancelled) {
            throw new Cancelled("the call was cancelled");
        }
    }

    /** The inputs' names as native code takes them. */
    private static final class Names {
        final List<String> names;
        final byte[] joined;

        Names(List<String> names) {
            this.names = names;
            joined = Utf8.join("an input's name", names);
        }
    }

    private interface Call<T> {
        T on(long handle);
    }

    private <T> T call(Call<T> call) {
        return call(null, call);
    }

    /** Between its start and its end the session is busy, so that nobody frees the handle. */
    private <T> T call(TextListener listener, Call<T> call) {
        long entered;
        synchronized (lock) {
            if (address == 0) {
                throw new Closed("the session is closed");
            }
            if (running) {
                throw new Busy(
                        "another call is running on this session: wait for it, cancel() it, or open a second session");
            }
            running = true;
            cancelled = false;
            calls++;
            caller = listener;
            entered = address;
        }
        try {
            T answer = call.on(entered);
            checkCancelled();
            return answer;
        } finally {
            synchronized (lock) {
                running = false;
                caller = null;
                lock.notifyAll();
            }
        }
    }

    private String answer(byte[] prompt, byte[] messages, GenerateOptions options, TextListener listener) {
        GenerateOptions how = options == null ? new GenerateOptions() : options;
        byte[] stop = Utf8.join("a stop text", how.stop);
        Answer answer = new Answer(this, listener);
        return call(listener, handle -> {
            Native.generate(
                    handle, prompt, messages, how.maxTokens, how.temperature, how.topP, how.seed, how.seeded, stop,
                    how.specialTokens, answer);
            return answer.toString();
        });
    }

    private byte[] joined(List<String> names) {
        Names found = lastNames;
        if (found == null || !found.names.equals(names)) {
            found = new Names(names);
            lastNames = found;
        }
        return found.joined;
    }

    private Map<String, Tensor> outputs(List<String> known, Object[] found) {
        List<String> names = known == null ? Utf8.split((byte[]) found[0]) : known;
        outputNames = names;
        int[] heads = (int[]) found[1];
        long[] axes = (long[]) found[2];
        Map<String, Tensor> outputs = new LinkedHashMap<>();
        int axis = 0;
        for (int index = 0; index < names.size(); index++) {
            long[] shape = new long[heads[2 * index + 1]];
            System.arraycopy(axes, axis, shape, 0, shape.length);
            axis += shape.length;
            outputs.put(
                    names.get(index), Tensor.wrap(DType.numbered(heads[2 * index]), (byte[]) found[3 + index], shape));
        }
        return outputs;
    }

    private static List<Label> labels(String text, Object[] found) {
        List<String> names = Utf8.split((byte[]) found[0]);
        float[] scores = (float[]) found[1];
        int[] spans = (int[]) found[2];
        boolean ofTokens = false;
        for (int offset : spans) {
            ofTokens |= offset > 0;
        }
        Offsets offsets = new Offsets(text);
        List<Label> labels = new ArrayList<>();
        for (int index = 0; index < scores.length; index++) {
            int start = offsets.chars(spans[2 * index]);
            int end = offsets.chars(spans[2 * index + 1]);
            String word = ofTokens ? text.substring(start, end) : null;
            labels.add(new Label(names.get(index), scores[index], start, end, word));
        }
        return labels;
    }
}
