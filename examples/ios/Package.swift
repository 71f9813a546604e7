// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "BertMobileExample",
    platforms: [.iOS(.v15), .macOS(.v14)],  // ONNX Runtime's
    products: [.library(name: "BertFillMask", targets: ["BertFillMask"])],
    dependencies: [
        .package(
            url: "https://github.com/microsoft/onnxruntime-swift-package-manager", from: "1.24.2")
    ],
    targets: [
        .target(name: "BertTokenizer"),  // depends on nothing
        .target(
            name: "BertFillMask",
            dependencies: [
                "BertTokenizer",
                .product(name: "onnxruntime", package: "onnxruntime-swift-package-manager"),
            ]),
        .executableTarget(name: "fill-mask", dependencies: ["BertFillMask"]),
        .testTarget(name: "BertTokenizerTests", dependencies: ["BertTokenizer"]),
    ]
)
