"""Labelled examples, checked to the last one and encoded, before any training starts.

Each file is read once (and once more for labels that training lacks): what is wrong in it is an
error that names the file, the line and the column. Dimensions: n sequences, m things that are asked
for (n sequences, or all words of them), L labels.
"""

import hashlib
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError
from bert_mobile.judging.sequences import Collector, IntArray, Sequences, ragged_rows
from bert_mobile.labelled import Example, LabelledFile, LabelledText, Question, TaggedSentence
from bert_mobile.labelled.labels import sorted_names, unseen_label
from bert_mobile.runtime.batches import Tokens
from bert_mobile.runtime.text import TextEncoder, TruncationWarning

AT_ONCE = 1000
"""Examples that are encoded together."""

HELD_OUT_OF = 10
"""One of so many examples is held out where there are no dev examples."""
FEWEST = 2 * HELD_OUT_OF

LARGEST_NUMBER = 1e30
"""To learn: its like are computed with in float32, which ends at 3.4e38."""


@dataclass(frozen=True)
class Encoded:
    """Encoded examples with what is to be learned of them."""

    sequences: Sequences
    targets: NDArray[Any]
    """(m,) int32 labels, (n, L) uint8 where there may be several, (n,) float64 numbers, or (n, 2)
    int32 first and last token of an answer."""
    places: NDArray[Any] | None = None
    """(m,) token of its sequence at which each word begins; None where sequences are asked for."""
    place_offsets: IntArray | None = None
    """(n + 1,): words of sequence i are `places[place_offsets[i]:place_offsets[i + 1]]`."""
    windows: IntArray | None = None
    """(q + 1,): question i is read in the sequences from `windows[i]` to before `windows[i + 1]`;
    None where an example is a sequence."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.sequences) if self.windows is None else len(self.windows) - 1

    def taken(self, rows: IntArray) -> "Encoded":
        """Return some of the examples with what belongs to them."""
        if self.windows is not None:
            numbers, windows = ragged_rows(np.arange(len(self.sequences)), self.windows, rows)
            return Encoded(self.sequences.taken(numbers), self.targets[numbers], windows=windows)
        sequences = self.sequences.taken(rows)
        if self.places is None or self.place_offsets is None:
            return Encoded(sequences, self.targets[rows])
        targets, _ = ragged_rows(self.targets, self.place_offsets, rows)
        places, offsets = ragged_rows(self.places, self.place_offsets, rows)
        return Encoded(sequences, targets, places, offsets)

    @property
    def digest(self) -> str:
        """SHA-256 of all that is learned."""
        found = hashlib.sha256()
        parts = (self.sequences.ids, self.sequences.offsets, self.sequences.seconds, self.targets)
        for part in (*parts, self.places, self.place_offsets):
            if part is not None:
                found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()


@dataclass
class Reading:
    """One pass over examples: what they are encoded with, and what was noticed."""

    encoder: TextEncoder
    names: tuple[str, ...] | None = None
    """Labels that are known beforehand; None: those that are found."""
    several: bool = False
    stride: int | None = None
    keeps: str = "nothing"
    """Which of the examples themselves are kept: `nothing`, `all`, or the `tenth` to be held out.

    The tenth is one of every ten neighbours, chosen by chance, but the same in every run: files are
    often sorted by class, and seeds are to be compared on the same examples."""
    found: dict[str, int] = field(default_factory=dict)
    """Label → its number, in the order of their coming."""
    cut: int = 0
    """Examples that were longer than the limit."""
    kept: list[Example] = field(default_factory=list)
    kept_rows: list[int] = field(default_factory=list)
    count: int = 0
    """Examples so far."""

    def __post_init__(self) -> None:
        """Number the labels that are known."""
        self._chance, self._chosen = random.Random(0), 0  # noqa: S311 - no secret
        if self.names is not None:
            self.found = {name: number for number, name in enumerate(self.names)}

    def note(self, example: Example) -> None:
        """Count an example, and keep it where it is one of those to keep."""
        place = self.count % HELD_OUT_OF
        if place == 0 and self.keeps == "tenth":
            self._chosen = self._chance.randrange(HELD_OUT_OF)
        if self.keeps == "all" or (self.keeps == "tenth" and place == self._chosen):
            self.kept.append(example)
            self.kept_rows.append(self.count)
        self.count += 1

    def number(self, label: str, where: Callable[[], str]) -> int:
        """Return the number of a label; raises `InputError` where it is none of the known ones."""
        if label not in self.found and self.names is not None:
            raise unseen_label(where(), label, self.names)
        return self.found.setdefault(label, len(self.found))


def read_examples(examples: Iterable[Example], kind: str, reading: Reading) -> Encoded:
    """Encode all examples; label numbers are those of `reading.found` (see `in_order`).

    Raises `InputError` naming the place where an example cannot be learned from, or there is none.
    """
    ways: dict[str, Callable[..., Encoded]] = {"tag": _tagged, "answer": _questions}
    collect = ways.get(kind, _texts)
    place = _namer(examples)
    encoded = collect(_noting(examples, reading), kind, reading, place)
    if not len(encoded):
        raise InputError(f"{_name(examples)} has no example, expected some", hint="check the file")
    return encoded


def in_order(encoded: Encoded, reading: Reading) -> tuple[Encoded, tuple[str, ...]]:
    """Renumber labels in their fixed order; return the names in it."""
    if reading.names is not None:
        return encoded, reading.names
    names = tuple(sorted_names(reading.found))
    number = np.array([names.index(name) for name in reading.found], dtype=np.int32)
    if encoded.targets.ndim == 2:  # (n, L), a column each
        return replace(encoded, targets=encoded.targets[:, np.argsort(number)]), names
    return replace(encoded, targets=number[encoded.targets]), names


def _texts(
    examples: Iterator[LabelledText], kind: str, reading: Reading, place: "_Namer"
) -> Encoded:
    collector, targets = Collector(reading.encoder.tokenizer.get_vocab_size()), []
    width = 2 if kind == "pairs" else None
    while chunk := list(islice(examples, AT_ONCE)):
        for example in chunk:
            _check_texts(example, width, place)
        collector.add(_encoded_texts(chunk, reading, place))
        targets += [_target(example, kind, reading, place) for example in chunk]
    return Encoded(collector.collected(), _targets(targets, kind, reading))


def _check_texts(example: LabelledText, width: int | None, place: "_Namer") -> None:
    if width is not None and len(example.texts) != width:
        raise InputError(
            f"{place(example)}: {len(example.texts)} text(s), expected {width}",
            hint="name both columns with --text, or use classify",
        )


def _encoded_texts(
    chunk: Sequence[LabelledText], reading: Reading, place: "_Namer"
) -> list[Tokens]:
    encoder = reading.encoder

    def encode(part: Sequence[LabelledText]) -> list[Tokens]:
        firsts = [example.texts[0] for example in part]
        if len(part[0].texts) == 1:
            return encoder.encode(firsts)
        return encoder.encode_pairs(firsts, [example.texts[1] for example in part])

    return _explained(encode, chunk, reading, place)


def _explained(
    encode: Callable[[Sequence[Any]], list[Any]],
    chunk: Sequence[Any],
    reading: Reading,
    place: "_Namer",
) -> list[Any]:
    """Encode a chunk; count what was cut, and name the place of what cannot be encoded."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = encode(chunk)
        except InputError:
            for example in chunk:
                try:
                    encode([example])
                except InputError as error:
                    raise InputError(
                        f"{place(example)}: {error.message}", hint=error.hint
                    ) from error
            raise
    reading.cut += sum(issubclass(each.category, TruncationWarning) for each in caught)
    return found


