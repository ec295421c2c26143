package dev.edgekit;

/** The engine or this library's native part is not there, is another version, or refuses the model. */
public final class LoadFailed extends EdgekitException {
    private static final long serialVersionUID = 1;

    public LoadFailed(String message) {
        super("LoadFailed", message);
    }
}
