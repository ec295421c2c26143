package dev.edgekit;

/** The bundle's task has no such call. */
public final class WrongTask extends EdgekitException {
    private static final long serialVersionUID = 1;

    public WrongTask(String message) {
        super("WrongTask", message);
    }
}
