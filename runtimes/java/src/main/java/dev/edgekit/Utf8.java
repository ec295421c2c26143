package dev.edgekit;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
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
        CharBuffer chars = CharBuffer.wrap(text);
        try {
            ByteBuffer bytes = StandardCharsets.UTF_8.newEncoder().encode(chars); // reports what is malformed
            byte[] ended = new byte[bytes.remaining() + 1];
            bytes.get(ended, 0, ended.length - 1);
            return ended;
        } catch (CharacterCodingException malformed) {
            throw new BadInput(
                    name + " holds a lone surrogate at character " + chars.position() + ": it is not valid Unicode");
        }
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
