import Foundation
import XCTest

@testable import Edgekit

/// What needs no bundle.
final class ValueTests: XCTestCase {
    func testErrorsHaveTheNamesOfEveryLanguage() {
        let errors: [EdgekitError] = [
            .bundleInvalid("a"), .unsupportedDevice("a"), .memoryBudget("a"), .loadFailed("a"), .runFailed("a"),
            .wrongTask("a"), .badInput("a"), .promptTooLong("a"), .busy("a"), .cancelled("a"), .closed("a"),
        ]
        XCTAssertEqual(
            errors.map(\.name),
            [
                "BundleInvalid", "UnsupportedDevice", "MemoryBudget", "LoadFailed", "RunFailed", "WrongTask",
                "BadInput", "PromptTooLong", "Busy", "Cancelled", "Closed",
            ])
        XCTAssertEqual(errors.map(\.message), Array(repeating: "a", count: errors.count))
        XCTAssertEqual("\(errors[0])", "BundleInvalid: a")
        XCTAssertEqual((errors[0] as any Error).localizedDescription, "a")
        XCTAssertNotEqual(EdgekitError.busy("a"), .busy("b"))
    }

    func testTensorsKeepTheirValues() throws {
        XCTAssertEqual(try Tensor([1.5, -2] as [Float], shape: [2]).values(), [1.5, -2] as [Float])
        XCTAssertEqual(try Tensor([Int64.min, 7], shape: [1, 2]).values(), [Int64.min, 7])
        XCTAssertEqual(try Tensor([UInt8](0...9), shape: [10]).values(of: UInt8.self), [UInt8](0...9))
        XCTAssertEqual(try Tensor([] as [Double], shape: [0]).values(of: Double.self), [])
        XCTAssertEqual(Tensor([Int16(258)], shape: [1]).bytes, [2, 1])
        XCTAssertEqual(Tensor([Int32(1)], shape: []).dtype, .int32)
        assertThrows("BadInput") { try Tensor([1] as [Float], shape: [1]).values(of: Double.self) }
    }

    func testEveryTypeGoesToCAndBack() throws {
        XCTAssertEqual(try DType.allCases.map { try DType($0.code) }, DType.allCases)
        assertThrows("RunFailed") { try DType(.init(rawValue: 8)) }
    }

    func testPicturesAreAsLargeAsTheySay() throws {
        XCTAssertEqual(try Pixels(rgba: [1, 2, 3, 255, 4, 5, 6, 0], height: 1, width: 2).rgb, [1, 2, 3, 4, 5, 6])
        XCTAssertEqual(try Pixels(rgb: [1, 2, 3], height: 1, width: 1).width, 1)
        for (height, width) in [(1, 2), (0, 0), (-1, -1), (Int.max, 3), (3, Int.max), (1 << 40, 0)] {
            assertThrows("BadInput") { try Pixels(rgb: [1, 2, 3], height: height, width: width) }
            assertThrows("BadInput") { try Pixels(rgba: [1, 2, 3], height: height, width: width) }
        }
    }

    func testAnAppsFrameworkIsFoundByTheBundlesEngine() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: folder) }
        for name in ["llama", "onnxruntime"] {
            let framework = folder.appendingPathComponent("Frameworks/\(name).framework")
            try FileManager.default.createDirectory(at: framework, withIntermediateDirectories: true)
            try Data().write(to: framework.appendingPathComponent(name))
        }
        let frameworks = folder.appendingPathComponent("Frameworks")
        func found(_ manifest: String, _ frameworks: URL?) throws -> String? {
            try Data(manifest.utf8).write(to: folder.appendingPathComponent("edgekit.json"))
            return Frameworks.library(forBundle: folder.path, in: frameworks)
        }
        XCTAssertEqual(
            try found(#"{"engine": "llama.cpp"}"#, frameworks), frameworks.path + "/llama.framework/llama")
        XCTAssertEqual(
            try found(#"{"engine": "onnxruntime"}"#, frameworks),
            frameworks.path + "/onnxruntime.framework/onnxruntime")
        XCTAssertNil(try found(#"{"engine": "../../x"}"#, frameworks))
        XCTAssertNil(try found("{", frameworks))
        XCTAssertNil(try found(#"{"engine": "llama.cpp"}"#, nil))
        XCTAssertNil(try found(#"{"engine": "llama.cpp"}"#, folder))
        XCTAssertNil(Frameworks.library(forBundle: folder.path + "/none", in: frameworks))
    }

    func testWhatIsRefusedBeforeCIsAsked() {
        assertThrows("BadInput") { try Session.open("a\0b") }
        assertThrows("BadInput") { try Session.open("b", OpenOptions(threads: 0)) }
        assertThrows("BadInput") { try Session.open("b", OpenOptions(threads: 1 << 40)) }
        assertThrows("BadInput") { try Session.open("b", OpenOptions(memoryBudget: 0)) }
        assertThrows("BadInput") { try Session.open("b", OpenOptions(contextTokens: -1)) }
        assertThrows("BundleInvalid") { try Session.open("/nothing/here") }
        assertThrows("BundleInvalid") { try Session.verify("/nothing/here") }
    }
}
