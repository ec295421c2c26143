import CEdgekit
import Dispatch
import Foundation

/// A call's place on a session: taken before it starts, given back when its answer was received or given up.
final class Call: @unchecked Sendable {
    // Unchecked: `cancelled` is guarded by `condition`, on which a producer of text also waits for its reader.
    let condition = NSCondition()
    private var cancelled = false

    /// With `condition` held.
    var isCancelledHeld: Bool { cancelled }

    var isCancelled: Bool {
        condition.lock()
        defer { condition.unlock() }
        return cancelled
    }

    func cancel() {
        condition.lock()
        cancelled = true
        condition.broadcast()
        condition.unlock()
    }
}

/// The C session, and whose turn it is.
///
/// Unchecked Sendable: the C handle may be used from any thread by its header's rules, which are kept here: one call at
/// a time (`queue` is serial), cancel and close from any thread, free last (by deinit: every call and every stream holds
/// this object). What changes, `taken`, `running` and `closed`, is guarded by `lock`.
final class Engine: @unchecked Sendable {
    let handle: OpaquePointer
    let queue = DispatchQueue(label: "edgekit.session", qos: .userInitiated)
    private let lock = NSLock()
    private var taken: Call?
    private var running: Call?
    private var closed = false

    init(handle: OpaquePointer) { self.handle = handle }

    deinit { edgekit_free(handle) }

    /// The session's one place. Throws Busy or Closed.
    func take() throws -> Call {
        try lock.withLock {
            if closed { throw EdgekitError.isClosed }
            if taken != nil { throw EdgekitError.isBusy }
            let call = Call()
            taken = call
            return call
        }
    }

    func giveBack(_ call: Call) {
        lock.withLock { if taken === call { taken = nil } }
    }

    /// Give back the place of a call that nobody waits for any more, and stop it. The next call waits the moment that
    /// it takes this one to end.
    func abandon(_ call: Call) {
        giveBack(call)
        cancel(call)
    }

    /// A C call, on `queue`.
    func step<T>(_ call: Call, _ body: (OpaquePointer) throws -> T) throws -> T {
        lock.withLock { running = call }
        defer { lock.withLock { running = nil } }
        if call.isCancelled { throw EdgekitError.isCancelled }
        return try body(handle)
    }

    func cancel() {
        if let call = lock.withLock({ taken }) { cancel(call) }
    }

    func cancel(_ call: Call) {
        call.cancel()
        insist(call)
    }

    /// C forgets a cancel that comes before its call has begun, a moment after `running` says so: ask until it ended.
    private func insist(_ call: Call) {
        let asked = lock.withLock {
            guard running === call else { return false }
            edgekit_cancel(handle)
            return true
        }
        guard asked else { return }
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(5)) { self.insist(call) }
    }

    func close() {
        let call = lock.withLock {
            closed = true
            return taken
        }
        call?.cancel()  // wakes a producer of text that waits for its reader
        edgekit_close(handle)
    }
}

extension Engine {
    /// A call on the caller's thread.
    func perform<T>(_ body: (OpaquePointer) throws -> T) throws -> T {
        let call = try take()
        defer { giveBack(call) }
        return try queue.sync { try step(call, body) }
    }

    /// A call on a thread of its own; cancelled with the Task that waits for it.
    func perform<T: Sendable>(_ body: @escaping @Sendable (OpaquePointer) throws -> T) async throws -> T {
        let call = try take()
        defer { giveBack(call) }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                queue.async { continuation.resume(with: Result { try self.step(call, body) }) }
            }
        } onCancel: {
            cancel(call)
        }
    }
}
