package dev.edgekit;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Strings as C has them: UTF-8 with a zero byte at the end. Not JNI's own strings, whose "modified UTF-8" spells every
 * emoji in another way.
 */
final class Utf8 {
    private Utf8() {}

    /** BadInput where {@code text} is null, or no Unicode, or holds the character that ends strings in C. */
    static byte[] encode(String name, String text) {
        Checks.given(name, text);
        int zero = text.indexOf('\0');
        if (zero >= 0) {
            throw new BadInput(name + " holds a zero character at " + zero + ": C's strings end there");
        }
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8); // '?' for what is malformed
        if (!text.equals(decode(bytes))) {
            throw new BadInput(name + " holds a lone surrogate at character " + loneSurrogate(text)
                    + ": it is not valid Unicode");
        }
        return Arrays.copyOf(bytes, bytes.length + 1);
    }

    private static int loneSurrogate(String text) {
        int at = 0;
        while (at < text.length()) {
            int point = text.codePointAt(at);
            if (Character.charCount(point) == 1 && Character.isSurrogate((char) point)) {
                break;
            }
            at += Character.charCount(point);
        }
        return at;
    }

    /** Null stays null. */
    static byte[] encodeIfGiven(String name, String text) {
        return text == null ? null : encode(name, text);
    }

    /** One after another, each with its zero byte. */
    static byte[] join(String name, List<String> texts) {
        ByteArrayOutputStream joined = new ByteArrayOutputStream();
        for (String text : texts) {
            byte[] encoded = encode(name, text);
            joined.write(encoded, 0, encoded.length);
        }
        return joined.toByteArray();
    }

    /** The inverse of {@link #join}. */
    static List<String> split(byte[] joined) {
        List<String> texts = new ArrayList<>();
        int start = 0;
        for (int at = 0; at < joined.length; at++) {
            if (joined[at] == 0) {
                texts.add(new String(joined, start, at - start, StandardCharsets.UTF_8));
                start = at + 1;
            }
        }
        return texts;
    }

    static String decode(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }
}
