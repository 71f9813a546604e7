import BertTokenizer
import Foundation
import OnnxRuntimeBindings

/// A word for a gap, and its probability.
public struct Proposal {
    public let word: String
    public let score: Float
}

/// A text that cannot be asked so.
public enum FillMaskError: Error {
    case noMask
}

/// Fills the gap of a text with the packed model, in ONNX Runtime.
///
/// T tokens, V vocabulary.
public final class FillMask {
    private let tokenizer: WordPiece
    private let limit: Int
    private let environment: ORTEnv
    private let session: ORTSession

    /// - Parameters:
    ///   - model: onnx/model_quantized.onnx.
    ///   - vocabulary: vocab.txt.
    ///   - limit: The most tokens that the model reads.
    public init(model: URL, vocabulary: URL, limit: Int = 512) throws {
        tokenizer = try WordPiece(vocabulary: String(contentsOf: vocabulary, encoding: .utf8))
        self.limit = limit
        environment = try ORTEnv(loggingLevel: .error)
        session = try ORTSession(env: environment, modelPath: model.path, sessionOptions: nil)
    }

    /// Returns the best words for the first `[MASK]` of a text, the most probable first.
    public func propose(_ text: String, count: Int = 5) throws -> [Proposal] {
        let pieces = tokenizer.encode(text)
        let ids = tokenizer.frame(around(pieces, room: limit - 2))
        guard let place = ids.firstIndex(of: tokenizer.mask) else { throw FillMaskError.noMask }
        let scores = softmax(try logits(ids, place: place))
        return scores.indices.sorted { scores[$0] > scores[$1] }.prefix(count)
            .map { Proposal(word: tokenizer.pieces[$0], score: scores[$0]) }
    }

    /// Logits (V) at one place of a sequence of ids (T). The input `logit_positions` has the
    /// vocabulary product, most of the work, done at that place alone; it may be left out.
    private func logits(_ ids: [Int], place: Int) throws -> [Float] {
        let shape = [1, ids.count]
        let feed = [
            "input_ids": try tensor(ids, shape),
            "attention_mask": try tensor(ids.map { _ in 1 }, shape),
            "token_type_ids": try tensor(ids.map { _ in 0 }, shape),
            "logit_positions": try tensor([place], [1]),
        ]
        let found = try session.run(withInputs: feed, outputNames: ["logits"], runOptions: nil)
        return try withExtendedLifetime(found) {  // whose memory the data is
            let data = try found["logits"]!.tensorData() as Data  // 1 1 V
            return data.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
        }
    }

    private func tensor(_ values: [Int], _ shape: [Int]) throws -> ORTValue {
        let data = values.map(Int64.init).withUnsafeBytes {
            NSMutableData(bytes: $0.baseAddress, length: $0.count)
        }
        return try ORTValue(
            tensorData: data, elementType: .int64, shape: shape.map { NSNumber(value: $0) })
    }

    /// At most `room` pieces, the gaps in their middle where the text is longer.
    private func around(_ pieces: [Int], room: Int) -> [Int] {
        guard let first = pieces.firstIndex(of: tokenizer.mask),
            let last = pieces.lastIndex(of: tokenizer.mask), last >= room
        else { return Array(pieces.prefix(room)) }
        let spare = max(0, room - (last - first + 1))
        let start = min(max(0, first - spare / 2), pieces.count - room)
        return Array(pieces[start..<start + room])
    }

    private func softmax(_ logits: [Float]) -> [Float] {
        let top = logits.max() ?? 0
        let powers = logits.map { exp($0 - top) }
        let total = powers.reduce(0) { $0 + Double($1) }
        return powers.map { Float(Double($0) / total) }
    }
}
