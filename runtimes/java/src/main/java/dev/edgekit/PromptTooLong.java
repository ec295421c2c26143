package dev.edgekit;

/** Prompt and answer do not fit the context. */
public final class PromptTooLong extends BadInput {
    private static final long serialVersionUID = 1;

    public PromptTooLong(String message) {
        super("PromptTooLong", message);
    }
}
