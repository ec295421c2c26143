package dev.edgekit;

/** The bundle would take more memory than the app allows. */
public final class MemoryBudget extends EdgekitException {
    private static final long serialVersionUID = 1;

    public MemoryBudget(String message) {
        super("MemoryBudget", message);
    }
}
