"""Pieces against transformers: its `BertTokenizer`, and its older one in plain Python.

The first runs on the same Rust library as ours, so it judges settings; the second shares no code,
so it judges the rules. Where the two are known to differ, ours follows the first.
"""

import json
import lzma
import random
import subprocess
import sys
import unicodedata
from itertools import islice
from pathlib import Path

import pytest
from transformers import BertTokenizer
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, load_tokenizer, save_tokenizer
from tests.conftest import WORDS

LINES = 10_000
ALPHABETS = "abcdefghijklmnopqrstuvwxyz0123456789αβγδεζηθικλμνξοπρσςτυφχψωабвгдеßıøœﬁªº中文字日本"
ALPHABETS += "שלוםعربيกขค각나あいうアイウ\N{GRINNING FACE}\N{WOMAN}" + ".,!?'\"-()[]#$%&«»—…€"
CORNERS = {
    "accents": "café cafe\u0301 Ångström A\u030angstro\u0308m n\u0303 \u0301alone x\u0301\u0302",
    "CJK": "日本語の文字 text漢字mixed 中a文 \u3400\uf900 ひらがな カタカナ",
    "Hangul": "한국어 각 \u1100\u1161\u11a8",
    "Turkish": "İstanbul Iğdır ıspanak DİYARBAKIR i\u0307",
    "German": "Straße STRASSE ẞ groß Fuß",
    "ligatures": "ﬁnd oﬀer ﬂow ﬃ ĳ ǅ œuvre",
    "zero width": "a\u200bb c\u200cd e\u200df \ufeffg h\u2060i",
    "soft hyphen": "co\u00adoperate \u00ad",
    "NUL": "a\x00b \x00 c",
    "replacement": "a\ufffdb \ufffd",
    "control": "a\x01b\x07c\x1bd\x7fe\x80f\x85g\x9fh",
    "spaces": "a\tb\nc\rd\u00a0e\u2009f\u3000g\u2028h\u2029i\x0bj\x0ck\u1680l",
    "emoji": "👍🏽 👩\u200d👩\u200d👧 ❤\ufe0f 🇫🇷 1\ufe0f\u20e3",
    "right to left": "שָׁלוֹם עולם العَرَبِيَّة \u200fabc\u202e",
    "punctuation": "don't, x@y.z: a_b/c\\d|e~f`g^h=i+j<k>l… «q» “r” ‚s‘ t—u–v ¿w? ·x",
    "numbers": "3.14 1,000 ½ x² ⅓ Ⅷ ٣ 25°C 3×4 №5",
    "long words": f"{'x' * 100} {'x' * 101} {'ab' * 200} end {'é' * 60}",
    "special tokens": "a [MASK] b[SEP]c [CLS][PAD] [UNK] [mask] [ MASK ] [MASK",
    "empty": "",
    "blank": " \t\n ",
    "hashes": "##a a##b # ## ###",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tokenizer that knows the letters of many scripts, so that few words become [UNK]."""
    letters = dict.fromkeys(ALPHABETS)
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    made = tmp_path_factory.mktemp("many-scripts")
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    save_tokenizer(bert_wordpiece(vocabulary), made)
    return made


@pytest.fixture(scope="module")
def ours(folder):
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def fast(folder):
    return BertTokenizer(vocab=str(folder / "vocab.txt"))


@pytest.fixture(scope="module")
def plain(folder):
    return BertTokenizerLegacy(str(folder / "vocab.txt"))


@pytest.fixture(scope="module")
def characters() -> list[str]:
    """Five thousand code points, drawn anew from the whole of Unicode by a fixed seed."""
    everything = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return random.Random(11).sample(everything, 5_000)


@pytest.fixture(scope="module")
def settled(characters) -> list[str]:
    """Those of Unicode 3.2 whose category never changed, on which tables of any age agree.

    The plain tokenizer also drops unassigned code points, which the Rust one keeps.
    """
    then = unicodedata.ucd_3_2_0.category
    old = [chr(c) for c in range(0x3000) if then(chr(c)) not in ("Cn", "Cs")]
    return [c for c in [*old, *characters] if "Cn" != then(c) == unicodedata.category(c)]


@pytest.fixture(scope="module")
def generated(settled) -> list[str]:
    """Lines of words in any case, run together or not, with punctuation and odd characters."""
    chance = random.Random(12)

    def token() -> str:
        match chance.randrange(6):
            case 0:
                return chance.choice(WORDS).capitalize() + chance.choice(".,;!?'\"")
            case 1:
                return "".join(chance.choices(WORDS, k=2)).upper()
            case 2:
                return "".join(chance.choices(ALPHABETS, k=chance.randint(1, 6)))
            case 3:
                return chance.choice(settled) + chance.choice(WORDS) + chance.choice(settled)
            case _:
                return chance.choice(WORDS)

    spaces = [" ", " ", " ", "  ", "\t", "\u00a0", ""]
    return [
        "".join(token() + chance.choice(spaces) for _ in range(chance.randint(1, 8)))
        for _ in range(LINES)
    ]


def ids(tokenizer, texts):
    return [each.ids for each in tokenizer.encode_batch(texts, add_special_tokens=False)]


def plain_ids(tokenizer, texts):
    return [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)) for text in texts]


def differing(texts, ours, theirs):
    """Return the texts that two tokenizers cut differently, with both results."""
    return [(t, a, b) for t, a, b in zip(texts, ours, theirs, strict=True) if a != b]


def test_lines_are_cut_as_transformers_cuts_them(ours, fast, generated):
    theirs = fast(generated, add_special_tokens=False)["input_ids"]
    assert differing(generated, ids(ours, generated), theirs) == []


def test_lines_are_cut_as_the_plain_rules_say(ours, plain, generated):
    mine = ids(ours, generated)
    unknown = sum(row.count(1) for row in mine) / sum(map(len, mine))
    assert unknown < 0.2  # else the comparison would say little
    # Python lowers a final capital sigma to another letter than a sigma elsewhere; Rust does not.
    lines = [line for line in generated if "Σ" not in line]
    assert len(lines) > 0.9 * LINES
    assert differing(lines, ids(ours, lines), plain_ids(plain, lines)) == []


@pytest.mark.parametrize("text", CORNERS.values(), ids=CORNERS)
def test_odd_corners(ours, fast, plain, text):
    mine = ours.encode(text, add_special_tokens=False)
    assert mine.tokens == fast.tokenize(text)
    assert mine.tokens == plain.tokenize(text)


def test_single_characters(ours, fast, characters):
    texts = [f"a{character}b {character}" for character in characters]
    theirs = fast(texts, add_special_tokens=False)["input_ids"]
    assert differing(texts, ids(ours, texts), theirs) == []


def test_single_characters_by_the_plain_rules(ours, plain, settled):
    texts = [f"a{character}b {character}" for character in settled]
    assert len(texts) > 5_000
    assert differing(texts, ids(ours, texts), plain_ids(plain, texts)) == []


def test_whole_sequences_with_special_tokens(ours, fast, generated):
    first, second = generated[:200], generated[200:400]
    theirs = fast(first, second)
    mine = ours.encode_batch(list(zip(first, second, strict=True)))
    assert [each.ids for each in mine] == theirs["input_ids"]
    assert [each.type_ids for each in mine] == theirs["token_type_ids"]


def test_lines_of_real_text(ours, fast, plain):
    data = Path(__file__).parents[2] / ".." / "shared" / "data"
    if not data.is_dir():
        pytest.skip(f"no real text here: put .tsv.xz files of any text, 10,000 lines, below {data}")
    lines: list[str] = []
    for path in sorted(data.rglob("*.tsv.xz")):
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            lines += islice(file, 700)
    lines = lines[:LINES]
    assert len(lines) == LINES
    mine = ids(ours, lines)
    assert differing(lines, mine, fast(lines, add_special_tokens=False)["input_ids"]) == []
    sample = lines[::10]
    assert differing(sample, mine[::10], plain_ids(plain, sample)) == []


def test_the_two_forms_of_the_tokenizer_agree_on_generated_strings():
    """The benchmark, with fewer strings than the 100,000 that it tries by itself."""
    benchmark = Path(__file__).parents[2] / "benchmarks" / "tokens.py"
    command = [sys.executable, str(benchmark), "--strings", "3000", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["strings"], found["different"]) == (3000, 0)
    assert found["ids"] > 30_000
