package dev.edgekit;

/** {@link Session#close} was called. */
public final class Closed extends EdgekitException {
    private static final long serialVersionUID = 1;

    public Closed(String message) {
        super("Closed", message);
    }
}
