package dev.edgekit;

/** Another call is running on this session. */
public final class Busy extends EdgekitException {
    private static final long serialVersionUID = 1;

    public Busy(String message) {
        super("Busy", message);
    }
}
