"""Held-out text to judge by, in groups: a built corpus and each kind of text in it, or raw text.

Of a built corpus the held-out split is read, as a whole and by kinds: the first part of a
document's source ("enwiki" of "enwiki/20250601"), where two or more documents have it. Raw text
(whatever `corpus build` reads) counts as held out from end to end and is one group; it is cut into
sentences as there, not deduplicated, and read from its beginning until there is plenty.

Dimensions: D documents, S sentences, T tokens.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.corpus import read_sentences
from bert_mobile.corpus.pieces import Encoder
from bert_mobile.corpus.remote import is_address
from bert_mobile.corpus.shards import check_files, read_documents, read_manifest
from bert_mobile.corpus.sources import is_corpus
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.examples import Corpus, IntArray, Pieces, SpecialIds
from bert_mobile.progress import progress
from bert_mobile.tokenizer import load_tokenizer, same_tokenizer

SEED = 0

ALL = "all"
"""Kind of the group that is the whole text."""

MOST_KINDS = 8
"""Kinds that are judged by themselves, those of the most documents."""

NAMED_KINDS = 5
"""Kinds that the warning about the others names."""

FEWEST_PIECES, MOST_PIECES = 5, 60
"""Lengths of the sentences whose pseudo-perplexity is measured."""

CHARACTERS_PER_QUESTION = 10_000
"""Raw text read for each pair and each sentence that is asked for: some sixteen times a pair."""


@dataclass(frozen=True)
class Group:
    """Held-out text that one set of figures is about."""

    data: str
    """Name of the file or folder."""
    kind: str
    """Kind of text, or `ALL`."""
    pieces: Pieces
    """What pairs are drawn from."""
    sentences: list[str]
    """What pseudo-perplexity is measured on."""


class Excerpt:
    """Some documents of other `Pieces`, in their order."""

    def __init__(self, whole: Pieces, documents: IntArray, name: str) -> None:
        """Choose `documents` of `whole` by their numbers, ascending."""
        self.name, self.special, self._whole = name, whole.special, whole
        chosen = np.zeros(len(whole.documents) - 1, bool)
        chosen[documents] = True
        inside = np.repeat(chosen, np.diff(whole.documents))  # (S,)
        self.documents = _offsets(np.diff(whole.documents)[chosen])
        self.sentences = _offsets(np.diff(whole.sentences)[inside])
        self._starts = self.sentences[self.documents[:-1]]  # of each document, in its tokens
        self._moves = whole.sentences[whole.documents[documents]] - self._starts

    def tokens(self, offsets: IntArray) -> IntArray:
        """Return the pieces at any offsets, in the shape of these."""
        document = np.searchsorted(self._starts, offsets, side="right") - 1
        return self._whole.tokens(offsets + self._moves[document])


@dataclass(frozen=True, eq=False)
class InMemory:
    """`Pieces` that are all in memory."""

    name: str
    special: SpecialIds
    sentences: IntArray
    documents: IntArray
    ids: NDArray[np.uint16]
    """(T,)."""

    def tokens(self, offsets: IntArray) -> IntArray:
        """Return the pieces at any offsets, in the shape of these."""
        return self.ids[offsets].astype(np.int64)


class BuiltCorpus:
    """The held-out split of a built corpus, whole and, if wanted, by kinds of text."""

    def __init__(self, folder: Path, name: str, *, sentences: int, by_kind: bool) -> None:
        """Open a corpus; raises `ArtifactError` where it is none, or damaged."""
        self._folder, self._name, self._count = folder, name, sentences
        self._by_kind = by_kind
        self._corpus = Corpus(folder, "held_out")
        manifest = read_manifest(folder)
        shards = manifest["splits"]["held_out"]["shards"]
        self._texts = [f"{shard}.jsonl.zst" for shard in shards]
        check_files(folder, manifest, self._texts)

    def groups(self, tokenizer: Path) -> list[Group]:
        """Return all the text first, then its kinds.

        Warns of the kinds that are none by themselves. Raises `InputError` where `tokenizer`, a
        model's folder, cuts otherwise than the corpus's.
        """
        if not same_tokenizer(load_tokenizer(tokenizer), load_tokenizer(self._folder)):
            raise InputError(
                f"{self._folder} was encoded with another tokenizer than the model's",
                hint=f"bert-mobile corpus tokenize {self._folder} --tokenizer {tokenizer}",
            )
        return self._groups

    @cached_property
    def _groups(self) -> list[Group]:
        corpus, count = self._corpus, len(self._corpus.documents) - 1
        chosen = self._documents_by_kind(count) if self._by_kind else {}
        pieces: dict[str, Pieces] = {
            kind: Excerpt(corpus, documents, f"the {kind} in {corpus.name}")
            for kind, documents in chosen.items()
        }
        document = np.repeat(np.arange(count), np.diff(corpus.documents))  # (S,)
        drawn = [_draw(corpus, np.ones(len(document), bool), self._count)]
        drawn += [_draw(corpus, np.isin(document, each), self._count) for each in chosen.values()]
        text = self._sentences(np.unique(np.concatenate(drawn)))
        return [
            Group(self._name, kind, each, [text[sentence] for sentence in wanted.tolist()])
            for (kind, each), wanted in zip([(ALL, corpus), *pieces.items()], drawn, strict=True)
        ]

    def _documents_by_kind(self, count: int) -> dict[str, IntArray]:
        """Return the numbers of the documents of each kind, out of so many."""
        kinds = np.array([kind_of(source) for source, _ in self._documents()], object)
        if len(kinds) != count:
            raise self._mismatch()
        return {kind: np.flatnonzero(kinds == kind) for kind in self._judged(Counter(kinds))}

    def _judged(self, counts: Counter[str]) -> list[str]:
        """Return the kinds of text to judge by themselves, given how many documents each has."""
        if len(counts) < 2:
            return []
        ranked = sorted(counts, key=lambda kind: (-counts[kind], kind))
        judged = [kind for kind in ranked[:MOST_KINDS] if counts[kind] > 1]
        others = ranked[len(judged) :]
        if others:
            named = [f"{kind} ({counts[kind]:,})" for kind in others[:NAMED_KINDS]]
            rest = len(others) - len(named)
            more = f" and {rest:,} more kinds" if rest else ""
            warnings.warn(
                f"{self._name}: judged within {ALL!r} only, being one document each or beyond the "
                f"{MOST_KINDS} kinds of the most documents: {', '.join(named)}{more}",
                stacklevel=7,
            )
        return judged

    def _documents(self) -> Iterator[tuple[str, list[str]]]:
        """Yield source and sentences of the documents that have pieces, as in the token shards."""
        for text in self._texts:
            for source, sentences in read_documents(self._folder / text):
                if any(self._encoder.encode([sentence])[0] for sentence in sentences):
                    yield source, sentences

    def _sentences(self, wanted: IntArray) -> dict[int, str]:
        """Return the text of the sentences of these numbers, ascending, by number."""
        offsets = self._corpus.documents.tolist()
        found: dict[int, str] = {}
        if not len(wanted):
            return found
        for start, end, (_, sentences) in zip(
            offsets, offsets[1:], self._documents(), strict=False
        ):
            here = wanted[slice(*np.searchsorted(wanted, [start, end]))]
            if not len(here):
                continue
            kept = [
                s for s, ids in zip(sentences, self._encoder.encode(sentences), strict=True) if ids
            ]
            if len(kept) != end - start:
                raise self._mismatch()
            found |= {number: kept[number - start] for number in here.tolist()}
        return found

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self._folder)

    def _mismatch(self) -> ArtifactError:
        return ArtifactError(
            f"{self._folder}: the text shards hold other documents than the token shards",
            hint=f"bert-mobile corpus tokenize {self._folder} --tokenizer {self._folder}",
        )


class RawText:
    """Documents of raw text as lists of sentences, not more than the questions need."""

    def __init__(
        self, source: Path | str, name: str, *, pairs: int, sentences: int, text_field: str
    ) -> None:
        """Read text from its beginning; raises `InputError` where there is none to judge by."""
        self._source, self._name, self._count = source, name, sentences
        self._dropped: Counter[str] = Counter()
        found = read_sentences(source, text_field=text_field, dropped=self._dropped)
        bound = CHARACTERS_PER_QUESTION * (pairs + sentences)
        self._documents: list[list[str]] = []
        with progress(f"read {name}", bound, "characters") as bar:
            for document in found:
                self._documents.append(document)
                size = sum(map(len, document))
                bound -= size
                bar.advance(size)
                if bound <= 0 and len(self._documents) > 1:
                    break
        self._refuse_few(len(self._documents))

    def groups(self, tokenizer: Path) -> list[Group]:
        """Encode the text with the tokenizer of a model's folder; return the one group.

        Raises `InputError` where the tokenizer leaves too little of it, or is none of BERT's kind.
        """
        encoder = Encoder(tokenizer)
        encoded = [encoder.encode(document) for document in self._documents]
        # Nothing follows the sentence of a document that has but one.
        kept = [n for n, document in enumerate(encoded) if sum(map(bool, document)) > 1]
        self._refuse_few(len(kept))
        ids = [each for n in kept for each in encoded[n] if each]
        text = [
            sentence
            for n in kept
            for sentence, each in zip(self._documents[n], encoded[n], strict=True)
            if each
        ]
        pieces = InMemory(
            name=str(self._source),
            special=SpecialIds.of(tokenizer),
            sentences=_offsets(len(each) // np.uint16().itemsize for each in ids),
            documents=_offsets(sum(map(bool, encoded[n])) for n in kept),
            ids=np.frombuffer(b"".join(ids), np.uint16),
        )
        drawn = _draw(pieces, np.ones(len(text), bool), self._count)
        return [Group(self._name, ALL, pieces, [text[number] for number in drawn])]

    def _refuse_few(self, documents: int) -> None:
        if documents > 1:
            return
        reasons = ", ".join(f"{count} × {reason}" for reason, count in (+self._dropped).items())
        left_out = f" (left out: {reasons})" if reasons else ""
        raise InputError(
            f"{self._source} has {documents} document(s) of English prose, expected two or more: "
            f"half of the pairs join sentences of different documents{left_out}",
            hint="give a folder of .txt files, one document each, or .jsonl with one on each line",
        )


HeldOut = BuiltCorpus | RawText


def open_held_out(
    data: Sequence[Path | str],
    *,
    pairs: int,
    sentences: int,
    text_field: str,
    by_kind: bool = True,
) -> list[HeldOut]:
    """Open built corpora and raw sources; each is called by its own name, where no other has it.

    Without `by_kind` a built corpus is one group. Raises `InputError` or `ArtifactError` where one
    is neither, damaged or too small.
    """
    names = [_own_name(source) for source in data]
    opened: list[HeldOut] = []
    for source, own in zip(data, names, strict=True):
        name = own if names.count(own) == 1 else str(source)
        if not is_address(source) and _looks_built(Path(source)):
            opened.append(BuiltCorpus(Path(source), name, sentences=sentences, by_kind=by_kind))
        else:
            raw = RawText(source, name, pairs=pairs, sentences=sentences, text_field=text_field)
            opened.append(raw)
    return opened


def kind_of(source: str) -> str:
    """Return the kind of text: the first part of a document's source."""
    return source.strip("/").split("/")[0] or "unnamed"


def _own_name(source: Path | str) -> str:
    if is_address(source):
        return str(source).rstrip("/").rsplit("/", 1)[-1]
    return Path(source).resolve().name


def _looks_built(path: Path) -> bool:
    """Tell whether a corpus was built there, be it damaged: its train split is no held-out text."""
    return is_corpus(path) or any(path.glob("held_out-*.tokens.npy"))


def _draw(pieces: Pieces, among: NDArray[np.bool_], count: int) -> IntArray:
    """Draw `count` sentences of a fit length, or all there are, `among` (S,) those marked.

    Returns their numbers, ascending; the same ones each time.
    """
    lengths = np.diff(pieces.sentences)
    fit = (lengths >= FEWEST_PIECES) & (lengths <= MOST_PIECES) & among
    shuffled = np.random.default_rng(SEED).permutation(np.flatnonzero(fit))
    return np.sort(shuffled[:count])


def _offsets(lengths: Iterable[int]) -> IntArray:
    """Return where each of several stretches begins, and where the last one ends."""
    return np.array([*accumulate(lengths, initial=0)], np.int64)
