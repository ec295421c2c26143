import CEdgekit

public struct OpenOptions: Sendable, Equatable {
    /// nil: the manifest's device.threads, at most the physical cores there are.
    public var threads: Int?
    /// Bytes; held against the peak that was measured when the bundle was packed, before anything is loaded.
    public var memoryBudget: UInt64?
    /// Less private memory for less speed.
    public var lowMemory: Bool
    /// false leaves out the hashes, of a folder verified before.
    public var verify: Bool
    /// nil: the manifest's.
    public var contextTokens: Int?
    /// Path of the engine's library. nil: the app's frameworks (see README.md), then where the system's loader looks.
    public var engineLibrary: String?
    /// Path of onnxruntime-extensions' library, for tokenizers that this runtime lacks. nil: looked for by name.
    public var textLibrary: String?

    public init(
        threads: Int? = nil, memoryBudget: UInt64? = nil, lowMemory: Bool = false, verify: Bool = true,
        contextTokens: Int? = nil, engineLibrary: String? = nil, textLibrary: String? = nil
    ) {
        self.threads = threads
        self.memoryBudget = memoryBudget
        self.lowMemory = lowMemory
        self.verify = verify
        self.contextTokens = contextTokens
        self.engineLibrary = engineLibrary
        self.textLibrary = textLibrary
    }

    func withC<T>(_ body: (inout edgekit_options) throws -> T) throws -> T {
        var options = edgekit_options()
        edgekit_options_init(&options)
        options.threads = try counted(threads, "threads")
        options.context_tokens = try counted(contextTokens, "contextTokens")
        options.low_memory = lowMemory ? 1 : 0
        options.skip_verify = verify ? 0 : 1
        if let memoryBudget {
            guard memoryBudget > 0 else { throw EdgekitError.badInput("memoryBudget is 0, expected 1 or more") }
            options.memory_budget_bytes = memoryBudget
        }
        return try withOptionalC(engineLibrary, "engineLibrary") { engine in
            options.engine_library = engine
            return try withOptionalC(textLibrary, "textLibrary") { text in
                options.text_library = text
                return try body(&options)
            }
        }
    }
}

public struct GenerateOptions: Sendable, Equatable {
    /// nil: 256, or what the context leaves if that is less.
    public var maxTokens: Int?
    /// 0: the most likely token each time.
    public var temperature: Float
    /// 1: no cut.
    public var topP: Float
    /// The same answer on the same machine; nil: another one each time.
    public var seed: UInt64?
    /// The answer ends before any of these; no part of one is emitted.
    public var stop: [String]
    /// The prompt has its special tokens spelt out already, as a rendered chat has.
    public var noSpecialTokens: Bool

    public init(
        maxTokens: Int? = nil, temperature: Float = 0, topP: Float = 1, seed: UInt64? = nil, stop: [String] = [],
        noSpecialTokens: Bool = false
    ) {
        self.maxTokens = maxTokens
        self.temperature = temperature
        self.topP = topP
        self.seed = seed
        self.stop = stop
        self.noSpecialTokens = noSpecialTokens
    }

    func withC<T>(_ body: (inout edgekit_generation) throws -> T) throws -> T {
        var options = edgekit_generation()
        edgekit_generation_init(&options)
        options.max_tokens = try counted(maxTokens, "maxTokens")
        options.temperature = temperature
        options.top_p = topP
        options.seed = seed ?? 0
        options.has_seed = seed == nil ? 0 : 1
        options.no_special_tokens = noSpecialTokens ? 1 : 0
        return try withEachC(stop, "a stop string") { pinned in
            try pinned.map(Optional.some).withUnsafeBufferPointer { stops in
                options.stop = stops.baseAddress
                options.stop_count = stops.count
                return try body(&options)
            }
        }
    }
}
