import CEdgekit
import Dispatch

/// An open bundle. One call at a time: a second one throws Busy. `cancel` and `close` may come from anywhere.
///
/// Every call has two forms: in async functions it runs off the caller's executor and is cancelled with its Task,
/// elsewhere it blocks. Dropping the last reference frees the model.
public final class Session: Sendable {
    public let info: Info
    let engine: Engine

    private init(_ engine: Engine) throws {
        self.engine = engine
        info = try Info(json: String(cString: edgekit_info(engine.handle)))
    }

    /// Opens the bundle in the folder at `path`, every file of it proven first. Throws BundleInvalid, UnsupportedDevice,
    /// MemoryBudget, LoadFailed, BadInput.
    public static func open(_ path: String, _ options: OpenOptions = OpenOptions()) throws -> Session {
        var options = options
        if options.engineLibrary == nil {
            options.engineLibrary = Frameworks.library(forBundle: path, in: Frameworks.ofThisApp)
        }
        var handle: OpaquePointer?
        try withC(path, "the bundle's path") { path in
            try options.withC { options in
                try check { edgekit_open(path, &options, &handle, $0) }
            }
        }
        guard let handle else { throw EdgekitError.loadFailed("no session was made") }
        return try Session(Engine(handle: handle))
    }

    /// As above, on a thread of its own. It is not interrupted: a Task that was cancelled meanwhile gets Cancelled.
    public static func open(_ path: String, _ options: OpenOptions = OpenOptions()) async throws -> Session {
        let session = try await onThread { () throws -> Session in try open(path, options) }
        if Task.isCancelled { throw EdgekitError.isCancelled }
        return session
    }

    /// Every file of the bundle is the one that was packed, or BundleInvalid. No engine is touched.
    public static func verify(_ path: String) throws {
        try withC(path, "the bundle's path") { path in try check { edgekit_verify(path, $0) } }
    }

    public static func verify(_ path: String) async throws {
        try await onThread { () throws in try verify(path) }
    }

    /// Stop the running call: it throws Cancelled, a stream within one token. Without a call, nothing happens.
    public func cancel() { engine.cancel() }

    /// Free the model. A running call is cancelled first, and waited for. Closing twice is allowed.
    public func close() { engine.close() }

    public func close() async {
        await withCheckedContinuation { done in
            DispatchQueue.global().async {
                self.engine.close()
                done.resume()
            }
        }
    }

    private static func onThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global(qos: .userInitiated).async { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// The calls. WrongTask where the bundle's task has no such call; BadInput, RunFailed, Busy, Cancelled, Closed.
extension Session {
    /// The graph's outputs, of tensors named, typed and shaped as its inputs (ONNX bundles).
    public func run(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        try engine.perform { try Calls.run($0, inputs) }
    }

    public func run(_ inputs: [String: Tensor]) async throws -> [String: Tensor] {
        try await engine.perform { try Calls.run($0, inputs) }
    }

    /// Ids with the special tokens the model wants, never truncated.
    public func tokenize(_ text: String) throws -> [Int32] {
        try engine.perform { try Calls.tokenize($0, text) }
    }

    public func tokenize(_ text: String) async throws -> [Int32] {
        try await engine.perform { try Calls.tokenize($0, text) }
    }

    /// The vector of one text, cut to the manifest's max_tokens.
    public func embed(_ text: String) throws -> [Float] {
        try engine.perform { try Calls.embed($0, text) }
    }

    public func embed(_ text: String) async throws -> [Float] {
        try await engine.perform { try Calls.embed($0, text) }
    }

    /// Text classification: every label with its score, best first, of a text or of a pair. Token classification: one
    /// label a token, in the text's order.
    public func classify(_ text: String, pair: String? = nil) throws -> [Label] {
        try engine.perform { try Calls.classify($0, text, pair) }
    }

    public func classify(_ text: String, pair: String? = nil) async throws -> [Label] {
        try await engine.perform { try Calls.classify($0, text, pair) }
    }

    /// Image classification: every label with its score, best first.
    public func classify(_ pixels: Pixels) throws -> [Label] {
        try engine.perform { try Calls.classify($0, pixels) }
    }

    public func classify(_ pixels: Pixels) async throws -> [Label] {
        try await engine.perform { try Calls.classify($0, pixels) }
    }

    /// Replay the goldens packed with the model on this very device.
    public func selfTest() throws -> [GoldenResult] {
        try engine.perform { try Calls.selfTest($0) }
    }

    public func selfTest() async throws -> [GoldenResult] {
        try await engine.perform { try Calls.selfTest($0) }
    }

    /// The continuation of `prompt`, as it comes. The session is busy from now on, until the stream is exhausted or
    /// left; leaving it, or cancelling the Task that reads it, stops the model. Throws PromptTooLong and as other calls.
    public func generate(
        _ prompt: String, _ options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<String, any Error> {
        Answer.stream(engine) { try Calls.generate($0, prompt, options, user: $1) }
    }

    /// The assistant's answer, as it comes: see `generate`. WrongTask where the bundle's chat template is more than a
    /// string of turns: render it, and call `generate` with `noSpecialTokens`.
    public func chat(
        _ messages: [Message], _ options: GenerateOptions = GenerateOptions()
    ) -> AsyncThrowingStream<String, any Error> {
        Answer.stream(engine) { try Calls.chat($0, messages, options, user: $1) }
    }
}
