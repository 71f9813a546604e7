"""Write texts with the ids that the embedded tokenizer gives them, for tokenizers in any language.

    python benchmarks/tokenizer_vectors.py > examples/tokenizer-vectors.json

The texts are hard on purpose: all that BERT's normalizer removes, splits, folds or decomposes, and
runs of the blocks of Unicode that were complete by Unicode 8, whose classes `tokenizers` has built
in. Ids are whole sequences, `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`.
"""

import hashlib
import json
from importlib.resources import as_file, files

from tokenizers import Tokenizer

from bert_mobile.tokenizer import load_tokenizer

_FORM = (
    "BERT's uncased WordPiece: each text, or pair of texts, with its ids in the vocabulary of this "
    "SHA-256; made by benchmarks/tokenizer_vectors.py"
)

PLAIN = (
    "", " ", "a", "A", "hello", "Hello, world!", "The capital of France is [MASK].", "unaffable",
    "Unbelievably internationalization", "don't can't it's we're I'll",
    "e.g. U.S.A. 3.14 1,000,000 50% $5 #1 @you", "snake_case camelCase kebab-case a/b\\c",
    "(a) [b] {c} <d> \"e\" 'f' `g`", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "...", "--", "a--b",
    "?!", "https://example.org/path?q=1&r=2#s", "mail@example.org", "C++ C# .NET", "x=y+z^2",
    "##s", "##", "0123456789", "1st 2nd 3rd 4th", "IV XIV MMXXVI", "SHOUTING and whispering",
    "aAaA", "the the the the", "qwxzvjk", "zzzzzzzzzz",
)  # fmt: skip
SPACES = (
    "  leading", "trailing  ", "two  spaces", "tab\tbetween", "line\nbreak",
    "carriage\r\nreturn", "no\u00a0break", "ogham\u1680space", "en\u2002space em\u2003space",
    "thin\u2009space hair\u200aspace", "narrow\u202fspace", "math\u205fspace",
    "ideographic\u3000space", "line\u2028separator", "paragraph\u2029separator",
    "next\u0085line", "form\u000cfeed", "vertical\u000btab",
    "file\u001cgroup\u001drecord\u001eunit\u001f", "\n\n\t ",
)  # fmt: skip
REMOVED = (
    "nu\0ll", "be\u0007ll", "es\u001bcape", "de\u007flete", "c1\u0080\u009fcontrols",
    "soft\u00adhyphen", "zero\u200bwidth\u200bspace", "zero\u200cwidth\u200dnon joiner",
    "left\u200eto\u200fright", "\u202aembedding\u202c", "\u2066isolate\u2069",
    "word\u2060joiner", "byte\ufefforder\ufeffmark", "replacement\ufffdcharacter",
    "private\ue000use\uf8ff", "plane\U000f0000fifteen \U0010fffd", "tag\U000e0041\U000e007f",
    "arabic\u061cmark", "mongolian\u180evowel separator", "\u00ad", "\ufeff", "\0",
    "annotation\ufff9anchor\ufffbend", "noncharacter\ufffe\uffff",
)  # fmt: skip
ACCENTS = (
    "café", "cafe\u0301", "CAFÉ", "naïve façade", "Ångström \u212bngström", "über Öl Ähre",
    "ñandú", "Đặng Thị Hằng", "Žižek čeština", "İstanbul ISPARTA ırmak", "Straße STRASSE ẞ",
    "œuvre æon Ørsted", "ﬁne ﬂow oﬃce", "a\u0300\u0301\u0302\u0303", "\u0301a", " \u0301",
    "e\u0323\u0302 ệ e\u0302\u0323", "q\u0307\u0323", "Σίσυφος ΟΔΥΣΣΕΥΣ", "ς σ Σ", "ΐ ΰ Ἀ ᾳ ᾼ",
    "ё й Ё Й", "и\u0306", "ǅ ǈ ǋ ǲ", "Ⅷ ⅷ Ⓐ ⓐ", "K Å Ω", "ſ ẛ ẛ̣", "ŉ ǰ", "x\u20dd y\u20e3",
    "Ĳ ĳ Ŀ ŀ", "क्षेत्र", "ก็ที่", "שָׁלוֹם", "السَّلامُ", "กำ", "வணக்கம்", "བོད་", "မြန်မာ",
)  # fmt: skip
SCRIPTS = (
    "中文", "我喜欢eating米饭", "日本語のテキスト", "カタカナ ガ ｶﾞ", "ひらがな が か\u3099",
    "한국어 텍스트", "\u1112\u1161\u11ab", "ㅎㅏㄴ", "豈更車", "\U0002f800",
    "\U00020000\U0002a6d6", "〇々〻", "㐀䶵", "一", "A中B文C", "。、「」・〜", "，！？：（）",
    "ＦＵＬＬ ｗｉｄｔｈ １２３", "￥￦￡", "Привет, мир!", "Γειά σου", "مرحبا بالعالم",
    "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Xin chào", "გამარჯობა", "Բարեւ", "ሰላም",
    "ᐊᐃᓐᖓᐃ", "ᏣᎳᎩ", "ꦗꦮ", "𐌰𐌱𐌲", "𝐁𝐨𝐥𝐝 𝒮𝒸𝓇𝒾𝓅𝓉 𝟙𝟚𝟛", "𐐀𐐨", "🅰🅱",
)  # fmt: skip
SYMBOLS = (
    "😀", "hi😀there", "👍🏽", "👨\u200d👩\u200d👧", "🇫🇷", "❤\ufe0f", "1\ufe0f\u20e3", "☃ ☂ ★",
    "→ ⇒ ⟶", "∑∫√∞≠≤", "± × ÷ ¬", "© ® ™", "€ £ ¥ ¢ ₹ ₿", "½ ¼ ¾ ⅓", "² ³ ¹ ₂", "° ′ ″",
    "§ ¶ † ‡", "« » ‹ ›", "“curly” ‘quotes’", "– — ― ‒", "… ‥", "• · ‧", "¿Qué? ¡Sí!", "№ ℅ ℓ",
    "♪♫", "⠓⠑⠇⠇⠕", "𝄞", "░▒▓", "〈〉《》", "‿⁀⁔", "ª º", "a\u0338b", "⁂ ⁑ ⁇", "‽", "՞ ׃ ؟ ۔",
    "। ॥", "᠁ ፡", "\u2e3a \u2e3b \u2e17", "﹏﹉﹟", "⸮",
)  # fmt: skip
SPECIAL = (
    "[MASK]", "[MASK][MASK]", "a[MASK]b", "[MASK].", "[CLS] [SEP] [PAD] [UNK]", "[mask]",
    "[Mask]", "[ MASK ]", "[[MASK]]", "[MASK", "MASK]", "[MAS\u00adK]", "[MASK\u0301]",
    "[SEP]x[SEP]", "x [UNK] y", "[unused1]", "[M][ASK]", "[MASK]\u0301", "the [MASK]s",
    "##[MASK]##",
)  # fmt: skip
LONG = (
    "x" * 99, "x" * 100, "x" * 101, "ab" * 50, "ab" * 50 + "a", "é" * 100, "e\u0301" * 100,
    "x" * 100 + "." + "x" * 100, "-" * 30, "word " * 40, "a\u0301" * 60 + " end", "中" * 120,
    "😀" * 100, "😀" * 101, "pneumonoultramicroscopicsilicovolcanoconiosis", "\u00ad" * 200,
)  # fmt: skip
BLOCKS = (
    (0x00A0, 0x0250), (0x0300, 0x0370), (0x0391, 0x03A2), (0x03A3, 0x03CF), (0x0400, 0x0460),
    (0x05D0, 0x05EB), (0x0621, 0x063B), (0x0905, 0x093A), (0x0E01, 0x0E3B), (0x1100, 0x1120),
    (0x1E00, 0x1F00), (0x2010, 0x2028), (0x2030, 0x205F), (0x20A0, 0x20BE), (0x2100, 0x2190),
    (0x2460, 0x24A0), (0x3001, 0x3040), (0x3041, 0x3061), (0xAC00, 0xAC20), (0xFB00, 0xFB07),
    (0xFF01, 0xFF61), (0x1D400, 0x1D420), (0x1F600, 0x1F620),
)  # fmt: skip
ONE_LINE = 32  # code points of a block in one text
PAIRS = (
    ("He went out.", "It was raining."), ("a", "b"), ("", ""), ("", "b"), ("a", ""),
    ("[MASK] a", "b [MASK]"), ("[SEP]", "[CLS]"), ("café", "CAFÉ"), ("中", "文"), ("😀", "\u00ad"),
    ("the [MASK].", "x" * 101), ("one\ntwo", "three\tfour"), ("don't", "do not"),
)  # fmt: skip


