package dev.edgekit;

/** The engine failed during a call. */
public final class RunFailed extends EdgekitException {
    private static final long serialVersionUID = 1;

    public RunFailed(String message) {
        super("RunFailed", message);
    }
}
