"""Grow a wider, deeper BERT with a vocabulary of its own out of a small trained one.

What bert2BERT (Chen et al. 2021, arXiv:2110.07143) does by copying neurons is done here by padding
and least squares, since widths and heads need not divide:

- The first H columns of everything are the source's; new columns are read with small random weights
  and written with zeros, so they change nothing yet and still receive gradients. A LayerNorm over
  zero-padded input sees a smaller deviation: its gain shrinks by sqrt(H source / H target).
- A target with fewer heads than the source keeps the heads that move the output most; each of the
  others lends its values to the kept head whose attention looks most like its own. Queries are
  scaled so that scores keep their size in the wider heads.
- What this loses is won back layer by layer: the matrices that write to the residual stream are
  corrected by ridge regression, on real text, towards the source's hidden states.
- Layers beyond the source's begin as the identity: copies of the layer below that write nothing,
  with LayerNorms fitted to undo themselves, placed where that does the least harm.
- A piece of the new vocabulary takes the row of the same piece in the old one, or the mean of the
  pieces it splits into.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from bert_mobile import checkpoint
from bert_mobile.errors import InputError
from bert_mobile.files import atomic_folder, refuse_foreign_folder
from bert_mobile.model.config import BertConfig
from bert_mobile.model.encoder import Attention, Encoder, Layer
from bert_mobile.model.heads import INITIALIZER_RANGE, BertForPretraining
from bert_mobile.tokenizer import id_count, load_tokenizer

GROWN = "grown checkpoint"
"""What provenance calls the result."""

CALIBRATION_SEQUENCES, CALIBRATION_LENGTH = 512, 64
COUNTED_DOCUMENTS, COUNTED_SENTENCES = 5_000, 20
NOISE = 0.1
"""Deviation of the new columns of the embeddings, relative to that of the old ones."""
RIDGE = 5e-2
"""Weight of the penalty on a correction, relative to the features' mean square."""