def texts() -> list[str]:
    """Return every single text, each once."""
    runs = [
        " ".join(map(chr, range(start, min(start + ONE_LINE, stop))))
        for first, stop in BLOCKS
        for start in range(first, stop, ONE_LINE)
    ]
    groups = PLAIN, SPACES, REMOVED, ACCENTS, SCRIPTS, SYMBOLS, SPECIAL, LONG, runs
    return list(dict.fromkeys(text for group in groups for text in group))


def document(tokenizer: Tokenizer, vocabulary: bytes) -> str:
    """Return the file: JSON in ASCII, a vector a line."""
    singles = zip(texts(), tokenizer.encode_batch(texts()), strict=True)
    pairs = zip(PAIRS, tokenizer.encode_batch(list(PAIRS)), strict=True)
    lists = {
        "texts": [{"text": text, "ids": found.ids} for text, found in singles],
        "pairs": [
            {"texts": list(both), "ids": found.ids, "types": found.type_ids}
            for both, found in pairs
        ],
    }
    head = {"form": _FORM, "vocabulary": hashlib.sha256(vocabulary).hexdigest()}
    parts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for name, rows in lists.items():
        lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        parts.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def embedded() -> str:
    """Return the file as the embedded tokenizer makes it today."""
    with as_file(files("bert_mobile").joinpath("default")) as folder:
        vocabulary = (folder / "vocab.txt").read_bytes()
        return document(load_tokenizer(folder / "tokenizer.json"), vocabulary)


if __name__ == "__main__":
    print(embedded(), end="")
