"""Masked sentence pairs for pre-training: a pure function of (shards, seed, step, rank).

Every batch is made from scratch out of the shards and its own number, so a run resumes at any
step without stored data state, and a changed number of devices reads the same examples in the same
order.

`[CLS] A [SEP] B [SEP]` follows google-research/bert, `create_pretraining_data.py`: half of the time
B is what follows A, half of the time it is from another document; 15 % of the tokens are asked for,
of which 80 % are shown as [MASK], 10 % as a random piece and 10 % as themselves. Where we part
from it: examples are drawn anew in every epoch instead of being written to disk once; both segments
begin at a sentence; the second fills the sequence and may be cut at its end; random pieces are
never special tokens.

Dimensions: B batch, T tokens of a sequence, M masked tokens of the batch.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus.shards import PARTS, check_files, read_manifest
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.tokenizer import SPECIAL_TOKENS, id_count, load_tokenizer

SPECIAL_POSITIONS = 3
"""Tokens of a sequence that are not text: [CLS] and twice [SEP]."""

SHORTEST_SEQUENCE = 16
SHOWN_AS_MASK, SHOWN_AS_RANDOM = 0.8, 0.1

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SpecialIds:
    """The ids of BERT's special tokens, and which other ids are pieces of text."""

    pad: int
    cls: int
    sep: int
    mask: int
    is_text: NDArray[np.bool_]
    """(V,), false for special tokens and for ids that no piece has."""

    @classmethod
    def of(cls, tokenizer: Path) -> "SpecialIds":
        """Read them from a tokenizer's folder: ours have 0 to 4, those of other makers any."""
        loaded = load_tokenizer(tokenizer)
        ids: dict[str, int] = loaded.get_vocab()
        is_text = np.zeros(id_count(loaded), bool)
        is_text[list(ids.values())] = True
        is_text[[ids[token] for token in SPECIAL_TOKENS]] = False
        return cls(ids["[PAD]"], ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], is_text)


@dataclass(frozen=True)
class Batch:
    """One batch of masked pairs."""

    input_ids: IntArray
    """(B, T), masked."""
    attention_mask: NDArray[np.bool_]
    """(B, T), true on real tokens."""
    token_type_ids: IntArray
    """(B, T), 0 up to the first [SEP], 1 after it."""
    positions: IntArray
    """(M,), where the tokens that are asked for are in the flattened (B·T) batch, ascending."""
    targets: IntArray
    """(M,), the pieces that were there."""
    is_random: IntArray
    """(B,), 0 where B follows A, 1 where it is from another document: Hugging Face's labels."""


class Pieces(Protocol):
    """Documents as pieces: what pairs are drawn from."""

    @property
    def name(self) -> str:
        """What errors call it."""

    @property
    def special(self) -> SpecialIds:
        """The special tokens of the tokenizer that made the pieces."""

    @property
    def sentences(self) -> IntArray:
        """(S+1,), where each sentence begins in the tokens, then their number."""

    @property
    def documents(self) -> IntArray:
        """(D+1,), where each document begins in the sentences, then their number."""

    def tokens(self, offsets: IntArray) -> IntArray:
        """Return the pieces at any offsets, in the shape of these."""


