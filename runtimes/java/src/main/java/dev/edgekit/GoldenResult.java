package dev.edgekit;

/** What became of one golden: a recorded input whose answer on this device was compared with the one expected. */
public final class GoldenResult {
    public final String name;
    public final boolean passed;

    /** NaN: what was answered does not compare with what was expected. */
    public final double difference;

    public final double tolerance;

    GoldenResult(String name, boolean passed, double difference, double tolerance) {
        this.name = name;
        this.passed = passed;
        this.difference = difference;
        this.tolerance = tolerance;
    }

    @Override
    public String toString() {
        return name + (passed ? " passed" : " failed") + ": " + difference + " of " + tolerance;
    }
}
