package dev.edgekit;

import java.nio.ByteBuffer;

/**
 * The functions of edgekit_jni.c, which looks up this class and what it calls here by name (see consumer-rules.pro).
 * Texts are bytes as {@link Utf8} makes them. A handle is a session's address, 0 never; native code trusts it.
 */
final class Native {
    /** Path of libedgekit_jni.so, for where {@link System#loadLibrary} does not find it: on a desktop. */
    private static final String LIBRARY_PROPERTY = "dev.edgekit.library";

    private static boolean loaded;

    private Native() {}

    static synchronized void load() {
        if (loaded) {
            return;
        }
        String path = System.getProperty(LIBRARY_PROPERTY);
        try {
            if (path == null) {
                System.loadLibrary("edgekit_jni");
            } else {
                System.load(path);
            }
            free(0); // nothing, by the function itself: another library has none
        } catch (LinkageError | SecurityException error) {
            throw new LoadFailed(
                    "the native part cannot be loaded (" + String.valueOf(error.getMessage()).replaceAll("\\s+", " ")
                            + "): build libedgekit_jni.so of this version for this device, as README.md says");
        }
        loaded = true;
    }

    static native void verify(byte[] folder);

    static native long open(
            byte[] folder, int threads, long memoryBudget, boolean lowMemory, boolean verify, int contextTokens,
            byte[] engineLibrary, byte[] textLibrary);

    static native byte[] info(long handle);

    static native void cancel(long handle);

    static native void free(long handle);

    /**
     * {@code heads} is dtype and rank of each tensor in turn, {@code axes} all shapes in a row. Back comes {byte[]
     * names, int[] heads, long[] axes, byte[] of the first output, of the second, ...}, names if they are wanted: they
     * are the same call after call.
     */
    static native Object[] run(
            long handle, byte[] names, int[] heads, long[] axes, ByteBuffer[] data, boolean wantNames);

    static native int[] tokenize(long handle, byte[] text);

    static native float[] embed(long handle, byte[] text);

    /** {byte[] labels, float[] scores, int[] start and end of each in turn, in bytes of the text}. */
    static native Object[] classify(long handle, byte[] text, byte[] pair);

    static native Object[] classifyPixels(long handle, byte[] rgb, int height, int width);

    /** {@code messages}: role and content of each in turn; null: {@code prompt} is continued as it is. */
    static native void generate(
            long handle, byte[] prompt, byte[] messages, int maxTokens, float temperature, float topP, long seed,
            boolean seeded, byte[] stop, boolean specialTokens, Object answer);

    /** {byte[] names, boolean[] passed, double[] difference and tolerance of each in turn}. */
    static native Object[] selfTest(long handle);

    /** Called by native code: its refusal as an exception. */
    static void fail(int code, byte[] message) {
        throw EdgekitException.of(code, Utf8.decode(message));
    }

    /** Called by native code: a piece of an answer. */
    static void text(Object answer, byte[] piece) {
        ((Answer) answer).add(Utf8.decode(piece));
    }
}
