package dev.edgekit;

/** Offsets in bytes of a text's UTF-8 to offsets in its chars. Fast where each asked for is not before the last. */
final class Offsets {
    private final String text;
    private int chars;
    private int bytes;

    Offsets(String text) {
        this.text = text;
    }

    /** The first char that does not begin before {@code offset}; the text's end for what is beyond it. */
    int chars(int offset) {
        if (offset < bytes) {
            chars = 0;
            bytes = 0;
        }
        while (bytes < offset && chars < text.length()) {
            int point = text.codePointAt(chars);
            bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
            chars += Character.charCount(point);
        }
        return chars;
    }
}
