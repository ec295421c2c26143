package dev.edgekit;

/** A label with its score; of token classification, with the stretch of text that it is for. */
public final class Label {
    public final String label;
    public final float score;

    /** Where the token begins and ends in the text, in chars as {@link String#charAt} counts them; 0 and 0 without one. */
    public final int start;

    public final int end;

    /** The token's text; null where the label is for the whole input. */
    public final String word;

    Label(String label, float score, int start, int end, String word) {
        this.label = label;
        this.score = score;
        this.start = start;
        this.end = end;
        this.word = word;
    }

    @Override
    public String toString() {
        return (word == null ? "" : word + ": ") + label + " " + score;
    }
}
