package dev.edgekit;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** How to make an answer. Without any, the most likely token each time. */
public final class GenerateOptions {
    int maxTokens;
    float temperature;
    float topP = 1;
    long seed;
    boolean seeded;
    boolean specialTokens = true;
    List<String> stop = new ArrayList<>();

    /** Default: 256, or what the context leaves if that is less. More than it leaves is {@link PromptTooLong}. */
    public GenerateOptions maxTokens(int tokens) {
        this.maxTokens = (int) Checks.positive("maxTokens", tokens);
        return this;
    }

    /** 0 (default): the most likely token each time. */
    public GenerateOptions temperature(float temperature) {
        this.temperature = temperature;
        return this;
    }

    /** Only of the most likely tokens that together reach this probability. 1 (default): of all. */
    public GenerateOptions topP(float topP) {
        this.topP = topP;
        return this;
    }

    /** The same answer each time on the same machine. */
    public GenerateOptions seed(long seed) {
        this.seed = seed;
        this.seeded = true;
        return this;
    }

    /** The answer ends before any of these; no part of one is emitted. */
    public GenerateOptions stop(String... texts) {
        this.stop = new ArrayList<>(Arrays.asList(texts));
        return this;
    }

    /** False: the prompt has its special tokens spelt out already, as a chat has that the app rendered itself. */
    public GenerateOptions specialTokens(boolean added) {
        this.specialTokens = added;
        return this;
    }
}
