package dev.edgekit;

/** {@link Session#cancel} was called. */
public final class Cancelled extends EdgekitException {
    private static final long serialVersionUID = 1;

    public Cancelled(String message) {
        super("Cancelled", message);
    }
}
