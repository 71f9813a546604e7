import Foundation

/// BERT's uncased WordPiece (Devlin et al. 2018), equal to the library `tokenizers`; no dependency
/// but Foundation, for the canonical decomposition.
///
/// Character classes are the platform's. Marks and punctuation that Unicode got after its version 8
/// are none to `tokenizers`; texts in the few scripts that have such may be cut otherwise here.
/// Everything is compared by bytes or scalars: Swift's strings are equal where they merely look so.
public struct WordPiece {
    /// The lines of vocab.txt.
    public let pieces: [String]
    public let cls, sep, mask: Int

    private let unknown: Int
    private let ids: [[UInt8]: Int]
    private let specials: [(scalars: [Unicode.Scalar], id: Int)]
    private static let longestWord = 100  // characters

    /// - Parameter vocabulary: The text of vocab.txt.
    /// - Throws: `VocabularyError` where a special token is absent.
    public init(vocabulary: String) throws {
        var lines = vocabulary.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        pieces = lines
        let table = Dictionary(
            zip(lines.map { Array($0.utf8) }, lines.indices), uniquingKeysWith: { first, _ in first })
        func id(_ piece: String) throws -> Int {
            guard let found = table[Array(piece.utf8)] else { throw VocabularyError(absent: piece) }
            return found
        }
        ids = table
        cls = try id("[CLS]")
        sep = try id("[SEP]")
        mask = try id("[MASK]")
        unknown = try id("[UNK]")
        specials = try ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map {
            (Array($0.unicodeScalars), try id($0))
        }
    }

    /// Cuts a text into pieces, unframed and however long.
    public func encode(_ text: String) -> [Int] {
        let scalars = Array(text.unicodeScalars)
        var found: [Int] = []
        var start = 0
        var place = 0
        while place < scalars.count {
            let rest = scalars[place...]
            guard let special = specials.first(where: { rest.starts(with: $0.scalars) }) else {
                place += 1
                continue
            }
            found += encodePlain(scalars[start..<place]) + [special.id]
            place += special.scalars.count
            start = place
        }
        return found + encodePlain(scalars[start...])
    }

    /// Puts `[CLS]` and `[SEP]` around the pieces of one text or two.
    public func frame(_ first: [Int], _ second: [Int]? = nil) -> [Int] {
        let one = [cls] + first + [sep]
        guard let second else { return one }
        return one + second + [sep]
    }

    private func encodePlain(_ text: ArraySlice<Unicode.Scalar>) -> [Int] {
        Self.words(Self.folded(Self.apart(text))).flatMap(pieces(of:))
    }

    /// Greedy longest match first; a word with a part that no piece covers is one `[UNK]`.
    private func pieces(of word: [Unicode.Scalar]) -> [Int] {
        guard word.count <= Self.longestWord else { return [unknown] }
        var found: [Int] = []
        var start = 0
        while start < word.count {
            var end = word.count
            while end > start, id(of: word[start..<end], continues: start > 0) == nil { end -= 1 }
            guard let piece = id(of: word[start..<end], continues: start > 0) else {
                return [unknown]
            }
            found.append(piece)
            start = end
        }
        return found
    }

    private func id(of part: ArraySlice<Unicode.Scalar>, continues: Bool) -> Int? {
        guard !part.isEmpty else { return nil }
        var text = String.UnicodeScalarView()
        text.append(contentsOf: part)
        return ids[Array((continues ? "##" : "").utf8) + Array(String(text).utf8)]
    }
}

/// A special token that vocab.txt lacks.
public struct VocabularyError: Error {
    public let absent: String
}

extension WordPiece {
    /// Without controls, every kind of space as one, and Chinese characters set apart.
    private static func apart(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
        text.flatMap { scalar -> [Unicode.Scalar] in
            if isSpace(scalar) { return [" "] }
            if isRemoved(scalar) { return [] }
            return isChinese(scalar) ? [" ", scalar, " "] : [scalar]
        }
    }

    /// Without accents, in lower case; scalar by scalar, so never by the language.
    private static func folded(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text)
        return String(view).decomposedStringWithCanonicalMapping.unicodeScalars
            .filter { $0.properties.generalCategory != .nonspacingMark }
            .flatMap { Array($0.properties.lowercaseMapping.unicodeScalars) }
    }

    /// Split at spaces and around every punctuation mark.
    private static func words(_ text: [Unicode.Scalar]) -> [[Unicode.Scalar]] {
        var found: [[Unicode.Scalar]] = []
        var word: [Unicode.Scalar] = []
        for scalar in text + [" "] {
            guard scalar == " " || isPunctuation(scalar) else {
                word.append(scalar)
                continue
            }
            if !word.isEmpty { found.append(word) }
            word = []
            if scalar != " " { found.append([scalar]) }
        }
        return found
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .spaceSeparator, .lineSeparator, .paragraphSeparator: return true
        default: return scalar == "\t" || scalar == "\n" || scalar == "\r"
        }
    }

    private static func isRemoved(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .privateUse: return true
        default: return scalar.value == 0xFFFD
        }
    }

    private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
            .initialPunctuation, .finalPunctuation, .otherPunctuation:
            return true
        default:  // signs such as $ + < ^ ` | count too, in ASCII alone
            let signs: [ClosedRange<UInt32>] = [33...47, 58...64, 91...96, 123...126]
            return signs.contains { $0.contains(scalar.value) }
        }
    }

    private static func isChinese(_ scalar: Unicode.Scalar) -> Bool {
        let ranges: [ClosedRange<UInt32>] = [
            0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F,
        ]
        return ranges.contains { $0.contains(scalar.value) }
    }
}
