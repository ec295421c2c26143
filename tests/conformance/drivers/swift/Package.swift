// swift-tools-version: 6.0
// Built by tests/swift in a folder of its own, beside the assembled wrapper: see fixtures/swift_runtime.py.
import PackageDescription

let package = Package(
    name: "edgekit-driver",
    platforms: [.macOS(.v12)],
    dependencies: [.package(path: "../edgekit")],
    targets: [
        .executableTarget(name: "driver", dependencies: [.product(name: "Edgekit", package: "edgekit")]),
        .testTarget(name: "EdgekitTests", dependencies: [.product(name: "Edgekit", package: "edgekit")]),
    ],
    swiftLanguageModes: [.v6]
)
