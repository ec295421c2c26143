package dev.edgekit;

/** An argument's name, type, shape or range. */
public class BadInput extends EdgekitException {
    private static final long serialVersionUID = 1;

    public BadInput(String message) {
        super("BadInput", message);
    }

    BadInput(String code, String message) {
        super(code, message);
    }
}
