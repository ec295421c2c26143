import Edgekit
import Foundation

/// One line of the suite's; see drivers/README.md.
struct Request: Decodable {
    let op: String
    let bundle: String?
    let engineLibrary: String?
    let textLibrary: String?
    let threads: Int?
    let memoryBudget: UInt64?
    let lowMemory: Bool?
    let text: String?
    let pair: String?
    let picture: Encoded?
    let inputs: [String: Encoded]?
    let prompt: String?
    let messages: [Turn]?
    let maxTokens: Int?
    let temperature: Float?
    let topP: Float?
    let seed: UInt64?
    let stop: [String]?

    var opening: OpenOptions {
        OpenOptions(
            threads: threads, memoryBudget: memoryBudget, lowMemory: lowMemory ?? false, engineLibrary: engineLibrary,
            textLibrary: textLibrary)
    }

    var generating: GenerateOptions {
        GenerateOptions(
            maxTokens: maxTokens, temperature: temperature ?? 0, topP: topP ?? 1, seed: seed, stop: stop ?? [])
    }
}

/// A message as it comes. What Swift's own type cannot hold is refused here, as it would not compile in an app.
struct Turn: Decodable {
    let role: String?
    let content: String?

    private enum Keys: String, CodingKey { case role, content }

    init(from decoder: any Decoder) throws {
        let found = try decoder.container(keyedBy: Keys.self)
        role = try? found.decode(String.self, forKey: .role)
        content = try? found.decode(String.self, forKey: .content)
    }

    func message() throws -> Message {
        guard let role, let known = Message.Role(rawValue: role), let content else {
            throw EdgekitError.badInput("a message has no role or no content")
        }
        return Message(known, content)
    }
}

struct Encoded: Codable {
    let dtype: String
    let shape: [Int]
    let base64: String

    init(_ tensor: Tensor) {
        (dtype, shape) = (tensor.dtype.rawValue, tensor.shape)
        base64 = Data(tensor.bytes).base64EncodedString()
    }

    func tensor() throws -> Tensor {
        guard let dtype = DType(rawValue: dtype), let data = Data(base64Encoded: base64) else {
            throw Misuse(what: "a tensor of \(dtype) is damaged")
        }
        return Tensor(dtype: dtype, shape: shape, bytes: [UInt8](data))
    }
}

/// The suite's own mistake, which is no answer.
struct Misuse: Error { let what: String }
