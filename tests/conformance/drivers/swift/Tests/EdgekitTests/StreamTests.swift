import Foundation
import XCTest

@testable import Edgekit

/// Streams of the decoder that says "é🌍z!" after "A", a byte a token.
final class StreamTests: XCTestCase {
    func testCharactersComeWhole() async throws {
        let session = try Given.open("chain")
        let texts = try await all(session.generate("A"))
        XCTAssertEqual(texts, ["é", "🌍", "z", "!"])
        let stopped = try await all(session.generate("A", GenerateOptions(stop: ["z!"])))
        XCTAssertEqual(stopped.joined(), "é🌍")
        let short = try await all(session.generate("A", GenerateOptions(maxTokens: 2)))
        XCTAssertEqual(short, ["é"])
        let seeded = GenerateOptions(maxTokens: 20, temperature: 5, topP: 0.9, seed: 3)
        let first = try await all(session.generate("A", seeded))
        let again = try await all(session.generate("A", seeded))
        XCTAssertEqual(first, again)
    }

    func testAChatIsAnswered() async throws {
        let session = try Given.open("chain")
        let texts = try await all(session.chat([Message(.user, "hello A")]))
        XCTAssertEqual(texts.joined(), "é🌍z!")
        let turns = [Message(.system, "s"), Message(.user, "u"), Message(.assistant, "a"), Message(.user, "A")]
        let later = try await all(session.chat(turns))
        XCTAssertEqual(later, texts)
        for wrong in [[], [Message(.assistant, "A")], [Message(.user, "A\0")]] {
            let name = await failure { try await all(session.chat(wrong)) }
            XCTAssertEqual(name, "BadInput")
        }
        let endless = (0..<20_001).map { Message($0 % 2 == 0 ? .user : .assistant, "A") }
        let name = await failure { try await all(session.chat(endless)) }
        XCTAssertEqual(name, "PromptTooLong")
    }

    func testOptionsThatDoNotFitAreRefused() async throws {
        let session = try Given.open("chain")
        let wrong = [
            GenerateOptions(maxTokens: 0), GenerateOptions(maxTokens: -1), GenerateOptions(temperature: -1),
            GenerateOptions(temperature: .nan), GenerateOptions(topP: 0), GenerateOptions(topP: 1.5),
            GenerateOptions(stop: [""]), GenerateOptions(stop: ["a\0"]),
        ]
        for options in wrong {
            let name = await failure { try await all(session.generate("A", options)) }
            XCTAssertEqual(name, "BadInput", "\(options)")
        }
        let long = await failure { try await all(session.generate(String(repeating: "A", count: 300))) }
        XCTAssertEqual(long, "PromptTooLong")
        let most = await failure { try await all(session.generate("A", GenerateOptions(maxTokens: 256))) }
        XCTAssertEqual(most, "PromptTooLong")
        let texts = try await all(session.generate("A"))
        XCTAssertEqual(texts.count, 4)
    }

    func testTheSessionIsBusyUntilTheStreamIsExhausted() async throws {
        let session = try Given.open("chain")
        let stream = session.generate("A")
        var iterator = stream.makeAsyncIterator()
        for expected in ["é", "🌍", "z", "!"] {
            let busy = await failure { try await all(session.generate("A")) }
            XCTAssertEqual(busy, "Busy")
            let tokens = await failure { try await session.tokenize("A") }
            XCTAssertEqual(tokens, "Busy")
            let text = try await iterator.next()
            XCTAssertEqual(text, expected)
        }
        let end = try await iterator.next()
        XCTAssertNil(end)
        let ids = try await session.tokenize("A")
        XCTAssertEqual(ids, [1, 68])
        let after = try await iterator.next()
        XCTAssertNil(after)
    }

    func testLeavingAStreamFreesTheSession() async throws {
        let session = try Given.open("chain")
        for _ in 0..<50 {
            for try await text in session.generate("A") {
                XCTAssertEqual(text, "é")
                break
            }
        }
        for _ in 0..<50 { _ = session.generate("A") }  // never read
        let texts = try await all(session.generate("A"))
        XCTAssertEqual(texts.count, 4)
    }

    func testCancelEndsAStream() async throws {
        let session = try Given.open("chain")
        for _ in 0..<20 {
            var texts: [String] = []
            let name = await failure {
                for try await text in session.generate("A") {
                    texts.append(text)
                    session.cancel()
                }
            }
            XCTAssertEqual(name, "Cancelled")
            XCTAssertEqual(texts, ["é"])
        }
        let atOnce = session.generate("A")
        session.cancel()
        let name = await failure { try await all(atOnce) }
        XCTAssertEqual(name, "Cancelled")
        session.cancel()  // without a call, nothing happens
        let texts = try await all(session.generate("A"))
        XCTAssertEqual(texts.count, 4)
    }

    func testCancellingTheTaskEndsAStream() async throws {
        let session = try Given.open("chain")
        let (began, said) = AsyncStream<Void>.makeStream()
        let task = Task {
            for try await _ in session.generate("A") {
                said.yield()
                try? await Task.sleep(nanoseconds: 10_000_000_000)  // until it is cancelled
            }
        }
        for await _ in began { break }
        task.cancel()
        _ = await task.result
        let texts = try await all(session.generate("A"))
        XCTAssertEqual(texts.count, 4)
    }

    func testClosingWhileAStreamIsHeldDoesNotHang() async throws {
        for reading in [false, true] {
            let session = try Given.open("chain")
            let stream = session.generate("A")
            var iterator = stream.makeAsyncIterator()
            if reading { _ = try await iterator.next() }
            await session.close()
            let ended = await failure { while try await iterator.next() != nil {} }
            XCTAssertEqual(ended, "Cancelled")
            let after = await failure { try await all(session.generate("A")) }
            XCTAssertEqual(after, "Closed")
        }
    }

    func testAStreamKeepsItsSession() async throws {
        let stream = try Given.open("chain").generate("A")
        let texts = try await all(stream)
        XCTAssertEqual(texts.count, 4)
    }

    func testASessionThatNobodyHoldsIsFreed() async throws {
        weak var held: Engine?
        do {
            let session = try Given.open("chain")
            held = session.engine
            for try await _ in session.generate("A") { break }
            XCTAssertNotNil(held)
        }
        for _ in 0..<500 where held != nil { try await Task.sleep(nanoseconds: 10_000_000) }
        XCTAssertNil(held)
    }

    func testManyTasksAskAtOnce() async throws {
        let session = try Given.open("chain")
        let counts = await withTaskGroup(of: String.self) { group in
            for _ in 0..<40 {
                group.addTask { await failure { try await all(session.generate("A")) } }
            }
            return await group.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
        }
        XCTAssertEqual(counts.values.reduce(0, +), 40)
        XCTAssertTrue(Set(counts.keys).isSubset(of: ["", "Busy"]), "\(counts)")
        XCTAssertGreaterThan(counts["", default: 0], 0)
    }
}
