import android.graphics.Bitmap
import dev.edgekit.Edgekit
import dev.edgekit.EdgekitException
import dev.edgekit.GenerateOptions
import dev.edgekit.Message
import dev.edgekit.OpenOptions
import dev.edgekit.Session
import dev.edgekit.chatFlow
import dev.edgekit.generateFlow
import dev.edgekit.toPixels
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.collect
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

/** `FlowsKt BUNDLE LIBRARY`: answers as flows, and the name of what comes back of each step. */
fun main(arguments: Array<String>) {
    val options = OpenOptions().threads(1).engineLibrary(arguments[1])
    Edgekit.open(arguments[0], options).use { session ->
        val answer = session.generateFlow("A")
        say("whole") { answer.toList().joinToString("") }
        say("again") { answer.toList().joinToString("") }
        say("slow") { answer.onEach { delay(20) }.toList().joinToString("") }
        say("stopped") { session.generateFlow("A", GenerateOptions().stop("z")).toList().joinToString("") }
        say("chat") { session.chatFlow(listOf(Message.user("A"))).toList().size > 0 }
        say("too long") { session.generateFlow("A".repeat(500)).toList() }
        repeat(100) { round -> leaves(session, answer, round) }
        say("still there") { answer.toList().joinToString("") }
    }
    val colours = intArrayOf(0xFF010203.toInt(), 0x00FF8040, 0x7F0000FF, -1, 0, 0x00123456)
    val picture = Bitmap(colours, 3).toPixels()
    val kept = picture.javaClass.getDeclaredField("rgb").apply { isAccessible = true }.get(picture) as ByteArray
    println("pixels " + kept.joinToString(" ") { (it.toInt() and 255).toString(16) })
}

/** A collector that goes away, early or late: the session must be free at once. */
private fun leaves(session: Session, answer: Flow<String>, round: Int) = runBlocking {
    if (round % 2 == 0) {
        check(answer.first() == answer.take(1).toList().single())
    } else {
        val heard = Channel<Unit>(Channel.CONFLATED)
        val collecting = launch { answer.collect { heard.send(Unit) } }
        if (round % 4 == 1) heard.receive() else delay((round % 7).toLong())
        collecting.cancelAndJoin()
    }
    session.tokenize("not Busy")
}

private fun say(name: String, step: suspend () -> Any) {
    val told = try {
        runBlocking { step() }
    } catch (error: EdgekitException) {
        error.code()
    }
    println("$name $told")
}
