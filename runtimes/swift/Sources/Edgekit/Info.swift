import Foundation

/// What the manifest says of the bundle, and what was found here.
public struct Info: Sendable, Equatable {
    public let name: String
    /// "embedding", "causal-lm", ...
    public let task: String
    /// "onnxruntime" or "llama.cpp".
    public let engine: String
    public let runtime: Runtime
    /// The whole manifest as JSON, with what was found here under "runtime".
    public let json: String

    public struct Runtime: Sendable, Equatable, Decodable {
        /// The engine with its version.
        public let engine: String
        public let threads: Int
        public let lowMemory: Bool
        /// What the user of this device should know, in sentences.
        public let notes: [String]

        private enum CodingKeys: String, CodingKey {
            case engine, threads, notes
            case lowMemory = "low_memory"
        }
    }

    private struct Manifest: Decodable {
        let name: String
        let task: String
        let engine: String
        let runtime: Runtime
    }

    init(json: String) throws {
        do {
            let found = try JSONDecoder().decode(Manifest.self, from: Data(json.utf8))
            (name, task, engine, runtime) = (found.name, found.task, found.engine, found.runtime)
        } catch {
            throw EdgekitError.bundleInvalid("edgekit.json has no name, task and engine: \(error)")
        }
        self.json = json
    }
}