class Corpus:
    """One split of a built corpus, its tokens left on disk: `Pieces` over all shards together."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open a corpus. Raises `ArtifactError` where it is none, or damaged."""
        manifest = read_manifest(folder)
        if split not in manifest["splits"]:
            raise InputError(
                f"{folder} has no split {split!r}, expected one of {', '.join(manifest['splits'])}",
                hint="bert-mobile corpus build SOURCE… --out DIR",
            )
        names = manifest["splits"][split]["shards"]
        shards = [f"{name}.{kind}.npy" for name in names for kind in PARTS]
        check_files(folder, manifest, ["tokenizer.json", *shards])
        self.folder, self.split, self.name = folder, split, f"split {split!r} of {folder}"
        self.special = SpecialIds.of(folder)
        self.vocabulary_size = len(self.special.is_text)
        self._shards = [self._load(name, "tokens", np.uint16, map_file=True) for name in names]
        sentences = [self._load(name, "sentences", np.int64) for name in names]
        documents = [self._load(name, "documents", np.int64) for name in names]
        for name, *parts in zip(names, self._shards, sentences, documents, strict=True):
            self._check_offsets(name, *parts)
        self.sentences: IntArray = _chained(sentences)
        self.documents: IntArray = _chained(documents)
        self._shard_starts = np.cumsum([0, *(len(shard) for shard in self._shards)])

    def tokens(self, offsets: IntArray) -> IntArray:
        """Read the pieces at any offsets; the result has their shape."""
        flat = offsets.ravel()
        found = np.empty(flat.shape, np.int64)
        shard_of = np.searchsorted(self._shard_starts, flat, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            found[here] = self._shards[shard][flat[here] - self._shard_starts[shard]]
        return found.reshape(offsets.shape)

    def _load(
        self, name: str, kind: str, dtype: type[np.generic], *, map_file: bool = False
    ) -> NDArray[np.generic]:
        path = self.folder / f"{name}.{kind}.npy"
        try:
            array = np.load(path, mmap_mode="r" if map_file else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ArtifactError(
                f"{path} cannot be read: {error}", hint="build the corpus anew"
            ) from error
        if array.dtype != dtype or array.ndim != 1:
            raise ArtifactError(
                f"{path} holds {array.dtype} {array.shape}, expected {np.dtype(dtype)} (n,)",
                hint="build the corpus anew",
            )
        return array

    def _check_offsets(
        self,
        name: str,
        tokens: NDArray[np.generic],
        sentences: NDArray[np.generic],
        documents: NDArray[np.generic],
    ) -> None:
        ends = [*sentences[-1:].tolist(), *documents[-1:].tolist()]
        if ends != [len(tokens), len(sentences) - 1]:
            raise ArtifactError(
                f"{self.folder}: the three files of shard {name} do not belong together",
                hint="build the corpus anew",
            )


class PairSampler:
    """Draws the batches of one run from one split.

    The split is walked in windows of a sequence's length, each beginning at a sentence, in an order
    shuffled anew for every epoch. Raises `InputError` where the split has one document only (there
    is no "another document") or the settings contradict each other.
    `ask_all` asks for every token of the text, hidden or not.
    """

    def __init__(
        self,
        corpus: Pieces,
        *,
        seed: int,
        sequence_length: int,
        batch_size: int,
        masking_rate: float = 0.15,
        ask_all: bool = False,
    ) -> None:
        if len(corpus.documents) < 3:
            raise InputError(
                f"{corpus.name} has {len(corpus.documents) - 1} document(s), expected two or more: "
                "half of the pairs join sentences of different documents",
                hint="build the corpus of more documents",
            )
        if sequence_length < SHORTEST_SEQUENCE:
            raise InputError(
                f"sequence_length is {sequence_length}, expected at least {SHORTEST_SEQUENCE}",
                hint="the family is trained with 128 and 512",
            )
        if not 0 < masking_rate < 1:
            raise InputError(
                f"masking_rate is {masking_rate}, expected a number between 0 and 1",
                hint="BERT uses 0.15",
            )
        self.corpus, self.seed, self.special = corpus, seed, corpus.special
        self.sequence_length, self.batch_size = sequence_length, batch_size
        self.masking_rate, self._ask_all = masking_rate, ask_all
        self._text_pieces = np.flatnonzero(self.special.is_text)
        self._room = sequence_length - SPECIAL_POSITIONS
        self._windows = _windows(corpus, self._room)
        self._shuffled = lru_cache(maxsize=2)(self._epoch_order)

    @property
    def most_asked(self) -> int:
        """The largest number of tokens of one sequence that the network is asked for."""
        return self._room if self._ask_all else max(1, round(self._room * self.masking_rate))

    @property
    def windows(self) -> int:
        """Number of examples in an epoch."""
        return len(self._windows)

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """Return this rank's share of the batch with number `step`."""
        if self.batch_size % world_size:
            raise InputError(
                f"batch_size {self.batch_size} is no multiple of {world_size} devices",
                hint="choose a batch_size that all devices can share evenly",
            )
        share = self.batch_size // world_size
        mine = slice(rank * share, (rank + 1) * share)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        pairs = self._pairs(step, rng)
        keys = rng.random((self.batch_size, self.sequence_length), dtype=np.float32)
        fate = rng.random((self.batch_size, self.sequence_length), dtype=np.float32)
        chosen = rng.integers(len(self._text_pieces), size=(self.batch_size, self.sequence_length))
        pieces = self._text_pieces[chosen]
        ids, types, lengths = self._assemble(pairs[mine])
        return self._masked(
            ids, types, lengths, keys[mine], fate[mine], pieces[mine], pairs[mine, 4]
        )

    def _pairs(self, step: int, rng: np.random.Generator) -> IntArray:
        """Choose both segments of every example.

        Returns (B, 5): start and end of A, start and end of B (offsets into the tokens), and
        whether B is random.
        """
        corpus, room = self.corpus, self._room
        first = self._starting_sentences(step)
        start = corpus.sentences[first]
        document = np.searchsorted(corpus.documents, first, side="right") - 1
        last = corpus.documents[document + 1]  # the first sentence of the next document
        # A ends at a sentence boundary inside the window; where the first sentence alone fills
        # the window, A is its first half and B the sentence that follows.
        inside = np.searchsorted(corpus.sentences, start + room, side="left") - 1
        choices = np.minimum(inside, last - 1) - first
        count = 1 + (rng.random(len(first)) * np.maximum(choices, 1)).astype(np.int64)
        middle = first + count
        a_end = np.minimum(corpus.sentences[middle], start + room // 2 + (choices > 0) * room)
        is_random = (rng.random(len(first)) < 0.5).astype(np.int64)
        elsewhere = self._sentence_elsewhere(document, rng)
        second = np.where(is_random, elsewhere, middle)
        b_start = corpus.sentences[second]
        b_document = np.searchsorted(corpus.documents, second, side="right") - 1
        b_limit = corpus.sentences[corpus.documents[b_document + 1]]
        b_end = np.minimum(b_limit, b_start + room - (a_end - start))
        return np.stack([start, a_end, b_start, b_end, is_random], axis=1)

    def _starting_sentences(self, step: int) -> IntArray:
        """Return the sentence each example of this step begins with: each window once an epoch."""
        number = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epoch, place = np.divmod(number, self.windows)
        first = np.empty(self.batch_size, np.int64)
        for each in np.unique(epoch):
            here = epoch == each
            first[here] = self._windows[self._shuffled(int(each))[place[here]]]
        return first

    def _epoch_order(self, epoch: int) -> IntArray:
        # As uint64: NumPy would make floats of a list, in which 2**63 + 1 is 2**63 again.
        key = np.array([self.seed, 2**63 + epoch], np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.windows)

    def _sentence_elsewhere(self, document: IntArray, rng: np.random.Generator) -> IntArray:
        """Draw a sentence evenly from all documents but the given ones."""
        begin, end = self.corpus.documents[document], self.corpus.documents[document + 1]
        outside = self.corpus.documents[-1] - (end - begin)
        drawn = (rng.random(len(document)) * outside).astype(np.int64)
        return np.where(drawn >= begin, drawn + end - begin, drawn)

    def _assemble(self, pairs: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Lay `[CLS] A [SEP] B [SEP]` out: ids (B, T), padded to the longest, segments, lengths."""
        a_start, a_end, b_start, b_end = (pairs[:, [k]] for k in range(4))
        a_stop = 1 + a_end - a_start  # where the first [SEP] stands
        b_stop = a_stop + 1 + b_end - b_start  # where the second one does
        place = np.arange(int(b_stop.max()) + 1)[None, :]  # (1, T)
        in_a, in_b = (place > 0) & (place < a_stop), (place > a_stop) & (place < b_stop)
        offsets = np.where(in_a, a_start + place - 1, b_start + place - a_stop - 1)
        ids = np.full(offsets.shape, self.special.pad, np.int64)
        text = in_a | in_b
        ids[text] = self.corpus.tokens(offsets[text])
        ids[:, 0] = self.special.cls
        ids[(place == a_stop) | (place == b_stop)] = self.special.sep
        types = ((place > a_stop) & (place <= b_stop)).astype(np.int64)
        return ids, types, b_stop[:, 0] + 1

    def _masked(
        self,
        ids: IntArray,
        types: IntArray,
        lengths: IntArray,
        keys: NDArray[np.float32],
        fate: NDArray[np.float32],
        pieces: IntArray,
        is_random: IntArray,
    ) -> Batch:
        """Choose the asked tokens by the smallest of random `keys` and hide them."""
        width = ids.shape[1]
        real = np.arange(width) < lengths[:, None]
        text = self.special.is_text[ids]
        asked_count = np.maximum(1, np.rint(text.sum(1) * self.masking_rate)).astype(np.int64)
        # By rank, not by a threshold: two keys may be equal, and one token too many be asked for.
        order = np.argsort(np.where(text, keys[:, :width], np.inf), axis=1, kind="stable")
        asked = np.zeros_like(text)
        np.put_along_axis(asked, order, np.arange(width) < asked_count[:, None], axis=1)
        targets = ids[asked]
        luck = fate[:, :width][asked]
        shown = np.where(luck < SHOWN_AS_MASK + SHOWN_AS_RANDOM, pieces[:, :width][asked], targets)
        hidden = ids.copy()
        hidden[asked] = np.where(luck < SHOWN_AS_MASK, self.special.mask, shown)
        if self._ask_all:
            asked = text
        return Batch(hidden, real, types, np.flatnonzero(asked), ids[asked], is_random)


def _windows(corpus: Pieces, room: int) -> IntArray:
    """Return the sentences at which windows of `room` tokens begin.

    A document is cut every `room` tokens; a window begins with the first sentence that begins in
    each stretch, so an epoch reads about every token once. A document's last sentence begins none:
    nothing follows it.
    """
    sentences, documents = corpus.sentences[:-1], corpus.documents
    document = np.repeat(np.arange(len(documents) - 1), np.diff(documents))
    stretch = (sentences - sentences[documents[document]]) // room
    begins = np.ones(len(sentences), bool)
    begins[1:] = (stretch[1:] != stretch[:-1]) | (document[1:] != document[:-1])
    begins[documents[1:] - 1] = False
    windows = np.flatnonzero(begins)
    if not len(windows):
        raise InputError(
            f"{corpus.name} has no document of two sentences",
            hint="build the corpus of longer documents",
        )
    return windows


def _chained(offsets: list[NDArray[np.generic]]) -> IntArray:
    """Join the offsets of several shards, each beginning with 0, into one list."""
    parts: list[IntArray] = [np.zeros(1, np.int64)]
    end = 0
    for each in offsets:
        parts.append(end + each[1:].astype(np.int64))
        end = int(parts[-1][-1]) if len(parts[-1]) else end  # a shard may have no documents
    return np.concatenate(parts)