@dataclass(frozen=True)
class GrowReport:
    """What became of the source."""

    source: str
    pieces_matched: int
    """Pieces of the new vocabulary that the old one has too."""
    pieces: int
    hidden_state_error: list[float]
    """Relative error of the source's hidden states, after the embeddings and after each layer."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


@torch.no_grad()
def grow(
    source: Path, out: Path, *, config: BertConfig, tokenizer: Path, corpus: Path, seed: int = 0
) -> GrowReport:
    """Grow the encoder in folder `source` to the shape `config` and write a checkpoint to `out`.

    `tokenizer` is the new vocabulary's folder; `corpus` (built, or any source of text) gives the
    text for the regressions and the frequencies that the output bias starts from. Raises
    `InputError` where the target is smaller than the source in any dimension.
    """
    refuse_foreign_folder(out, checkpoint.made_as(GROWN), inputs=[source, tokenizer, corpus])
    torch.manual_seed(seed)
    old_config = BertConfig.read(source)
    _refuse_shrinking(old_config, config)
    old_words, new_words = load_tokenizer(source), load_tokenizer(tokenizer)
    if id_count(new_words) != config.vocab_size:
        raise InputError(
            f"{tokenizer} has {id_count(new_words)} pieces, expected {config.vocab_size}",
            hint="give a tokenizer of the model's size",
        )
    weights = checkpoint.read_weights(source, old_config)
    old = BertForPretraining(old_config).eval()
    old.from_huggingface(weights)
    new = BertForPretraining(config).eval()
    ids = _calibration_ids(corpus, old_words)
    table = old.encoder.embeddings.words.weight
    _grow_embeddings(old.encoder, new.encoder)
    new.encoder.embeddings.words = torch.nn.Embedding.from_pretrained(_padded_rows(table, config))
    errors = _grow_layers(old.encoder, new.encoder, ids)
    rows, matched = _translated_rows(table, old_words, new_words)
    new.encoder.embeddings.words = torch.nn.Embedding.from_pretrained(_padded_rows(rows, config))
    _widen(old.pooler, new.pooler)
    new.masked_tokens.bias.copy_(_log_frequencies(corpus, new_words))
    report = GrowReport(source.name, matched, config.vocab_size, errors)
    facts = {
        "kind": GROWN,
        "parents": checkpoint.ancestry(source),
        "grow": report.to_json(),
    }
    with atomic_folder(out) as scratch:
        checkpoint.write_checkpoint(scratch, config, new.to_huggingface(), tokenizer, facts)
    return report


def _refuse_shrinking(old: BertConfig, new: BertConfig) -> None:
    for field in ("num_hidden_layers", "hidden_size", "intermediate_size", "head_size"):
        if getattr(new, field) < getattr(old, field):
            raise InputError(
                f"the target's {field} is {getattr(new, field)}, the source's is "
                f"{getattr(old, field)}: growing cannot shrink",
                hint="choose a larger size or a smaller source",
            )


# --- embeddings -------------------------------------------------------------------------------


def _padded_rows(table: Tensor, config: BertConfig) -> Tensor:
    """Widen an embedding table with noise that tells the new columns apart."""
    wide = torch.randn(table.shape[0], config.hidden_size) * table.std() * NOISE
    wide[:, : table.shape[1]] = table
    return wide


def _grow_embeddings(old: Encoder, new: Encoder) -> None:
    source, target = old.embeddings, new.embeddings
    width = source.norm.normalized_shape[0]
    target.positions.weight.zero_()
    target.types.weight.zero_()
    shared = min(len(source.positions.weight), len(target.positions.weight))
    target.positions.weight[:shared, :width] = source.positions.weight[:shared]
    target.types.weight[:, :width] = source.types.weight[: len(target.types.weight)]
    _grow_norm(source.norm, target.norm)


def _translated_rows(
    table: Tensor, old_words: Tokenizer, new_words: Tokenizer
) -> tuple[Tensor, int]:
    """Return a row for every piece of the new vocabulary, and how many the old one has too."""
    known: dict[str, int] = old_words.get_vocab()
    rows = torch.zeros(id_count(new_words), table.shape[1])
    matched = 0
    for piece, index in new_words.get_vocab().items():
        parts = [known[piece]] if piece in known else _split(piece, known)
        rows[index] = table[parts].mean(0)
        matched += piece in known
    return rows, matched


def _split(piece: str, vocabulary: dict[str, int]) -> list[int]:
    """Split a piece greedily into the longest pieces of another vocabulary, as WordPiece does."""
    prefix = "##" if piece.startswith("##") else ""
    rest, parts = piece.removeprefix("##"), []
    while rest:
        fits = next((n for n in range(len(rest), 0, -1) if prefix + rest[:n] in vocabulary), 0)
        if not fits:
            return [vocabulary["[UNK]"]]
        parts.append(vocabulary[prefix + rest[:fits]])
        rest, prefix = rest[fits:], "##"
    return parts


# --- layers -----------------------------------------------------------------------------------


def _grow_layers(old: Encoder, new: Encoder, ids: Tensor) -> list[float]:
    """Fill the target's layers one by one, each fitted on what the ones below really give it."""
    types = torch.zeros_like(ids)
    there, here = old.embeddings(ids, types), new.embeddings(ids, types)  # (B, T, H) of either
    errors = [_error(there, here)]
    targets = iter(_layers(new))
    for source, copies in zip(_layers(old), _copies(old, new, ids), strict=True):
        target = next(targets)
        there, here = _grow_layer(source, target, there, here)
        errors.append(_error(there, here))
        for _ in range(copies):
            here = _identity_layer(target, next(targets), here)
            errors.append(_error(there, here))
    return errors


def _layers(encoder: Encoder) -> list[Layer]:
    return cast("list[Layer]", list(encoder.layers))


def _copies(old: Encoder, new: Encoder, ids: Tensor) -> list[int]:
    """Return how many additional layers follow each of the source's.

    A post-LayerNorm layer that adds nothing still normalises every token, so the additional ones go
    where the tokens' deviations differ least.
    """
    hidden, spread = old.embeddings(ids, torch.zeros_like(ids)), []
    for layer in old.layers:
        hidden = layer(hidden, None)
        deviation = hidden.std(-1)
        spread.append(float(deviation.std() / deviation.mean()))
    places = sorted(range(len(spread)), key=lambda index: spread[index])
    copies = [0] * len(spread)
    for number in range(len(new.layers) - len(old.layers)):
        copies[places[number % len(places)]] += 1
    return copies


