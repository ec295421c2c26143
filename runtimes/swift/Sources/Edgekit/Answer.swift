import CEdgekit
import Foundation

/// An answer on its way from the thread that generates it to the Task that reads it. At most one text lies in between:
/// the model works on the next one while the app shows this one, and waits where the app does not read.
///
/// Unchecked Sendable: everything that changes is guarded by `call.condition`.
final class Answer: @unchecked Sendable {
    typealias Generate = @Sendable (OpaquePointer, UnsafeMutableRawPointer) throws -> Void

    private let engine: Engine
    private let call: Call
    private var text: String?
    private var end: Result<Void, any Error>?
    private var reader: CheckedContinuation<String?, any Error>?

    /// `generate` calls C with `onText` and the pointer it is given as `user`.
    init(_ engine: Engine, _ call: Call, _ generate: @escaping Generate) {
        self.engine = engine
        self.call = call
        engine.queue.async { [self] in
            finish(Result { try engine.step(call) { try generate($0, Unmanaged.passUnretained(self).toOpaque()) } })
        }
    }

    static let onText: edgekit_on_text = { text, user in
        guard let text, let user else { return 1 }
        let answer = Unmanaged<Answer>.fromOpaque(user).takeUnretainedValue()
        return answer.offer(String(cString: text)) ? 0 : 1
    }

    /// false: nobody wants more.
    private func offer(_ text: String) -> Bool {
        call.condition.lock()
        defer { call.condition.unlock() }
        while self.text != nil && !call.isCancelledHeld { call.condition.wait() }
        if call.isCancelledHeld { return false }
        if let reader {
            self.reader = nil
            reader.resume(returning: text)
        } else {
            self.text = text
        }
        return true
    }

    private func finish(_ result: Result<Void, any Error>) {
        call.condition.lock()
        end = result
        let waiting = reader
        reader = nil
        if let waiting { over(waiting) }
        call.condition.unlock()
    }

    /// The next text; nil after the last one.
    func next() async throws -> String? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { read($0) }
        } onCancel: {
            engine.cancel(call)
        }
    }

    private func read(_ continuation: CheckedContinuation<String?, any Error>) {
        call.condition.lock()
        defer { call.condition.unlock() }
        if reader != nil {
            continuation.resume(throwing: EdgekitError.busy("another Task reads this stream: read it in one"))
        } else if let text, !call.isCancelledHeld {
            self.text = nil
            call.condition.broadcast()
            continuation.resume(returning: text)
        } else if end != nil {
            over(continuation)
        } else {
            reader = continuation
        }
    }

    /// The session is free again once its reader knows that the answer is over. With the condition held.
    private func over(_ continuation: CheckedContinuation<String?, any Error>) {
        engine.giveBack(call)
        if call.isCancelledHeld {
            continuation.resume(throwing: EdgekitError.isCancelled)
        } else {
            continuation.resume(with: (end ?? .success(())).map { nil })
        }
    }

    func leave() { engine.abandon(call) }
}

extension Answer {
    /// Busy from now on, until the stream is exhausted or left.
    static func stream(_ engine: Engine, _ generate: @escaping Generate) -> AsyncThrowingStream<String, any Error> {
        do {
            let reading = Reading(Answer(engine, try engine.take(), generate))
            return AsyncThrowingStream { try await reading.answer.next() }
        } catch {
            return AsyncThrowingStream { throw error }
        }
    }
}

/// Held by the stream alone: gone when the stream is exhausted or left, also in the middle.
private final class Reading: Sendable {
    let answer: Answer

    init(_ answer: Answer) { self.answer = answer }

    deinit { answer.leave() }
}
