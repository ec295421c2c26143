package dev.edgekit

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.launch

/**
 * [Session.generate] as a flow: each collection makes the answer anew, on [Dispatchers.Default], and emits its texts as
 * they come. Leaving the collection cancels the call and waits for its end, so that the session is free afterwards.
 * What the call throws, the collector gets; [Cancelled] only where somebody else called [Session.cancel].
 */
fun Session.generateFlow(prompt: String, options: GenerateOptions = GenerateOptions()): Flow<String> =
    texts { listener -> generate(prompt, options, listener) }

/** [Session.chat] as a flow; otherwise as [generateFlow]. */
fun Session.chatFlow(messages: List<Message>, options: GenerateOptions = GenerateOptions()): Flow<String> =
    texts { listener -> chat(messages, options, listener) }

private class NobodyListens : RuntimeException()

/** The buffer is unlimited, for an answer is short, and a slow collector shall not hold the session. */
private fun Session.texts(call: (TextListener) -> Unit): Flow<String> = callbackFlow {
    val listener = TextListener { text -> if (trySend(text).isFailure) throw NobodyListens() }
    launch(Dispatchers.Default) {
        try {
            call(listener)
            channel.close()
        } catch (failure: Throwable) {
            channel.close(failure)
        }
    }
    awaitClose { cancelFor(listener) } // another call on this session, begun meanwhile, goes on
}.buffer(Channel.UNLIMITED)
