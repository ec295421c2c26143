package dev.edgekit;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;

/**
 * Opens bundles that edgekit packed.
 *
 * <pre>
 * try (Session session = Edgekit.open(folder)) {
 *     float[] vector = session.embed("a text");
 * }
 * </pre>
 */
public final class Edgekit {
    private static final int MAX_MANIFEST_BYTES = 8 << 20;

    private Edgekit() {}

    public static Session open(String folder) {
        return open(folder, new OpenOptions());
    }

    /**
     * A session on the bundle in {@code folder}, a path in the file system: files in an APK's assets must be copied out
     * first, for engines map them into memory. Every file is proven first to be the one that was packed. It takes
     * seconds on a device: not on the main thread.
     *
     * @throws BundleInvalid as {@link #verify}
     * @throws UnsupportedDevice this CPU lacks what the bundle needs
     * @throws MemoryBudget it would take more memory than {@code options} allow
     * @throws LoadFailed the engine is not there, is another version, or refuses the model
     * @throws BadInput an option is out of range
     */
    public static Session open(String folder, OpenOptions options) {
        Checks.given("options", options);
        byte[] path = Utf8.encode("folder", folder);
        byte[] engine = Utf8.encodeIfGiven("engineLibrary", options.engineLibrary);
        byte[] text = Utf8.encodeIfGiven("textLibrary", options.textLibrary);
        Native.load();
        long handle = Native.open(
                path, options.threads, options.memoryBudget, options.lowMemory, options.verify, options.contextTokens,
                engine, text);
        return new Session(handle, Utf8.decode(Native.info(handle)));
    }

    /**
     * Every file of the bundle in {@code folder} is the one that was packed; its manifest, as JSON. No engine is
     * touched.
     *
     * @throws BundleInvalid with what is wrong
     */
    public static String verify(String folder) {
        byte[] path = Utf8.encode("folder", folder);
        Native.load();
        Native.verify(path);
        return read(new File(folder, "edgekit.json"));
    }

    private static String read(File manifest) {
        byte[] bytes = new byte[(int) Math.min(manifest.length(), MAX_MANIFEST_BYTES)];
        try (FileInputStream file = new FileInputStream(manifest)) {
            int have = 0;
            while (have < bytes.length) {
                int more = file.read(bytes, have, bytes.length - have);
                if (more < 0) {
                    throw new IOException("it became shorter");
                }
                have += more;
            }
        } catch (IOException error) {
            throw new BundleInvalid("edgekit.json cannot be read: " + error.getMessage());
        }
        return Utf8.decode(bytes);
    }
}
