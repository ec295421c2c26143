import Foundation
import XCTest

@testable import Edgekit

/// Calls on ONNX bundles.
final class CallTests: XCTestCase {
    func testTensorsRun() async throws {
        let session = try Given.open("tensors")
        XCTAssertEqual(session.info.name, "tensors")
        XCTAssertEqual(session.info.engine, "onnxruntime")
        XCTAssertEqual(session.info.runtime.threads, 1)
        XCTAssertTrue(session.info.json.contains("\"runtime\""))
        let x = Tensor([1, 2, 3, 4] as [Float], shape: [1, 4])
        let y = try await session.run(["x": x])
        XCTAssertEqual(y, ["y": Tensor([2, 4, 6, 8] as [Float], shape: [1, 4])])
        XCTAssertEqual(try Blocking(session: session).run(["x": x]), y)
    }

    func testInputsThatDoNotFitAreRefused() async throws {
        let session = try Given.open("tensors")
        let four = [1, 2, 3, 4] as [Float]
        let wrong: [[String: Tensor]] = [
            [:], ["y": Tensor(four, shape: [1, 4])], ["x": Tensor(four, shape: [4, 1])],
            ["x": Tensor(four, shape: [2, 4])], ["x": Tensor(four, shape: [-1, 4])],
            ["x": Tensor([1, 2, 3, 4] as [Int32], shape: [1, 4])], ["x\0": Tensor(four, shape: [1, 4])],
            ["x": Tensor(four, shape: [1, 1, 1, 1, 1, 1, 1, 1, 4])],
            ["x": Tensor(dtype: .float32, shape: [1, 4], bytes: [1, 2, 3])],
            ["x": Tensor(four, shape: [1, 4]), "z": Tensor(four, shape: [1, 4])],
        ]
        for inputs in wrong {
            let name = await failure { try await session.run(inputs) }
            XCTAssertEqual(name, "BadInput", "\(inputs)")
        }
        let right = try await session.run(["x": Tensor(four, shape: [1, 4])])
        XCTAssertEqual(right.count, 1)
    }

    func testTextsAreTokenizedAndEmbedded() async throws {
        let session = try Given.open("embedding")
        let ids = try await session.tokenize("The sky is blue")
        XCTAssertEqual(ids, [2, 9, 7, 10, 6, 3])
        XCTAssertEqual(try Blocking(session: session).tokenize("The sky is blue"), ids)
        let vector = try await session.embed("The sky is blue")
        XCTAssertEqual(vector.count, 8)
        XCTAssertEqual(vector.reduce(0) { $0 + $1 * $1 }, 1, accuracy: 1e-5)
        XCTAssertEqual(try Blocking(session: session).embed("The sky is blue"), vector)
        let other = try await session.embed("grass")
        XCTAssertNotEqual(other, vector)
        let name = await failure { try await session.embed("the sky\0is blue") }
        XCTAssertEqual(name, "BadInput")
        let wrong = await failure { try await session.classify("the sky") }
        XCTAssertEqual(wrong, "WrongTask")
        let stream = await failure { try await all(session.generate("the sky")) }
        XCTAssertEqual(stream, "WrongTask")
    }

    func testTextsArePlacedUnderLabels() async throws {
        let session = try Given.open("classifier")
        let labels = try await session.classify("the sky is blue")
        XCTAssertEqual(Set(labels.map(\.label)), ["cold", "warm", "odd"])
        XCTAssertEqual(labels.map(\.score), labels.map(\.score).sorted(by: >))
        XCTAssertEqual(labels.reduce(0) { $0 + $1.score }, 1, accuracy: 1e-5)
        XCTAssertNil(labels[0].range)
        let pair = try await session.classify("the sky", pair: "is blue")
        XCTAssertNotEqual(pair, labels)
        let wrong = await failure { try await session.embed("x") }
        XCTAssertEqual(wrong, "WrongTask")
    }

    func testTokensAreLabelledWhereTheyStand() async throws {
        let session = try Given.open("tagger")
        let text = "thé 🌍 BLUE sky"  // accents and an emoji before it: offsets are not characters
        let labels = try await session.classify(text)
        let blue = try XCTUnwrap(labels.first { $0.word == "BLUE" })
        XCTAssertEqual(blue.label, "COLOUR")
        XCTAssertEqual(text[try XCTUnwrap(blue.range)], "BLUE")
        XCTAssertEqual(labels.last?.word, "sky")
        XCTAssertEqual(labels.last?.label, "O")
        let foreign = NSString(string: text) as String  // may be stored as UTF-16
        let again = try await session.classify(foreign)
        XCTAssertEqual(again.map(\.word), labels.map(\.word))
    }

