package dev.edgekit;

/** The folder is not a bundle, or not the one that was packed. */
public final class BundleInvalid extends EdgekitException {
    private static final long serialVersionUID = 1;

    public BundleInvalid(String message) {
        super("BundleInvalid", message);
    }
}
