"""Calibration text: lines of a file, as the network is to be asked about them."""

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.quantize.interface import INPUTS

MAX_LINES = 256
MAX_TOKENS = 128
MAX_CHARACTERS = 128 * MAX_TOKENS
"""Of a line; a piece of WordPiece's has far fewer, and the rest is cut before it is tokenized."""
MASKED = 0.15
"""Part of the pieces of a line that are hidden, where there is a head to guess them."""

_SHORTEST = 5  # tokens: of a pair of texts

FOREIGN_KINDS = 0.5
"""A text counts as foreign where a smaller part of its different words are pieces of the vocabulary
by themselves, and a smaller part of all its words than `FOREIGN_WORDS` says. Another language has
little more than short and frequent words in common with it; tweets, names and jargon have more."""
FOREIGN_WORDS = 0.04
"""Part of all words, for each doubling of the vocabulary. That is 60 % for 30,000 pieces, which
have 88 % and more of English words whole, half of the French and a sixth of the Finnish ones."""

_UNKNOWN = "[UNK]"

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """One line, as one run of the network takes it."""

    feed: dict[str, IntArray]
    """The inputs by name, each (1, T)."""
    positions: IntArray
    """(M,), where answers of the masked-token head are judged; never empty."""


@dataclass(frozen=True)
class CalibrationText:
    """What was read, and what it was like."""

    lines: list[Line]
    tokens: int
    """Of all lines together."""
    whole: float
    """Part of the words that are pieces of the vocabulary by themselves; 1 where there are none."""
    counts: IntArray
    """(V,), how often each piece occurs."""

    def facts(self) -> dict[str, Any]:
        """Return what a provenance record keeps of it."""
        return {
            "lines": len(self.lines),
            "tokens": self.tokens,
            "whole_words": round(self.whole, 3),
        }

    @staticmethod
    def longest_facts() -> dict[str, Any]:
        """Return facts that take as many characters as any."""
        return {"lines": MAX_LINES, "tokens": MAX_LINES * MAX_TOKENS, "whole_words": 0.123}


def read_lines(
    path: Path, tokenizer: Tokenizer, *, limit: int, masked: bool, halved: bool, paired: bool = True
) -> CalibrationText:
    """Read the first 256 lines with something in them, 128 tokens of each at the most.

    A tab parts a line into two texts; `halved` parts every other line in its middle, as a network
    that judges pairs expects; neither where it is not `paired`, and knows one text only. `masked`
    hides some pieces, the same ones every time. Warns where few of the words are in the
    vocabulary. Raises `InputError` where the file cannot be read or has no such line,
    `ArtifactError` where `limit`, the positions of the network, holds no two texts.
    """
    if limit < _SHORTEST:
        raise ArtifactError(
            f"the model has positions for {limit} tokens, expected at least {_SHORTEST} to "
            "calibrate it: [CLS] A [SEP] B [SEP]",
            hint="quantize it without --calibration",
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(MAX_TOKENS, limit))
    texts = lines_of(path)
    pairs = [_parted(line, halved=halved) for line in texts] if paired else texts
    encodings: list[Encoding] = tokenizer.encode_batch(pairs)
    rng = np.random.default_rng(0)
    hidden = tokenizer.token_to_id("[MASK]") if masked else None
    lines = [_line(encoding, hidden, rng) for encoding in encodings]
    everything = np.concatenate([encoding.ids for encoding in encodings])
    counts = np.bincount(everything, minlength=tokenizer.get_vocab_size())
    words = _words(encodings)
    whole = {word: count for word, count in words.items() if _is_whole(word)}
    share = sum(whole.values()) / words.total() if words else 1.0
    text = CalibrationText(lines, len(everything), share, counts)
    usual = FOREIGN_WORDS * math.log2(tokenizer.get_vocab_size())
    if words and len(whole) < FOREIGN_KINDS * len(words) and text.whole < usual:
        warnings.warn(
            f"{path}: {text.whole:.0%} of the words are whole in the vocabulary, so it seems to be "
            f"in another language than the model's; measured on it all the same: {len(lines)} "
            f"lines of {text.tokens:,} tokens",
            stacklevel=2,
        )
    return text


def lines_of(text: Path) -> list[str]:
    """Return the first 256 lines with something in them; raises as `read_lines` does."""
    found: list[str] = []
    try:
        with text.open(encoding="utf-8") as file:
            for line in file:
                if line.strip():
                    found.append(line.strip()[:MAX_CHARACTERS])
                if len(found) == MAX_LINES:
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{text} cannot be read as text to calibrate on: {error}",
            hint="give a UTF-8 file with one text a line",
        ) from error
    if not found:
        raise InputError(f"{text} has no text in it", hint="give a file with one text a line")
    return found


def _parted(line: str, *, halved: bool) -> str | tuple[str, str]:
    first, tab, second = line.partition("\t")
    if tab and second.strip():
        return first, second
    middle = line.find(" ", len(line) // 2)
    return (line[:middle], line[middle:]) if halved and middle > 0 else line


def _line(encoding: Encoding, hidden: int | None, rng: np.random.Generator) -> Line:
    """Return the inputs for one text or pair, with pieces replaced by the id `hidden`."""
    ids = np.array(encoding.ids, dtype=np.int64)
    places = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    positions = np.arange(len(ids)) if hidden is None or not len(places) else places
    if hidden is not None and len(places):
        positions = np.sort(rng.choice(places, max(1, round(MASKED * len(places))), replace=False))
        ids[positions] = hidden
    types = np.array(encoding.type_ids, dtype=np.int64)
    arrays = ids[None], np.ones_like(ids)[None], types[None]
    return Line(dict(zip(INPUTS, arrays, strict=True)), positions)


def _words(encodings: list[Encoding]) -> Counter[tuple[str, ...]]:
    """Count the words, each as its pieces; numbers, marks and single Latin letters are none."""
    words: list[tuple[str, ...]] = []
    for encoding in encodings:
        for piece in encoding.tokens:
            if piece.startswith("##") and words:
                words[-1] += (piece,)
            else:
                words.append((piece,))
    return Counter(word for word in words if _is_word(word))


def _is_word(pieces: tuple[str, ...]) -> bool:
    first = pieces[0]
    if first.startswith("["):
        return first == _UNKNOWN
    return first[0].isalpha() and (len(pieces) > 1 or len(first) > 1 or not first.isascii())


def _is_whole(pieces: tuple[str, ...]) -> bool:
    return len(pieces) == 1 and len(pieces[0]) > 1 and pieces[0] != _UNKNOWN
