package dev.edgekit;

/**
 * What can go wrong with a bundle on a device. One tree; {@link #code} is the same short name in every language.
 *
 * <pre>
 * EdgekitException
 * ├── BundleInvalid       the folder is not a bundle, or not the one that was packed
 * ├── UnsupportedDevice   this CPU lacks what the bundle needs
 * ├── MemoryBudget        it would take more memory than the app allows
 * ├── LoadFailed          the engine is not there, is another version, or refuses the model
 * ├── RunFailed           the engine failed during a call
 * ├── WrongTask           the bundle's task has no such call
 * ├── BadInput            an argument's name, type, shape or range
 * │   └── PromptTooLong   prompt and answer do not fit the context
 * ├── Busy                another call is running on this session
 * ├── Cancelled           cancel() was called
 * └── Closed              close() was called
 * </pre>
 *
 * <p>{@link #getMessage} is one line: what, the measured value and the limit, and what to do about it.
 */
public abstract class EdgekitException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final String code;

    EdgekitException(String code, String message) {
        super(message);
        this.code = code;
    }

    /** The class's name as written here, also where a shrinker renamed the class. */
    public final String code() {
        return code;
    }

    /** The exception for a code of edgekit.h. */
    static EdgekitException of(int code, String told) {
        String message = inJavasNames(told);
        switch (code) {
            case 1: return new BundleInvalid(message);
            case 2: return new UnsupportedDevice(message);
            case 3: return new MemoryBudget(message);
            case 4: return new LoadFailed(message);
            case 5: return new RunFailed(message);
            case 6: return new WrongTask(message);
            case 7: return new BadInput(message);
            case 8: return new PromptTooLong(message);
            case 9: return new Busy(message);
            case 10: return new Cancelled(message);
            case 11: return new Closed(message);
            default: return new RunFailed("the native part failed with the unknown code " + code + ": " + message);
        }
    }

    /** The C runtime's remedies name its own options. */
    private static String inJavasNames(String message) {
        return message.replace("its library in engine_library", "its library in OpenOptions.engineLibrary")
            .replace("name it in text_library", "name it in OpenOptions.textLibrary")
            .replace("or lower max_tokens", "or lower maxTokens");
    }
}