    func testPicturesArePlacedUnderLabels() async throws {
        let session = try Given.open("image")
        let green = try Pixels(rgba: Array(repeating: [0, 200, 10, 255], count: 16).flatMap { $0 }, height: 4, width: 4)
        let labels = try await session.classify(green)
        XCTAssertEqual(labels.map(\.label), ["green", "blue", "red"])
    }

    func testGoldensAreReplayed() async throws {
        let session = try Given.open("goldens")
        let results = try await session.selfTest()
        XCTAssertEqual(results.map(\.passed), [true, false, false])
        XCTAssertEqual(results[0].difference, 0)
        XCTAssertEqual(results[1].difference, 1)
        XCTAssertNil(results[2].difference)
        let none = await failure { try await Given.open("tensors").selfTest() }
        XCTAssertEqual(none, "BundleInvalid")
    }

    func testAClosedSessionIsClosed() async throws {
        let session = try Given.open("embedding")
        await session.close()
        Blocking(session: session).close()
        session.cancel()
        for name in [
            await failure { try await session.embed("x") }, await failure { try await session.selfTest() },
            await failure { try await all(session.generate("x")) },
        ] { XCTAssertEqual(name, "Closed") }
        XCTAssertEqual(session.info.name, "embedding")
    }

    private let x = ["x": Tensor([1, 1, 1, 1] as [Float], shape: [1, 4])]

    /// A call that would not end, once it has begun: whoever asks whether it has may be first, and it asks again.
    private func begun(_ session: Session) async throws -> Task<[String: Tensor], any Error> {
        let x = x
        let task = Task {
            while true {
                do { return try await session.run(x) } catch EdgekitError.busy {}
            }
        }
        while await failure({ try await session.run([:]) }) != "Busy" { try await Task.sleep(nanoseconds: 1_000_000) }
        return task
    }

    func testACallThatWouldNotEndIsCancelled() async throws {
        let session = try Given.open("endless")
        let first = try await begun(session)
        session.cancel()
        let cancelled = await failure { try await first.value }
        XCTAssertEqual(cancelled, "Cancelled")
        for _ in 0..<20 {  // also where the cancel comes before C has begun
            let next = Task { [x] in try await session.run(x) }
            next.cancel()
            let name = await failure { try await next.value }
            XCTAssertEqual(name, "Cancelled")
        }
        let after = await failure { try await session.run([:]) }
        XCTAssertEqual(after, "BadInput")
    }

    func testAnotherTasksCancelIsNotThisCallsCancel() async throws {
        let session = try Given.open("endless")
        let first = try await begun(session)
        let refused = Task { [x] in try await session.run(x) }
        refused.cancel()
        let name = await failure { try await refused.value }
        XCTAssertEqual(name, "Busy")
        try await Task.sleep(nanoseconds: 30_000_000)
        let still = await failure { try await session.run([:]) }
        XCTAssertEqual(still, "Busy")
        first.cancel()
        let ended = await failure { try await first.value }
        XCTAssertEqual(ended, "Cancelled")
    }

    func testASessionIsClosedWhileItRuns() async throws {
        let session = try Given.open("endless")
        let first = try await begun(session)
        await session.close()
        let ended = await failure { try await first.value }
        XCTAssertEqual(ended, "Cancelled")
        let after = await failure { try await session.run([:]) }
        XCTAssertEqual(after, "Closed")
    }

    func testTwoSessionsRunSideBySide() async throws {
        let one = try Given.open("endless")
        let other = try Given.open("tensors")
        let first = try await begun(one)
        let y = try await other.run(x)
        XCTAssertEqual(try y["y"]?.values(), [2, 2, 2, 2] as [Float])
        first.cancel()
        _ = await failure { try await first.value }
    }

    func testOpeningAsAsync() async throws {
        try await Session.verify(Given.path("tensors"))
        let name = await failure { try await Session.open("/nothing/here") }
        XCTAssertEqual(name, "BundleInvalid")
        let missing = await failure {
            try await Session.open(Given.path("tensors"), OpenOptions(engineLibrary: "/no/library.so"))
        }
        XCTAssertEqual(missing, "LoadFailed")
        let path = Given.path("tensors")
        let cancelled = Task { try await Session.open(path) }
        cancelled.cancel()
        let told = await failure { try await cancelled.value }
        XCTAssertTrue(["Cancelled", "LoadFailed"].contains(told), told)
    }
}
