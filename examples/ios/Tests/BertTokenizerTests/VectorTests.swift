import BertTokenizer
import Foundation
import XCTest

/// The tokenizer gives what examples/tokenizer-vectors.json says.
final class VectorTests: XCTestCase {
    struct Vectors: Decodable {
        struct Single: Decodable {
            let text: String
            let ids: [Int]
        }
        struct Pair: Decodable {
            let texts: [String]
            let ids: [Int]
        }
        let texts: [Single]
        let pairs: [Pair]
    }

    func testAllVectors() throws {
        // From examples/ios/Tests/BertTokenizerTests/ to the folder that holds examples/.
        let root = (1...5).reduce(URL(fileURLWithPath: #filePath)) { url, _ in
            url.deletingLastPathComponent()
        }
        let vocabulary = root.appendingPathComponent("src/bert_mobile/default/vocab.txt")
        let file = root.appendingPathComponent("examples/tokenizer-vectors.json")
        let tokenizer = try WordPiece(vocabulary: String(contentsOf: vocabulary, encoding: .utf8))
        let vectors = try JSONDecoder().decode(Vectors.self, from: Data(contentsOf: file))
        for vector in vectors.texts {
            XCTAssertEqual(tokenizer.frame(tokenizer.encode(vector.text)), vector.ids, vector.text)
        }
        for vector in vectors.pairs {
            let pieces = vector.texts.map(tokenizer.encode)
            XCTAssertEqual(tokenizer.frame(pieces[0], pieces[1]), vector.ids, "\(vector.texts)")
        }
    }
}
