"""The text that growing looks at: sequences to calibrate on, and how often each piece occurs."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from bert_mobile.errors import InputError
from bert_mobile.progress import progress
from bert_mobile.tokenizer import id_count

SEQUENCES, LENGTH = 512, 64
"""Calibration text; shorter where the source or the target has fewer positions."""
FEWEST_POSITIONS = 8
"""Attention fitted on less is fitted on nothing."""
MASKED_EVERY = 7
"""Of so many pieces one is masked: about BERT's 15 %, and never none."""
COUNTED_DOCUMENTS, COUNTED_SENTENCES = 5_000, 20


class Text(NamedTuple):
    """Full sequences as the source was trained on them."""

    ids: Tensor
    """In the source's pieces, int64 (B, T)."""
    types: Tensor
    """Segments, int64 (B, T)."""
    masked: Tensor
    """Where [MASK] is, bool (B, T)."""


def calibration_text(
    corpus: Path, tokenizer: Tokenizer, length: int, *, masked: bool, segments: int
) -> Text:
    """Return at most `SEQUENCES` sequences of `length` tokens, [CLS] first, [SEP] last.

    With `masked`, pieces are masked as for a masked-token head; with two `segments`, each sequence
    is a pair, as for a next-sentence head. Raises `InputError` where there is less than a sequence.
    """
    room = length - 1 - segments
    pieces = _some_pieces(corpus, tokenizer, room)
    body = torch.tensor(pieces[: len(pieces) // room * room], dtype=torch.long).view(-1, room)
    if not len(body):
        raise InputError(
            f"{corpus} holds {len(pieces)} pieces of text, expected at least {room} to calibrate "
            "with",
            hint="give more text",
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if masked:
        body.view(-1)[::MASKED_EVERY] = vocabulary["[MASK]"]
    cls, sep = (torch.full((len(body), 1), vocabulary[token]) for token in ("[CLS]", "[SEP]"))
    parts = [torch.cat([part, sep], dim=1) for part in body.chunk(segments, dim=1)]
    parts[0] = torch.cat([cls, parts[0]], dim=1)
    ids = torch.cat(parts, dim=1)  # (B, T)
    types = torch.cat([torch.full_like(part, number) for number, part in enumerate(parts)], dim=1)
    return Text(ids, types, ids == vocabulary["[MASK]"])


def log_frequencies(corpus: Path, tokenizer: Tokenizer) -> Tensor:
    """Return log p(piece) (V,), add-one smoothed, over the beginnings of many documents."""
    counts: NDArray[np.int64] = np.ones(id_count(tokenizer), np.int64)
    with progress("counting pieces", COUNTED_DOCUMENTS, "documents") as bar:
        for ids in islice(_encoded(corpus, tokenizer), COUNTED_DOCUMENTS):
            np.add.at(counts, ids, 1)
            bar.advance()
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def _some_pieces(corpus: Path, tokenizer: Tokenizer, room: int) -> list[int]:
    """Return the pieces of at most `SEQUENCES` sequences, a little of many documents."""
    needed = SEQUENCES * room
    pieces: list[int] = []
    with progress("reading text", needed, "pieces") as bar:
        for ids in _encoded(corpus, tokenizer):
            fresh = ids[: min(room, needed - len(pieces))]
            pieces.extend(fresh)
            bar.advance(len(fresh))
            if len(pieces) >= needed:
                break
    return pieces


def _encoded(corpus: Path, tokenizer: Tokenizer) -> Iterator[list[int]]:
    from bert_mobile.corpus import read_sentences

    for sentences in read_sentences(corpus):
        beginning = " ".join(sentences[:COUNTED_SENTENCES])
        yield tokenizer.encode(beginning, add_special_tokens=False).ids
