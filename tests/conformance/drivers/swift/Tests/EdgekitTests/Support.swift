import Edgekit
import Foundation
import XCTest

/// Bundles that tests/swift/test_swift.py made by hand, by name, and the engines' libraries.
enum Given {
    private static func named(_ name: String) -> String {
        guard let value = ProcessInfo.processInfo.environment[name] else { fatalError("\(name) is not set") }
        return value
    }

    static func path(_ bundle: String) -> String { named("EDGEKIT_TEST_BUNDLES") + "/" + bundle }

    static func open(_ bundle: String) throws -> Session {
        let engine = bundle == "chain" ? "EDGEKIT_TEST_LLAMA" : "EDGEKIT_TEST_ONNXRUNTIME"
        return try Session.open(path(bundle), OpenOptions(threads: 1, engineLibrary: named(engine)))
    }
}

func assertThrows<T>(
    _ name: String, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> T
) {
    XCTAssertThrowsError(try body(), file: file, line: line) { error in
        XCTAssertEqual((error as? EdgekitError)?.name, name, "\(error)", file: file, line: line)
    }
}

/// The name of what `body` throws, "" where it throws nothing.
func failure<T>(_ body: () async throws -> T) async -> String {
    do {
        _ = try await body()
        return ""
    } catch {
        return (error as? EdgekitError)?.name ?? "\(error)"
    }
}

func all(_ stream: AsyncThrowingStream<String, any Error>) async throws -> [String] {
    var texts: [String] = []
    for try await text in stream { texts.append(text) }
    return texts
}

/// Blocking calls, as code that is not async has them.
struct Blocking {
    let session: Session

    func embed(_ text: String) throws -> [Float] { try session.embed(text) }
    func tokenize(_ text: String) throws -> [Int32] { try session.tokenize(text) }
    func run(_ inputs: [String: Tensor]) throws -> [String: Tensor] { try session.run(inputs) }
    func close() { session.close() }
}
