// On a Mac: swift run fill-mask FOLDER "The capital of France is [MASK]."
import BertFillMask
import Foundation

guard CommandLine.arguments.count == 3 else {
    fatalError("usage: swift run fill-mask FOLDER \"A text with a [MASK].\"")
}
let folder = URL(fileURLWithPath: CommandLine.arguments[1])
let fillMask = try FillMask(
    model: folder.appendingPathComponent("onnx/model_quantized.onnx"),
    vocabulary: folder.appendingPathComponent("vocab.txt"))
for proposal in try fillMask.propose(CommandLine.arguments[2]) {
    print(String(format: "%6.2f %%", 100 * proposal.score), proposal.word)
}
