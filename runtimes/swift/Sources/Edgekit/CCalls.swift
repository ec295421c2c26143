// How values go into C and come back.
import CEdgekit

/// Throws what C told, unless it told OK.
func check(_ call: (UnsafeMutablePointer<edgekit_error>) -> edgekit_code) throws {
    var told = edgekit_error()
    let code = call(&told)
    guard code != EDGEKIT_OK else { return }
    let message = withUnsafeBytes(of: told.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    throw EdgekitError(code, message)
}

/// `text` for a C function: BadInput where C would see less of it. Swift's strings are always Unicode.
func withC<T>(_ text: String, _ what: String, _ body: (UnsafePointer<CChar>) throws -> T) throws -> T {
    guard !text.utf8.contains(0) else {
        throw EdgekitError.badInput("\(what) holds a zero byte, where text ends: leave it out")
    }
    return try text.withCString(body)
}

func withOptionalC<T>(_ text: String?, _ what: String, _ body: (UnsafePointer<CChar>?) throws -> T) throws -> T {
    guard let text else { return try body(nil) }
    return try withC(text, what) { try body($0) }
}

/// All of `texts`, one after another in one block, for as long as `body` runs. There may be thousands: a chat's messages.
func withEachC<T>(_ texts: [String], _ what: String, _ body: ([UnsafePointer<CChar>]) throws -> T) throws -> T {
    var block: [CChar] = []
    var starts: [Int] = []
    for text in texts {
        starts.append(block.count)
        try withC(text, what) { block.append(contentsOf: UnsafeBufferPointer(start: $0, count: text.utf8.count + 1)) }
    }
    return try block.withUnsafeBufferPointer { room in
        try body(starts.compactMap { start in room.baseAddress.map { $0 + start } })
    }
}

/// A number that C takes as int32 and takes 0 of for "not given": nil becomes 0, and 0 is refused as elsewhere.
func counted(_ value: Int?, _ name: String) throws -> Int32 {
    guard let value else { return 0 }
    guard value >= 1 else { throw EdgekitError.badInput("\(name) is \(value), expected 1 or more") }
    guard let fits = Int32(exactly: value) else {
        throw EdgekitError.badInput("\(name) is \(value), expected at most \(Int32.max)")
    }
    return fits
}
