import CEdgekit

/// A label with its score and, of a token's label, the piece of the text that it is for.
public struct Label: Sendable, Equatable {
    public let label: String
    public let score: Float
    /// Of the text that was given; nil where the label is for all of it.
    public let range: Range<String.Index>?
    /// What stands there.
    public let word: String?

    public init(label: String, score: Float, range: Range<String.Index>? = nil, word: String? = nil) {
        self.label = label
        self.score = score
        self.range = range
        self.word = word
    }
}

/// Decoded pixels: rows from the top, three bytes (red, green, blue) a pixel.
public struct Pixels: Sendable, Equatable {
    public let rgb: [UInt8]
    public let height: Int
    public let width: Int

    /// Throws BadInput where the bytes are not height * width * 3.
    public init(rgb: [UInt8], height: Int, width: Int) throws {
        try Self.check(rgb.count, height, width, channels: 3)
        self.rgb = rgb
        self.height = height
        self.width = width
    }

    /// Four bytes a pixel, as Core Graphics draws them; the fourth is left out.
    public init(rgba: [UInt8], height: Int, width: Int) throws {
        try Self.check(rgba.count, height, width, channels: 4)
        rgb = [UInt8](unsafeUninitializedCapacity: height * width * 3) { bytes, count in
            for pixel in 0..<height * width {
                for channel in 0..<3 { bytes[pixel * 3 + channel] = rgba[pixel * 4 + channel] }
            }
            count = height * width * 3
        }
        self.height = height
        self.width = width
    }

    private static func check(_ count: Int, _ height: Int, _ width: Int, channels: Int) throws {
        let (pixels, over) = height.multipliedReportingOverflow(by: width)
        let (bytes, more) = pixels.multipliedReportingOverflow(by: channels)
        guard height > 0, width > 0, height <= Int32.max, width <= Int32.max, !over, !more, count == bytes else {
            throw EdgekitError.badInput(
                "a picture of \(count) bytes is said to be \(height) x \(width) pixels of \(channels) bytes")
        }
    }
}

/// One turn of a chat.
public struct Message: Sendable, Equatable {
    public enum Role: String, Sendable { case system, user, assistant }

    public let role: Role
    public let content: String

    public init(_ role: Role, _ content: String) {
        self.role = role
        self.content = content
    }

    static func withC<T>(_ messages: [Message], _ body: ([edgekit_message]) throws -> T) throws -> T {
        try withEachC(messages.map(\.role.rawValue), "a role") { roles in
            try withEachC(messages.map(\.content), "a message") { contents in
                try body(zip(roles, contents).map { edgekit_message(role: $0, content: $1) })
            }
        }
    }
}

/// How one golden, recorded when the bundle was packed, came out on this device.
public struct GoldenResult: Sendable, Equatable {
    public let name: String
    public let passed: Bool
    /// nil where what was answered does not compare with what was expected.
    public let difference: Double?
    public let tolerance: Double
}
