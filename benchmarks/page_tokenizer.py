"""Compare the page's tokenizer with the library `tokenizers` on generated Unicode strings.

    python benchmarks/page_tokenizer.py --count 100000

Needs node. The last line is JSON: how many strings, how many with other ids or other places.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from tokenizers import Tokenizer

from bert_mobile.tokenizer import load_tokenizer

_SCRIPT = """
import {{ readFileSync }} from "node:fs";
import {{ Tokenizer }} from {module};
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const tokenizer = Tokenizer.fromJson(read({tokenizer}));
const found = read({texts}).map((text) => {{
  const {{ ids, offsets }} = tokenizer.encode(text);
  const points = [0]; // code points before each UTF-16 unit
  for (const character of text) {{
    const count = points.at(-1);
    if (character.length > 1) points.push(count);
    points.push(count + 1);
  }}
  return [ids, offsets.map((pair) => pair.map((unit) => points[unit]))];
}});
process.stdout.write(JSON.stringify(found));
"""

_BLOCKS = (
    (0x20, 0x7F), (0x20, 0x7F), (0, 0x100), (0x100, 0x250), (0x300, 0x370), (0x370, 0x530),
    (0x590, 0x780), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070),
    (0x2E80, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xF900, 0xFB50), (0xFE00, 0x10000),
    (0x1D400, 0x1D800), (0x1F300, 0x1FA00), (0x20000, 0x2A6E0), (0, 0x110000),
)  # fmt: skip
_ODD = (
    "[MASK]", "[SEP]", "[mask]", "[CLS]x", "İ", "ß", "Σ", "ς", "e\u0301", "\ufffd", "\0", "\u200d",
    "\u00ad", "\t", "\u3000", "don't", "naïve", "x" * 101, "##s", "中文", "\U0001d165", "ﬁ", "\r\n",
)  # fmt: skip


def strings(count: int, seed: int, pieces: list[str]) -> Iterator[str]:
    """Yield strings of words, odd things and characters of many blocks, some of them damaged."""
    chance = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(chance.randint(1, 12)):
            kind = chance.random()
            if kind < 0.3:
                parts.append(chance.choice(pieces).removeprefix("##"))
            elif kind < 0.45:
                parts.append(chance.choice(_ODD))
            else:
                low, high = chance.choice(_BLOCKS)
                codes = (chance.randrange(low, high) for _ in range(chance.randint(1, 6)))
                parts.append("".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000))
        yield chance.choice(("", " ")).join(parts)


def javascript(texts: list[str], tokenizer: Path, node: str) -> list[list[list[object]]]:
    """Return ids and places (in code points) of each text, as the page's tokenizer has them."""
    site = files("bert_mobile").joinpath("page", "site", "page")
    with as_file(site) as folder, tempfile.TemporaryDirectory() as scratch:
        given, script = Path(scratch) / "texts.json", Path(scratch) / "run.mjs"
        given.write_text(json.dumps(texts), encoding="utf-8")
        paths = {"module": folder / "tokenizer.js", "tokenizer": tokenizer, "texts": given}
        script.write_text(_SCRIPT.format(**{k: json.dumps(str(v)) for k, v in paths.items()}))
        run = subprocess.run([node, str(script)], capture_output=True, check=True)
    found: list[list[list[object]]] = json.loads(run.stdout)
    return found


def differences(texts: list[str], path: Path, node: str) -> tuple[list[str], list[str]]:
    """Return the texts that both cut into other pieces, and those with other places only."""
    tokenizer: Tokenizer = load_tokenizer(path)
    ours = javascript(texts, path, node)
    ids, places = [], []
    for text, encoding, (our_ids, our_offsets) in zip(
        texts, tokenizer.encode_batch(texts, add_special_tokens=False), ours, strict=True
    ):
        if encoding.ids != our_ids:
            ids.append(text)
        elif [list(pair) for pair in encoding.offsets] != our_offsets:
            places.append(text)
    return ids, places


def main() -> None:
    """Compare, show a few differences, print JSON; exit 1 where ids differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    node = shutil.which("node")
    if node is None:
        sys.exit("node is not installed")
    with as_file(files("bert_mobile").joinpath("default", "tokenizer.json")) as path:
        pieces = list(load_tokenizer(path).get_vocab())
        texts = list(strings(given.count, given.seed, pieces))
        ids, places = differences(texts, path, node)
    for text in [*ids[:5], *places[:5]]:
        print(repr(text))
    print(json.dumps({"strings": len(texts), "other_ids": len(ids), "other_places": len(places)}))
    sys.exit(1 if ids else 0)


if __name__ == "__main__":
    main()
