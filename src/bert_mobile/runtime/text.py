"""Texts to tokens and back, with BERT's frame `[CLS] A [SEP] B [SEP]` and its limit on length."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from bert_mobile.errors import InputError
from bert_mobile.files import read_json
from bert_mobile.model.config import BertConfig
from bert_mobile.runtime.batches import Tokens
from bert_mobile.runtime.windows import (
    Spans,
    Window,
    Words,
    default_stride,
    split_words,
    window_starts,
    words_of,
)
from bert_mobile.tokenizer import load_tokenizer

# What transformers' decoding tidies up where tokenizer_config.json asks for it.
_TIDY = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'"} | {
    f" {ending}": ending for ending in ("n't", "'m", "'s", "'ve", "'re")
}


_SHORTEST = 8  # tokens: less holds no question beside its context


class TruncationWarning(UserWarning):
    """A text was longer than the network reads; only part of it was used."""


class TextEncoder:
    """The tokenizer of a model's folder. NUL and other control characters vanish, as in BERT."""

    def __init__(self, folder: Path, config: BertConfig, limit: int | None = None) -> None:
        """Read the tokenizer; raises `ArtifactError` where it is missing, damaged or too large.

        `limit` bounds the tokens of a sequence, `[CLS]` and `[SEP]` included (None: what the model
        was fine-tuned with, else all its positions). Raises `InputError` where it has no position
        for so many.
        """
        self.tokenizer: Tokenizer = load_tokenizer(folder, config.vocab_size)
        self.limit = _limit(limit, config)
        """Tokens of the longest sequence, `[CLS]` and `[SEP]` included."""
        self._tidy = _wants_tidying(folder)
        vocabulary = self.tokenizer.get_vocab()
        self.pad_id: int = vocabulary["[PAD]"]
        self.mask_id: int = vocabulary["[MASK]"]
        self._cls_id: int = vocabulary["[CLS]"]
        self._sep_id: int = vocabulary["[SEP]"]
        self._unk_id: int = vocabulary["[UNK]"]

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return `[CLS] text [SEP]` for each text; of a text too long, its beginning.

        Warns `TruncationWarning`. Raises `InputError` on an empty text, a lone surrogate or
        something that is no text.
        """
        room = self.limit - 2
        return [self.framed(ids[:room]) for ids in self._pieces(texts, room)]

    def encode_masked(self, texts: Sequence[str]) -> list[Tokens]:
        """Return `[CLS] text [SEP]` for each text, which must contain `[MASK]`.

        A text too long is cut to its beginning if every mask is there, else to the part around the
        masks, from the first one on where they lie too far apart. Warns and raises as `encode`
        does, and raises `InputError` where a text has no `[MASK]`.
        """
        room = self.limit - 2
        pieces = self._pieces(texts, room)
        for number, ids in enumerate(pieces):
            if self.mask_id not in ids:
                raise InputError(
                    f"{_which(texts, number)} has no [MASK], expected at least one",
                    hint='put [MASK] where a word is to be found: "Paris is the [MASK] of France."',
                )
        return [self.framed(_around(ids, self.mask_id, room)) for ids in pieces]

    def encode_pairs(self, firsts: Sequence[str], seconds: Sequence[str]) -> list[Tokens]:
        """Return `[CLS] A [SEP] B [SEP]` for each pair; the longer text is cut where it must be.

        Warns and raises as `encode` does.
        """
        room = self.limit - 3
        pairs = zip(self._pieces(firsts, None), self._pieces(seconds, None), strict=True)
        return [self.framed(*_fit_pair(a, b, room)) for a, b in pairs]

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[Tokens, list[int]]]:
        """Return `[CLS] words [SEP]` and the index of each word's first piece, for each sentence.

        A word of which BERT's normalisation leaves nothing is read as `[UNK]`, so that every word
        has a piece. Of a sentence too long the beginning is kept, and only words that begin there
        have an index. Warns and raises as `encode` does, also on a sentence without words.
        """
        room, framed = self.limit - 2, []
        for number, words in enumerate(self.read_words(sentences)):
            if len(words.ids) > room:
                _warn_cut(_which(sentences, number), len(words.ids), room, stacklevel=4)
            starts = [start + 1 for start in words.starts if start < room]
            framed.append((self.framed(words.ids[:room]), starts))
        return framed

    def read_words(self, sentences: Sequence[Sequence[str]]) -> list[Words]:
        """Cut sentences into pieces by word, unframed and however long they are.

        A sentence is a list of words, whose places are those in the words joined by single spaces,
        or a string, which BERT's pre-tokenization splits into words. Raises as `encode_words`.
        """
        for number, sentence in enumerate(sentences):
            which = _which(sentences, number)
            if isinstance(sentence, Sequence) and not isinstance(sentence, str):
                for place, word in enumerate(sentence):
                    check_text(word, f"word {place}, counted from 0, of {which}")
            else:
                check_text(sentence, which)
        found = []
        for number, sentence in enumerate(sentences):
            if isinstance(sentence, str):
                encoding = self.tokenizer.encode(sentence, add_special_tokens=False)
                words = split_words(encoding)
            else:
                encoding = self.tokenizer.encode(
                    list(sentence), is_pretokenized=True, add_special_tokens=False
                )
                words = words_of(sentence, encoding, self._unk_id)
            if not words.ids:
                raise _empty(_which(sentences, number))
            found.append(words)
        return found

    def encode_windows(
        self, question: str, context: str, stride: int | None = None
    ) -> list[Window]:
        """Return `[CLS] question [SEP] part of the context [SEP]`, as often as it takes.

        Neighbouring parts share `stride` pieces (None: 128, or half a part where that is less).
        A question that fills more than half of a window is cut, with a `TruncationWarning`. Raises
        `InputError` on an empty question or context and on lone surrogates.
        """
        room = self.limit - 3
        asked = self._one(question, "the question").ids
        if len(asked) > room // 2:
            _warn_cut("the question", len(asked), room // 2, stacklevel=3)
            asked = asked[: room // 2]
        encoding = self._one(context, "the context")
        words = split_words(encoding)
        offsets: Spans = encoding.offsets  # a new list at each call
        width = room - len(asked)
        overlap = default_stride(width) if stride is None else stride
        windows = []
        for start in window_starts(len(words.ids), width, overlap):
            part = slice(start, start + width)
            tokens = self.framed(asked, words.ids[part])
            around = [words.spans[number] for number in words.numbers[part]]
            windows.append(Window(tokens, len(asked) + 2, offsets[part], around))
        return windows

    def first_piece(self, text: str) -> int | None:
        """Return the id of the first piece of `text`, None where it has no piece."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids[0] if ids else None

    def decode(self, ids: Sequence[int], *, special: bool = True) -> str:
        """Return the text of some pieces as transformers spells it, special tokens on demand."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=not special)
        if self._tidy:
            for untidy, tidy in _TIDY.items():
                text = text.replace(untidy, tidy)
        return text

    def framed(self, first: Sequence[int], second: Sequence[int] | None = None) -> Tokens:
        """Put `[CLS]` and `[SEP]` around the pieces of one text or two."""
        ids = [self._cls_id, *first, self._sep_id]
        if second is None:
            return Tokens(ids, [0] * len(ids))
        return Tokens([*ids, *second, self._sep_id], [0] * len(ids) + [1] * (len(second) + 1))

    def _pieces(self, texts: Sequence[str], room: int | None) -> list[list[int]]:
        """Cut texts into pieces; warn of those with more than `room`."""
        for number, text in enumerate(texts):
            check_text(text, _which(texts, number))
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        pieces: list[list[int]] = [encoding.ids for encoding in encodings]
        for number, ids in enumerate(pieces):
            if not ids:
                raise _empty(_which(texts, number))
            if room is not None and len(ids) > room:
                _warn_cut(_which(texts, number), len(ids), room)
        return pieces

    def _one(self, text: str, which: str) -> Encoding:
        """Cut one text into pieces; `which` names it in errors."""
        check_text(text, which)
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        if not encoding.ids:
            raise _empty(which)
        return encoding


def check_text(text: object, which: str) -> None:
    """Raise `InputError` where `text` is no string of Unicode characters; `which` names it."""
    if not isinstance(text, str):
        raise InputError(
            f"{which} is of type {type(text).__name__}, expected a string",
            hint="pass one string or a list of strings",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{which} has a lone surrogate at character {error.start}, expected Unicode text",
            hint="decode the bytes as UTF-8, with errors='replace' where they are damaged",
        ) from error


def _wants_tidying(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return False
    return (
        read_json(path, "the settings of a tokenizer").get("clean_up_tokenization_spaces") is True
    )


def _limit(asked: int | None, config: BertConfig) -> int:
    positions = config.max_position_embeddings
    if asked is None:
        return config.max_length or positions
    if not _SHORTEST <= asked <= positions:
        raise InputError(
            f"the length limit is {asked}, expected {_SHORTEST} to {positions}, the positions of "
            "the model",
            hint="leave it out for all of them",
        )
    return asked


def _empty(which: str) -> InputError:
    return InputError(f"{which} is empty, expected at least one word", hint="leave out empty texts")


def _which(texts: Sequence[object], number: int) -> str:
    return "the text" if len(texts) == 1 else f"text {number}, counted from 0,"


def _warn_cut(which: str, found: int, room: int, *, stacklevel: int = 5) -> None:
    message = f"{which} has {found:,} pieces and was cut to {room}"
    warnings.warn(message, TruncationWarning, stacklevel=stacklevel)


def _around(ids: list[int], mask_id: int, room: int) -> list[int]:
    """Return at most `room` neighbouring pieces with as many of the masks as can be kept."""
    places = [place for place, piece in enumerate(ids) if piece == mask_id]
    first, last = places[0], places[-1]
    if last < room:
        return ids[:room]
    spare = max(0, room - (last - first + 1))  # pieces left over for the masks' surroundings
    start = min(max(0, first - spare // 2), len(ids) - room)
    return ids[start : start + room]


def _fit_pair(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Cut pieces off the end of the longer text until both fit."""
    if len(first) + len(second) <= room:
        return first, second
    _warn_cut("a pair of texts", len(first) + len(second), room)
    shorter = min(len(first), len(second), room // 2)
    if len(first) <= len(second):
        return first[:shorter], second[: room - shorter]
    return first[: room - shorter], second[:shorter]
