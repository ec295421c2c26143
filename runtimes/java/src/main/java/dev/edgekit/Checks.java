package dev.edgekit;

/** Arguments that are refused before native code sees them. */
final class Checks {
    private Checks() {}

    static long positive(String name, long value) {
        if (value < 1) {
            throw new BadInput(name + " is " + value + ", expected 1 or more");
        }
        return value;
    }

    static <T> T given(String name, T value) {
        if (value == null) {
            throw new BadInput(name + " is null");
        }
        return value;
    }
}
