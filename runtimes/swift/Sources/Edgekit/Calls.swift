import CEdgekit

/// The calls as C has them, on the calling thread; what C allocates is copied and freed.
enum Calls {
    static func run(_ handle: OpaquePointer, _ inputs: [String: Tensor]) throws -> [String: Tensor] {
        var outputs: OpaquePointer?
        defer { edgekit_outputs_free(outputs) }
        try Tensor.withC(inputs) { tensors in
            try check { edgekit_run(handle, tensors, tensors.count, &outputs, $0) }
        }
        var found: [String: Tensor] = [:]
        for index in 0..<edgekit_outputs_count(outputs) {
            guard let one = edgekit_outputs_at(outputs, index) else { continue }
            found[String(cString: one.pointee.name)] = try Tensor(one.pointee)
        }
        return found
    }

    static func tokenize(_ handle: OpaquePointer, _ text: String) throws -> [Int32] {
        var ids: UnsafeMutablePointer<Int32>?
        var count = 0
        defer { edgekit_ids_free(ids) }
        try withC(text, "the text") { text in
            try check { edgekit_tokenize(handle, text, &ids, &count, $0) }
        }
        return Array(UnsafeBufferPointer(start: ids, count: count))
    }

    static func embed(_ handle: OpaquePointer, _ text: String) throws -> [Float] {
        let width = edgekit_embedding_width(handle)
        return try withC(text, "the text") { text in
            // C looks at the task before it looks at the room: other bundles' width is 0
            try [Float](unsafeUninitializedCapacity: max(width, 1)) { room, count in
                try check { edgekit_embed(handle, text, room.baseAddress, width, $0) }
                count = width
            }
        }
    }

    static func classify(_ handle: OpaquePointer, _ text: String, _ pair: String?) throws -> [Label] {
        var labels: OpaquePointer?
        defer { edgekit_labels_free(labels) }
        try withC(text, "the text") { text in
            try withOptionalC(pair, "the second text") { pair in
                try check { edgekit_classify(handle, text, pair, &labels, $0) }
            }
        }
        return all(labels, of: text)
    }

    static func classify(_ handle: OpaquePointer, _ pixels: Pixels) throws -> [Label] {
        var labels: OpaquePointer?
        defer { edgekit_labels_free(labels) }
        try check {
            edgekit_classify_pixels(handle, pixels.rgb, Int32(pixels.height), Int32(pixels.width), &labels, $0)
        }
        return all(labels, of: "")
    }

    private static func all(_ labels: OpaquePointer?, of text: String) -> [Label] {
        (0..<edgekit_labels_count(labels)).compactMap { edgekit_labels_at(labels, $0)?.pointee }.map { one in
            let label = String(cString: one.label)
            guard one.end > one.start else { return Label(label: label, score: one.score) }
            let start = text.utf8.index(text.startIndex, offsetBy: one.start)
            let range = start..<text.utf8.index(start, offsetBy: one.end - one.start)
            return Label(label: label, score: one.score, range: range, word: String(text[range]))
        }
    }

    static func selfTest(_ handle: OpaquePointer) throws -> [GoldenResult] {
        var goldens: OpaquePointer?
        defer { edgekit_goldens_free(goldens) }
        try check { edgekit_self_test(handle, &goldens, $0) }
        return (0..<edgekit_goldens_count(goldens)).compactMap { edgekit_goldens_at(goldens, $0)?.pointee }.map { one in
            GoldenResult(
                name: String(cString: one.name), passed: one.passed != 0,
                difference: one.difference.isNaN ? nil : one.difference, tolerance: one.tolerance)
        }
    }

    /// `user` is the Answer that the texts go to.
    static func generate(
        _ handle: OpaquePointer, _ prompt: String, _ options: GenerateOptions, user: UnsafeMutableRawPointer
    ) throws {
        try withC(prompt, "the prompt") { prompt in
            try options.withC { options in
                try check { edgekit_generate(handle, prompt, &options, Answer.onText, user, $0) }
            }
        }
    }

    static func chat(
        _ handle: OpaquePointer, _ messages: [Message], _ options: GenerateOptions, user: UnsafeMutableRawPointer
    ) throws {
        try Message.withC(messages) { messages in
            try options.withC { options in
                try check { edgekit_chat(handle, messages, messages.count, &options, Answer.onText, user, $0) }
            }
        }
    }
}
