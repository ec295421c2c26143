package dev.edgekit;

/** How to open a bundle. What is not said is left to the bundle and this device. */
public final class OpenOptions {
    int threads;
    long memoryBudget;
    boolean lowMemory;
    boolean verify = true;
    int contextTokens;
    String engineLibrary;
    String textLibrary;

    /** Threads that the engine computes with. Default: the manifest's, at most the physical cores there are. */
    public OpenOptions threads(int threads) {
        this.threads = (int) Checks.positive("threads", threads);
        return this;
    }

    /**
     * Bytes, held against the peak that was measured when the bundle was packed, before anything is loaded: {@link
     * MemoryBudget} if it is more. Android's ActivityManager.MemoryInfo.availMem is a good one.
     */
    public OpenOptions memoryBudget(long bytes) {
        this.memoryBudget = Checks.positive("memoryBudget", bytes);
        return this;
    }

    /** Less private memory for less speed. */
    public OpenOptions lowMemory(boolean lowMemory) {
        this.lowMemory = lowMemory;
        return this;
    }

    /** False leaves out the hashes, of a folder verified before. */
    public OpenOptions verify(boolean verify) {
        this.verify = verify;
        return this;
    }

    /** Tokens of prompt and answer together; memory grows with them. Default: the manifest's. */
    public OpenOptions contextTokens(int tokens) {
        this.contextTokens = (int) Checks.positive("contextTokens", tokens);
        return this;
    }

    /**
     * Path of libonnxruntime.so or libllama.so. Default: the system's loader looks for it; on Android it finds the
     * libraries in the app.
     */
    public OpenOptions engineLibrary(String path) {
        this.engineLibrary = path;
        return this;
    }

    /** Path of onnxruntime-extensions' library, for tokenizers that this runtime lacks. Default: looked for by name. */
    public OpenOptions textLibrary(String path) {
        this.textLibrary = path;
        return this;
    }
}
