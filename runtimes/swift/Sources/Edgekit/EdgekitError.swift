import CEdgekit
import Foundation

/// What can go wrong with a bundle on a device; the same names in every language. The text is one line: what, the
/// measured value and the limit, and what to do about it.
public enum EdgekitError: Error, Equatable, Sendable {
    /// The folder is not a bundle, or not the one that was packed.
    case bundleInvalid(String)
    /// This CPU lacks what the bundle needs.
    case unsupportedDevice(String)
    /// It would take more memory than the app allows.
    case memoryBudget(String)
    /// The engine is not there, is another version, or refuses the model.
    case loadFailed(String)
    /// The engine failed during a call.
    case runFailed(String)
    /// The bundle's task has no such call.
    case wrongTask(String)
    /// An argument's name, type, shape or range.
    case badInput(String)
    /// Prompt and answer do not fit the context.
    case promptTooLong(String)
    /// Another call is running on this session.
    case busy(String)
    /// The call was cancelled: by `Session.cancel`, by its Task, or because the session was closed.
    case cancelled(String)
    /// The session is closed.
    case closed(String)

    /// "BundleInvalid" and so on.
    public var name: String { parts.name }

    public var message: String { parts.message }

    private var parts: (name: String, message: String) {
        switch self {
        case .bundleInvalid(let message): ("BundleInvalid", message)
        case .unsupportedDevice(let message): ("UnsupportedDevice", message)
        case .memoryBudget(let message): ("MemoryBudget", message)
        case .loadFailed(let message): ("LoadFailed", message)
        case .runFailed(let message): ("RunFailed", message)
        case .wrongTask(let message): ("WrongTask", message)
        case .badInput(let message): ("BadInput", message)
        case .promptTooLong(let message): ("PromptTooLong", message)
        case .busy(let message): ("Busy", message)
        case .cancelled(let message): ("Cancelled", message)
        case .closed(let message): ("Closed", message)
        }
    }

    init(_ code: edgekit_code, _ told: String) {
        let message = Self.inSwiftsNames(told)
        switch code {
        case EDGEKIT_BUNDLE_INVALID: self = .bundleInvalid(message)
        case EDGEKIT_UNSUPPORTED_DEVICE: self = .unsupportedDevice(message)
        case EDGEKIT_MEMORY_BUDGET: self = .memoryBudget(message)
        case EDGEKIT_LOAD_FAILED: self = .loadFailed(message)
        case EDGEKIT_WRONG_TASK: self = .wrongTask(message)
        case EDGEKIT_BAD_INPUT: self = .badInput(message)
        case EDGEKIT_PROMPT_TOO_LONG: self = .promptTooLong(message)
        case EDGEKIT_BUSY: self = .busy(message)
        case EDGEKIT_CANCELLED: self = .cancelled(message)
        case EDGEKIT_CLOSED: self = .closed(message)
        default: self = .runFailed(message)
        }
    }

    /// The C runtime's remedies name its own options.
    private static func inSwiftsNames(_ message: String) -> String {
        message.replacingOccurrences(of: "its library in engine_library", with: "its library in engineLibrary")
            .replacingOccurrences(of: "name it in text_library", with: "name it in textLibrary")
            .replacingOccurrences(of: "or lower max_tokens", with: "or lower maxTokens")
    }

    // In the words of the other runtimes.
    static let isBusy = EdgekitError.busy(
        "another call is running on this session: wait for it, cancel() it, or open a second session")
    static let isCancelled = EdgekitError.cancelled("the call was cancelled")
    static let isClosed = EdgekitError.closed("the session is closed")
}

extension EdgekitError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { message }
    public var description: String { "\(name): \(message)" }
}
