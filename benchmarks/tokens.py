"""Whether tokenizer.json and vocab.txt say the same, on strings that nobody would write.

    python benchmarks/tokens.py [FOLDER] [--strings 100000] [--seed 0]

`tokenizer.json` is read by `tokenizers`, as all our runtimes and transformers.js read it;
`vocab.txt` with `tokenizer_config.json`, alone in a folder, by transformers' `BertTokenizer`. The
strings mix words of the vocabulary with characters of all of Unicode, of chosen scripts, and of the
places where tokenizers are known to part. The last line is one JSON document; the exit status is 1
where any string has other ids.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

BATCH = 1000
_SURROGATES = range(0xD800, 0xE000)
RANGES = (
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80),
    (0x1100, 0x1200), (0x1E00, 0x2070), (0x2000, 0x2C00), (0x3000, 0x3400), (0x4E00, 0xA000),
    (0xAC00, 0xD7A4), (0xF900, 0x10000), (0x1F000, 0x1FB00), (0x20000, 0x2FA20), (0, 0x110000),
)  # fmt: skip
CORNERS = [
    "[MASK]", "[SEP]", "[mask]", "İ", "ß", "ẞ", "ﬁ", "\ufffd", "\0", "\u200b", "\u200d", "\ufeff",
    "\u00ad", "\u0301", "x" * 101, "##", "\t", "\n", "\u2028", "\u3000", "🇫🇷", "👩\u200d👧",
]  # fmt: skip


def string(chance: random.Random, words: list[str]) -> str:
    """Return up to thirty pieces: words, corners, and characters at random."""
    parts = []
    for _ in range(chance.randint(0, 30)):
        kind = chance.random()
        if kind < 0.3:
            parts.append(chance.choice(words))
        elif kind < 0.4:
            parts.append(chance.choice(CORNERS))
        else:
            low, high = chance.choice(RANGES)
            numbers = (chance.randrange(low, high) for _ in range(chance.randint(1, 6)))
            parts.append("".join(chr(n) for n in numbers if n not in _SURROGATES))
        parts.append(chance.choice((" ", " ", "")))
    text = "".join(parts)
    return (
        unicodedata.normalize(chance.choice(("NFC", "NFD")), text)
        if chance.random() < 0.3
        else text
    )


def main() -> None:
    """Compare, then print JSON."""
    from tokenizers import Tokenizer
    from transformers import BertTokenizer

    from bert_mobile.hub import resolve

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default="default")
    parser.add_argument("--strings", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder, began = resolve(given.folder), time.perf_counter()
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as alone:
        for name in ("vocab.txt", "tokenizer_config.json"):
            shutil.copyfile(folder / name, Path(alone) / name)
        theirs = BertTokenizer.from_pretrained(alone)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    chance, different, ids = random.Random(given.seed), 0, 0
    for start in range(0, given.strings, BATCH):
        texts = [string(chance, words) for _ in range(min(BATCH, given.strings - start))]
        found = [encoding.ids for encoding in ours.encode_batch(texts)]
        for text, one, other in zip(texts, found, theirs(texts)["input_ids"], strict=True):
            ids += len(one)
            if one != other:
                different += 1
                print(f"{text!r}: {one} and {other}")
    record = {
        "strings": given.strings, "seed": given.seed, "different": different, "ids": ids,
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    print(json.dumps(record))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
