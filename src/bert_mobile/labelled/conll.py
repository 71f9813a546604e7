"""Sentences of CoNLL and CoNLL-U files: a word a line, a blank line after each sentence.

CoNLL: fields are parted by tabs, or else by spaces; the word is in the first and the tag in the
last, unless others are named (`#2`; `pos`, `chunk`, `ner` in four columns). `-DOCSTART-` lines, and
comments that give a sentence's id or text, are skipped.
CoNLL-U: https://universaldependencies.org/format.html; the tag is the universal part of speech,
unless another field is named. Ranges of words (`3-4`) and empty nodes (`5.1`) are skipped.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bert_mobile.corpus.streams import Stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.examples import TaggedSentence
from bert_mobile.labelled.lines import numbered_lines
from bert_mobile.labelled.names import TAGS, TOKENS, is_position, plain
from bert_mobile.labelled.places import DataFile

CONLLU_FIELDS = (
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
)  # fmt: skip

CONLL_FIELDS = ("word", "pos", "chunk", "ner")
"""Of CoNLL-2003's four columns."""

LONGEST_SENTENCE = 10_000
"""Words; more of them are sentences that nothing parts."""

_COMMENT = re.compile(r"# ?(id|sent_id|text|newdoc|newpar|global\.columns)\b")
_SPACES = re.compile(r"[ \t]+")
_SKIPPED_ID = re.compile(r"[0-9]+[-.][0-9]+")


@dataclass(frozen=True)
class Words:
    """How the lines of a CoNLL or CoNLL-U file become tagged sentences."""

    word: str | None
    """The column of the word; None for the usual one."""
    tag: str | None
    needs_labels: bool
    encoding: str

    def describe(self, file: DataFile) -> str:
        """Say it in a few words."""
        universal = file.kind == "conllu"
        form = "CoNLL-U" if universal else "CoNLL"
        word = repr(self.word) if self.word else ("'form'" if universal else "the first column")
        tag = repr(self.tag) if self.tag else ("'upos'" if universal else "the last column")
        return f"{form}; words: {word}; tags: {tag}"

    def sentences(self, file: DataFile, stream: Stream) -> Iterator[TaggedSentence]:
        """Yield the sentences; raises `InputError` at the first line that is not as expected."""
        read = _Layout(self, file)
        begin, words, tags = 0, list[str](), list[str]()
        for number, line in numbered_lines(stream.plain, file, self.encoding):
            text = line.strip("\r\n")
            if text.strip():
                if found := read.word_and_tag(number, text):
                    begin = begin or number
                    if len(words) == LONGEST_SENTENCE:
                        raise file.error(
                            begin,
                            None,
                            f"{LONGEST_SENTENCE:,} words without a blank line, expected one "
                            "after each sentence",
                            "part the sentences by blank lines",
                        )
                    words.append(found[0])
                    tags.append(found[1])
            elif words:
                yield read.sentence(begin, words, tags)
                begin, words, tags = 0, [], []
        if words:
            yield read.sentence(begin, words, tags)


class _Layout:
    """Where the fields are in the lines of one file; the first line with a word tells."""

    def __init__(self, wishes: Words, file: DataFile) -> None:
        self._wishes = wishes
        self._file = file
        self._universal = file.kind == "conllu"
        self._width = 0
        self._word = 0
        self._tag: int | None = None

    def word_and_tag(self, number: int, text: str) -> tuple[str, str] | None:
        """Return a line's word and its tag ("" where there is none), or None for other lines."""
        if text.startswith("#") if self._universal else _COMMENT.match(text):
            return None
        fields = (
            text.split("\t") if "\t" in text or self._universal else _SPACES.split(text.strip(" "))
        )
        if fields[0] == "-DOCSTART-" or (not self._width and _is_header(fields)):
            return None
        if len(fields) != self._width:
            self._begin(number, fields)
        if self._universal and _SKIPPED_ID.fullmatch(fields[0]):
            return None
        word = fields[self._word].strip()
        tag = "" if self._tag is None else fields[self._tag].strip()
        if not word:
            raise self._file.error(
                number, f"#{self._word + 1}", "no word", "a blank line ends a sentence"
            )
        if self._tag is not None and not tag:
            raise self._file.error(
                number, f"#{self._tag + 1}", f"no tag for {word!r}", "give it one, such as O"
            )
        return word, tag

    def _begin(self, number: int, fields: Sequence[str]) -> None:
        expected = self._width or (len(CONLLU_FIELDS) if self._universal else 0)
        if expected and len(fields) != expected:
            raise self._file.error(
                number,
                None,
                f"{len(fields)} fields ({' '.join(fields)[:60]}), expected {expected}",
                "each word of a sentence needs its tag, and tabs or spaces between the fields",
            )
        self._width = len(fields)
        names = CONLLU_FIELDS if self._universal else CONLL_FIELDS if len(fields) == 4 else ()
        self._word = self._field(number, self._wishes.word, names, 1 if self._universal else 0)
        if self._wishes.tag or len(fields) > 1:
            usual = 3 if self._universal else len(fields) - 1
            self._tag = self._field(number, self._wishes.tag, names, usual)
        elif self._wishes.needs_labels:
            raise self._file.error(
                number,
                None,
                f"the word {fields[0]!r} alone, expected a word and its tag",
                "part them by a tab or a space",
            )

    def _field(self, number: int, name: str | None, names: Sequence[str], usual: int) -> int:
        if name is None:
            return usual
        if name.lower() in names:
            return names.index(name.lower())
        if is_position(name) and int(name[1:]) <= self._width:
            return int(name[1:]) - 1
        known = names or (*(f"#{i}" for i in range(1, self._width + 1)),)
        raise InputError(
            f"{self._file.at(number)}: no column {name!r}, found {', '.join(known)}",
            hint="name one of those",
        )

    def sentence(self, begin: int, words: Sequence[str], tags: Sequence[str]) -> TaggedSentence:
        """Return a sentence; its tags are None where none has one (CoNLL-U: `_`)."""
        untagged = self._tag is None or (self._universal and set(tags) == {"_"})
        if untagged and self._wishes.needs_labels:
            raise self._file.error(
                begin, "upos", "the sentence has no tags, expected one a word", "tag it first"
            )
        return TaggedSentence(begin, tuple(words), None if untagged else tuple(tags))


def _is_header(fields: Sequence[str]) -> bool:
    """Tell a first line such as `word tag` from a word and its tag."""
    first, last = plain(fields[0]), plain(fields[-1])
    return any(first in group for group in TOKENS) and any(last in group for group in TAGS)
