package dev.edgekit;

/** An answer in the making. */
final class Answer {
    private final Session session;
    private final TextListener listener;
    private final StringBuilder texts = new StringBuilder();

    Answer(Session session, TextListener listener) {
        this.session = session;
        this.listener = listener;
    }

    void add(String text) {
        session.checkCancelled(); // one that came before the engine's call began is not lost
        texts.append(text);
        if (listener != null) {
            listener.onText(text);
        }
    }

    @Override
    public String toString() {
        return texts.toString();
    }
}