def _target(example: LabelledText, kind: str, reading: Reading, place: "_Namer") -> Any:
    """Return what one example teaches: a number, a label's number, or those of several."""
    if kind == "regress":
        if example.value is None:
            raise _unlabelled(place(example))
        if abs(example.value) > LARGEST_NUMBER:
            raise InputError(
                f"{place(example)}: {example.value:g}, expected at most {LARGEST_NUMBER:g}",
                hint="give the numbers in a larger unit",
            )
        return example.value
    if example.labels is None:
        raise _unlabelled(place(example))
    numbers = [reading.number(label, lambda: place(example)) for label in example.labels]
    if reading.several:
        return numbers
    if len(numbers) != 1:
        raise InputError(
            f"{place(example)}: {len(numbers)} labels, expected one",
            hint="give --several where a text may have any number of labels",
        )
    return numbers[0]


def _targets(targets: list[Any], kind: str, reading: Reading) -> NDArray[Any]:
    if kind == "regress":
        return np.array(targets, dtype=np.float64)
    if not reading.several:
        return np.array(targets, dtype=np.int32)
    columns = np.zeros((len(targets), len(reading.found)), dtype=np.uint8)
    for row, numbers in enumerate(targets):
        columns[row, numbers] = 1
    return columns


def _tagged(
    examples: Iterator[TaggedSentence], _kind: str, reading: Reading, place: "_Namer"
) -> Encoded:
    collector = Collector(reading.encoder.tokenizer.get_vocab_size())
    targets: list[int] = []
    places: list[int] = []
    counts: list[int] = []
    while chunk := list(islice(examples, AT_ONCE)):
        words = _explained(
            lambda part: reading.encoder.encode_words([each.words for each in part]),
            chunk, reading, place,
        )  # fmt: skip
        collector.add([tokens for tokens, _ in words])
        for example, (_, starts) in zip(chunk, words, strict=True):
            if example.tags is None:
                raise _unlabelled(place(example))
            where = _at(place, example)
            targets += [reading.number(tag, where) for tag in example.tags[: len(starts)]]
            places += starts
            counts.append(len(starts))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(counts, np.int64))])
    sequences = collector.collected()
    return Encoded(sequences, np.array(targets, np.int32), np.array(places, np.uint16), offsets)


