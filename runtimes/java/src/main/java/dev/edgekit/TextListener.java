package dev.edgekit;

/** Hears an answer while it is made. */
public interface TextListener {
    /**
     * A piece of the answer: whole characters, in order. Runs on the thread that called {@link Session#generate} or
     * {@link Session#chat}; the next piece waits until it returns. An exception thrown here ends the answer and reaches
     * that caller. Of the session only {@link Session#cancel} and {@link Session#info} may be called: everything else
     * is {@link Busy}.
     */
    void onText(String text);
}
