// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "edgekit",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "Edgekit", targets: ["Edgekit"])],
    targets: [
        .target(
            name: "CEdgekit",
            linkerSettings: [.linkedLibrary("m"), .linkedLibrary("dl"), .linkedLibrary("pthread")]
        ),
        .target(name: "Edgekit", dependencies: ["CEdgekit"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c11
)