def _grow_layer(source: Layer, target: Layer, there: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """Fill one layer; returns the hidden states after it, the source's and the target's."""
    _grow_attention(source.attention, target.attention, there, here)
    _grow_norm(source.attention_norm, target.attention_norm)
    wanted = there + source.attention(there, None)
    _correct(target.attention.output, target.attention.mixed(here, None), wanted, here)
    there = source.attention_norm(wanted)
    here = target.attention_norm(here + target.attention(here, None))
    _widen(source.feed_forward.inner, target.feed_forward.inner)
    _widen(source.feed_forward.outer, target.feed_forward.outer)
    _grow_norm(source.feed_forward_norm, target.feed_forward_norm)
    wanted = there + source.feed_forward(there)
    inner = functional.gelu(target.feed_forward.inner(here))
    _correct(target.feed_forward.outer, inner, wanted, here)
    there = source.feed_forward_norm(wanted)
    return there, target.feed_forward_norm(here + target.feed_forward(here))


def _grow_attention(source: Attention, target: Attention, there: Tensor, here: Tensor) -> None:
    """Place the source's heads into the target's wider, perhaps fewer, heads."""
    patterns, strength = _head_statistics(source, there)
    wide, narrow = here.shape[-1] // target.heads, there.shape[-1] // source.heads
    for part in (target.query, target.key, target.value, target.output):
        part.weight.normal_(std=INITIALIZER_RANGE)
        part.bias.zero_()
    target.key.weight.zero_()  # new halves of keys are zero: scores do not change yet
    target.output.weight.zero_()
    for slot, heads in enumerate(_seating(patterns, strength, target.heads, wide // narrow)):
        for seat, head in enumerate(heads):
            there_rows = slice(head * narrow, (head + 1) * narrow)
            begin = slot * wide + seat * narrow
            here_rows = slice(begin, begin + narrow)
            _place(source.value, target.value, there_rows, here_rows)
            columns = target.output.weight[: there.shape[-1]]
            columns[:, here_rows] = source.output.weight[:, there_rows]
            if seat == 0:
                _place(source.query, target.query, there_rows, here_rows, (wide / narrow) ** 0.5)
                _place(source.key, target.key, there_rows, here_rows)
    target.output.bias[: there.shape[-1]] = source.output.bias


def _head_statistics(attention: Attention, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return how alike the heads attend (N, N), and how much each moves the output (N,)."""
    width = hidden.shape[-1] // attention.heads

    def split(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (attention.heads, width)).transpose(1, 2)  # (B, N, T, D)

    sample = hidden[: len(hidden) // 4]
    query, key = split(attention.query(sample)), split(attention.key(sample))
    looks = (query @ key.transpose(-1, -2) / width**0.5).softmax(-1)  # (B, N, T, T)
    roots = looks.sqrt().transpose(0, 1).flatten(1)  # (N, B·T·T)
    mixed = looks @ split(attention.value(sample))  # (B, N, T, D)
    columns = attention.output.weight.unflatten(1, (attention.heads, width))  # (H, N, D)
    moved = torch.einsum("bntd,hnd->bnth", mixed, columns)
    return roots @ roots.T, moved.square().sum((0, 2, 3))


def _seating(similar: Tensor, strength: Tensor, slots: int, seats: int) -> list[list[int]]:
    """Return the source heads in each target head: the first attends, all give values."""
    order = strength.argsort(descending=True).tolist()
    seating = [[head] for head in order[:slots]]
    for head in order[slots:]:
        free = [heads for heads in seating if len(heads) < seats]
        if not free:
            break
        max(free, key=lambda heads: float(similar[head, heads[0]])).append(head)
    return seating


def _correct(matrix: torch.nn.Linear, features: Tensor, wanted: Tensor, here: Tensor) -> None:
    """Change `matrix` by ridge regression so that `here + matrix(features)` nears `wanted`.

    `features` (B, T, F), `wanted` (B, T, H source), `here` (B, T, H target); the source's columns
    only are corrected.
    """
    width = wanted.shape[-1]
    residual = (wanted - here[..., :width] - matrix(features)[..., :width]).flatten(0, 1)
    ones = torch.ones(*features.shape[:2], 1)
    inputs = torch.cat([features, ones], dim=-1).flatten(0, 1)  # (B·T, F+1)
    gram = (inputs.T @ inputs).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    change = torch.linalg.solve(gram, (inputs.T @ residual).double()).float()  # (F+1, H source)
    matrix.weight[:width] += change[:-1].T
    matrix.bias[:width] += change[-1]


def _identity_layer(below: Layer, target: Layer, hidden: Tensor) -> Tensor:
    """Make `target` a copy of `below` that hands `hidden` on unchanged; returns its output."""
    target.load_state_dict(below.state_dict())
    for matrix in (target.attention.output, target.feed_forward.outer):
        matrix.weight.zero_()
        matrix.bias.zero_()
    for norm in (target.attention_norm, target.feed_forward_norm):
        normal = functional.layer_norm(hidden, hidden.shape[-1:]).flatten(0, 1)
        goal = hidden.flatten(0, 1)
        centred = normal - normal.mean(0)
        norm.weight.copy_((centred * goal).mean(0) / centred.square().mean(0))
        norm.bias.copy_(goal.mean(0) - norm.weight * normal.mean(0))
        hidden = norm(hidden)
    return hidden


def _grow_norm(source: torch.nn.LayerNorm, target: torch.nn.LayerNorm) -> None:
    width = len(source.weight)
    narrower = (width / len(target.weight)) ** 0.5
    # A gain of 1 would let the new columns grow from layer to layer until they drown the others.
    target.weight.fill_(float(source.weight.mean()) * narrower)
    target.bias.zero_()
    target.weight[:width] = source.weight * narrower
    target.bias[:width] = source.bias


def _widen(source: torch.nn.Linear, target: torch.nn.Linear) -> None:
    """Copy a matrix into the corner of a larger one: new inputs read with noise, none written."""
    rows, columns = source.weight.shape
    target.weight.normal_(std=INITIALIZER_RANGE)
    target.weight[:rows, :columns] = source.weight
    if target.out_features > rows and target.in_features >= target.out_features:
        target.weight[rows:] = 0  # writes to the residual stream
    target.bias.zero_()
    target.bias[:rows] = source.bias


def _place(
    source: torch.nn.Linear, target: torch.nn.Linear, old: slice, new: slice, scale: float = 1.0
) -> None:
    """Copy rows of a projection, the source's input columns only."""
    width = source.in_features
    noise = torch.randn(new.stop - new.start, target.in_features - width) * INITIALIZER_RANGE
    target.weight[new, :width] = source.weight[old] * scale
    target.weight[new, width:] = noise
    target.bias[new] = source.bias[old] * scale


def _error(there: Tensor, here: Tensor) -> float:
    """Relative error of the source's part of the hidden states."""
    difference = here[..., : there.shape[-1]] - there
    return round(float(difference.norm() / there.norm()), 4)


# --- text -------------------------------------------------------------------------------------


def _calibration_ids(corpus: Path, tokenizer: Tokenizer) -> Tensor:
    """Return full sequences (B, T) of real text in the source's pieces, [CLS] first, [SEP] last."""
    room = CALIBRATION_LENGTH - 2
    needed = CALIBRATION_SEQUENCES * room
    pieces: list[int] = []
    for ids in _encoded(corpus, tokenizer):
        pieces.extend(ids[:room])  # a little of many documents
        if len(pieces) >= needed:
            break
    text = torch.tensor(pieces[:needed])
    body = text[: len(text) // room * room].view(-1, room)
    if not len(body):
        raise InputError(f"{corpus} holds too little text to calibrate with", hint="give more text")
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    cls, sep = (torch.full((len(body), 1), vocabulary[token]) for token in ("[CLS]", "[SEP]"))
    return torch.cat([cls, body, sep], dim=1)


def _log_frequencies(corpus: Path, tokenizer: Tokenizer) -> Tensor:
    """Return log p(piece), add-one smoothed, over the beginnings of many documents."""
    counts: NDArray[np.int64] = np.ones(id_count(tokenizer), np.int64)
    for ids in islice(_encoded(corpus, tokenizer), COUNTED_DOCUMENTS):
        np.add.at(counts, ids, 1)
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def _encoded(corpus: Path, tokenizer: Tokenizer) -> Iterator[list[int]]:
    from bert_mobile.corpus import read_sentences

    for sentences in read_sentences(corpus):
        beginning = " ".join(sentences[:COUNTED_SENTENCES])
        yield tokenizer.encode(beginning, add_special_tokens=False).ids
