import CEdgekit

public enum DType: String, Sendable, CaseIterable {
    case float32, uint8, int8, uint16, int16, int32, int64, bool, float16, float64, uint32, uint64

    var code: edgekit_dtype {
        switch self {
        case .float32: EDGEKIT_FLOAT32
        case .uint8: EDGEKIT_UINT8
        case .int8: EDGEKIT_INT8
        case .uint16: EDGEKIT_UINT16
        case .int16: EDGEKIT_INT16
        case .int32: EDGEKIT_INT32
        case .int64: EDGEKIT_INT64
        case .bool: EDGEKIT_BOOL
        case .float16: EDGEKIT_FLOAT16
        case .float64: EDGEKIT_FLOAT64
        case .uint32: EDGEKIT_UINT32
        case .uint64: EDGEKIT_UINT64
        }
    }

    init(_ code: edgekit_dtype) throws {
        guard let found = Self.allCases.first(where: { $0.code == code }) else {
            throw EdgekitError.runFailed("a tensor is of the type \(code.rawValue), which is unknown here")
        }
        self = found
    }
}

/// The numbers that Swift has for a tensor's elements. `bool` (a byte each) and `float16` are made and read as bytes.
public protocol TensorElement: Sendable {
    static var dtype: DType { get }
}

extension Float: TensorElement { public static var dtype: DType { .float32 } }
extension Double: TensorElement { public static var dtype: DType { .float64 } }
extension Int8: TensorElement { public static var dtype: DType { .int8 } }
extension Int16: TensorElement { public static var dtype: DType { .int16 } }
extension Int32: TensorElement { public static var dtype: DType { .int32 } }
extension Int64: TensorElement { public static var dtype: DType { .int64 } }
extension UInt8: TensorElement { public static var dtype: DType { .uint8 } }
extension UInt16: TensorElement { public static var dtype: DType { .uint16 } }
extension UInt32: TensorElement { public static var dtype: DType { .uint32 } }
extension UInt64: TensorElement { public static var dtype: DType { .uint64 } }

/// Row-major, densely packed, little-endian. A shape that the bytes do not fit is refused by the call it is given to.
public struct Tensor: Sendable, Equatable {
    public let dtype: DType
    public let shape: [Int]
    public let bytes: [UInt8]

    public init(dtype: DType, shape: [Int], bytes: [UInt8]) {
        self.dtype = dtype
        self.shape = shape
        self.bytes = bytes
    }

    public init<Element: TensorElement>(_ values: [Element], shape: [Int]) {
        self.init(dtype: Element.dtype, shape: shape, bytes: values.withUnsafeBytes { Array($0) })
    }

    /// Throws BadInput where the tensor holds another type.
    public func values<Element: TensorElement>(of type: Element.Type = Element.self) throws -> [Element] {
        guard dtype == Element.dtype else {
            throw EdgekitError.badInput("the tensor is of \(dtype.rawValue), not of \(Element.dtype.rawValue)")
        }
        let count = bytes.count / MemoryLayout<Element>.stride
        return [Element](unsafeUninitializedCapacity: count) { room, filled in
            bytes.withUnsafeBytes { given in
                UnsafeMutableRawBufferPointer(room).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: given[..<(count * MemoryLayout<Element>.stride)]))
            }
            filled = count
        }
    }

    /// A copy of what C has.
    init(_ found: edgekit_tensor) throws {
        dtype = try DType(found.dtype)
        shape = withUnsafeBytes(of: found.shape) { axes in
            axes.bindMemory(to: Int64.self).prefix(Int(found.rank)).map { Int($0) }
        }
        bytes = found.data == nil ? [] : Array(UnsafeRawBufferPointer(start: found.data, count: found.bytes))
    }

    /// All of `tensors` as C takes them, uncopied, for as long as `body` runs.
    static func withC<T>(_ tensors: [String: Tensor], _ body: ([edgekit_tensor]) throws -> T) throws -> T {
        func next(_ rest: ArraySlice<(key: String, value: Tensor)>, _ pinned: [edgekit_tensor]) throws -> T {
            guard let (name, tensor) = rest.first else { return try body(pinned) }
            return try Edgekit.withC(name, "an input's name") { name in
                try tensor.bytes.withUnsafeBytes { bytes in
                    try next(rest.dropFirst(), pinned + [tensor.asC(name, bytes)])
                }
            }
        }
        return try next(tensors.sorted { $0.key < $1.key }[...], [])
    }

    private func asC(_ name: UnsafePointer<CChar>, _ bytes: UnsafeRawBufferPointer) throws -> edgekit_tensor {
        guard shape.count <= EDGEKIT_MAX_RANK else {
            throw EdgekitError.badInput(
                "\(String(cString: name)) has \(shape.count) axes, expected at most \(EDGEKIT_MAX_RANK)")
        }
        var tensor = edgekit_tensor()
        tensor.name = name
        tensor.dtype = dtype.code
        tensor.rank = Int32(shape.count)
        withUnsafeMutableBytes(of: &tensor.shape) { room in
            let axes = room.bindMemory(to: Int64.self)
            for (index, axis) in shape.enumerated() { axes[index] = Int64(axis) }
        }
        tensor.data = UnsafeMutableRawPointer(mutating: bytes.baseAddress)  // C reads an input and never writes it
        tensor.bytes = bytes.count
        return tensor
    }
}
