package dev.edgekit;

/** This CPU lacks what the bundle needs. */
public final class UnsupportedDevice extends EdgekitException {
    private static final long serialVersionUID = 1;

    public UnsupportedDevice(String message) {
        super("UnsupportedDevice", message);
    }
}
