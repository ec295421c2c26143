import Foundation

/// Where an app carries its engines: as frameworks, in a folder that the system's loader does not search by plain names.
enum Frameworks {
    private static let names = ["onnxruntime": "onnxruntime", "llama.cpp": "llama"]

    /// The binary in `frameworks` of the engine that the bundle in `folder` names; nil where there is none. Nothing is
    /// proven here: the C runtime reads the manifest again, by its rules.
    static func library(forBundle folder: String, in frameworks: URL?) -> String? {
        struct Manifest: Decodable { let engine: String }
        let manifest = URL(fileURLWithPath: folder).appendingPathComponent("edgekit.json")
        guard let frameworks, let data = try? Data(contentsOf: manifest),
            let engine = (try? JSONDecoder().decode(Manifest.self, from: data))?.engine, let name = names[engine]
        else { return nil }
        let binary = frameworks.appendingPathComponent("\(name).framework/\(name)").path
        return FileManager.default.fileExists(atPath: binary) ? binary : nil
    }

    static var ofThisApp: URL? {
        #if canImport(Darwin)
            Bundle.main.privateFrameworksURL
        #else
            nil
        #endif
    }
}
