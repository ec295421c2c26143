import Edgekit
import Foundation

/// The Swift runtime behind the suite's lines of JSON.
@main @MainActor
struct Driver {
    private var session: Session?

    static func main() async throws {
        var driver = Driver()
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        while let line = readLine() {
            let answer: [String: Any]
            do {
                answer = ["ok": try await driver.answer(decoder.decode(Request.self, from: Data(line.utf8)))]
            } catch let error as EdgekitError {
                answer = ["error": error.name, "message": error.message]
            }
            var written = try JSONSerialization.data(withJSONObject: answer)
            written.append(0x0A)
            FileHandle.standardOutput.write(written)
        }
    }

    private mutating func answer(_ request: Request) async throws -> Any {
        switch request.op {
        case "open":
            await session?.close()
            let opened = try await Session.open(given(request.bundle), request.opening)
            session = opened
            let info = opened.info
            return ["name": info.name, "task": info.task, "engine": info.engine, "threads": info.runtime.threads]
        case "verify":
            try await Session.verify(given(request.bundle))
            return ["name": URL(fileURLWithPath: try given(request.bundle)).lastPathComponent]
        case "close":
            await session?.close()
            return NSNull()
        case "not_utf8":
            return "unrepresentable"  // a String is Unicode: decoding repairs what is not, or refuses it
        default:
            guard let session else { throw Misuse(what: "\(request.op) without a session") }
            return try await call(session, request)
        }
    }

    private func call(_ session: Session, _ request: Request) async throws -> Any {
        switch request.op {
        case "tokenize": return try await session.tokenize(given(request.text))
        case "embed": return try await session.embed(given(request.text))
        case "classify": return labels(try await session.classify(given(request.text), pair: request.pair))
        case "classify_pixels":
            let picture = try given(request.picture).tensor()
            let pixels = try Pixels(rgb: picture.bytes, height: picture.shape[0], width: picture.shape[1])
            return labels(try await session.classify(pixels))
        case "run":
            let outputs = try await session.run(try given(request.inputs).mapValues { try $0.tensor() })
            return outputs.mapValues { tensor in
                let encoded = Encoded(tensor)
                return ["dtype": encoded.dtype, "shape": encoded.shape, "base64": encoded.base64]
            }
        case "generate": return try await all(session.generate(given(request.prompt), request.generating))
        case "chat":
            let messages = try given(request.messages).map { try $0.message() }
            return try await all(session.chat(messages, request.generating))
        case "self_test":
            return try await session.selfTest().map { one in
                ["name": one.name, "passed": one.passed, "difference": one.difference ?? NSNull(),
                 "tolerance": one.tolerance] as [String: Any]
            }
        case "cancel":
            for try await _ in session.generate(try given(request.prompt), GenerateOptions(maxTokens: 64)) {
                session.cancel()
            }
            throw Misuse(what: "the stream ended as if nothing had been cancelled")
        case "busy": return try await busy(session, given(request.prompt))
        default: throw Misuse(what: "the operation \(request.op) is unknown")
        }
    }

    private func busy(_ session: Session, _ prompt: String) async throws -> Any {
        for try await _ in session.generate(prompt, GenerateOptions(maxTokens: 64)) {
            _ = try await all(session.generate(prompt))  // throws Busy, which leaves the first stream too
        }
        throw Misuse(what: "a second answer was given beside the first")
    }

    private func all(_ stream: AsyncThrowingStream<String, any Error>) async throws -> [String] {
        var texts: [String] = []
        for try await text in stream { texts.append(text) }
        return texts
    }

    private func labels(_ found: [Label]) -> [[String: Any]] {
        found.map { one in
            var told: [String: Any] = ["label": one.label, "score": one.score]
            if let word = one.word { told["word"] = word }
            return told
        }
    }

    private func given<T>(_ value: T?) throws -> T {
        guard let value else { throw Misuse(what: "a field is missing") }
        return value
    }
}