def _at(place: "_Namer", example: Example) -> Callable[[], str]:
    return lambda: place(example)


def _questions(
    examples: Iterator[Question], _kind: str, reading: Reading, place: "_Namer"
) -> Encoded:
    collector = Collector(reading.encoder.tokenizer.get_vocab_size())
    targets: list[tuple[int, int]] = []
    offsets = [0]
    for example in examples:
        if example.answers is None:
            raise _unlabelled(place(example))
        [windows] = _explained(
            lambda part: [
                reading.encoder.encode_windows(each.question, each.context, reading.stride)
                for each in part
            ],
            [example], reading, place,
        )  # fmt: skip
        collector.add([window.tokens for window in windows])
        targets += [span_in(window, example) for window in windows]
        offsets.append(len(targets))
    spans = np.array(targets, np.int32).reshape(-1, 2)
    return Encoded(collector.collected(), spans, windows=np.array(offsets, np.int64))


def span_in(window: Any, question: Question) -> tuple[int, int]:
    """Return first and last token of a question's first answer that is whole in a window.

    (0, 0), which is `[CLS]`, where there is none.
    """
    for answer in question.answers or ():
        end = answer.start + len(answer.text)
        inside = [
            place
            for place, (first, last) in enumerate(window.offsets)
            if first < end and last > answer.start
        ]
        if not inside:
            continue
        whole = window.offsets[inside[0]][0] <= answer.start or inside[0] > 0
        if whole and (window.offsets[inside[-1]][1] >= end or inside[-1] < len(window.offsets) - 1):
            return window.start + inside[0], window.start + inside[-1]
    return 0, 0


_Namer = Callable[[Any], str]


def _namer(examples: Iterable[Example]) -> _Namer:
    if isinstance(examples, LabelledFile):
        return examples.place
    return lambda example: f"example {example.line}"


def _name(examples: Iterable[Example]) -> str:
    return examples.name if isinstance(examples, LabelledFile) else "the data"


def _noting(examples: Iterable[Example], reading: Reading) -> Iterator[Any]:
    for example in examples:
        reading.note(example)
        yield example


def _unlabelled(where: str) -> InputError:
    return InputError(
        f"{where}: there is no label, expected one for every example",
        hint="name the column with --label, or leave the example out",
    )
