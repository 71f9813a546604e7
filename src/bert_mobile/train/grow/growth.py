"""Growing as a whole: read, check, fill the network part by part, write. The ways are told of in
the package's docstring.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bert_mobile import checkpoint
from bert_mobile.errors import InputError
from bert_mobile.files import atomic_folder, refuse_foreign_folder
from bert_mobile.model.config import BertConfig
from bert_mobile.model.encoder import Encoder
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.tokenizer import id_count, load_tokenizer
from bert_mobile.train.grow import heads, text
from bert_mobile.train.grow.layers import LayersGrown, grow_layers, grow_norm
from bert_mobile.train.grow.source import (
    MASKED_TOKENS,
    NEXT_SENTENCE,
    POOLER,
    Source,
    read_source,
)
from bert_mobile.train.grow.vocabulary import Translation, translate, translated_bias

GROWN = "grown checkpoint"
"""What provenance calls the result."""

NOISE = 0.1
"""Deviation of the new columns of the embeddings, relative to that of the old ones."""


@dataclass(frozen=True)
class GrowReport:
    """What became of the source."""

    source: str
    heads: tuple[str, ...]
    """Heads of the source that were carried over; the others begin fresh."""
    pieces_matched: int
    """Pieces of the new vocabulary that the old one has too."""
    pieces: int
    hidden_state_error: list[float]
    """Relative error of the source's hidden states, after the embeddings and after each layer."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {**asdict(self), "heads": list(self.heads)}


@torch.no_grad()
def grow(
    source: Path, out: Path, *, config: BertConfig, tokenizer: Path, corpus: Path, seed: int = 0
) -> GrowReport:
    """Grow the network in folder `source` to the shape `config` and write a checkpoint to `out`.

    `tokenizer` is the new vocabulary's folder; `corpus` (built, or any source of text) gives the
    text for the regressions and the frequencies that output biases are made of. A target with fewer
    positions than the source keeps the first of them. Raises `InputError` where the target is
    smaller than the source in any other dimension, `ArtifactError` where the source is no sound
    BERT, and `RunError` where its numbers overflow.
    """
    refuse_foreign_folder(out, checkpoint.made_as(GROWN), inputs=[source, tokenizer, corpus])
    torch.manual_seed(seed)
    _check_shape(BertConfig.read(source), config)
    words = load_tokenizer(tokenizer)
    if id_count(words) != config.vocab_size:
        raise InputError(
            f"{tokenizer} has {id_count(words)} pieces, expected {config.vocab_size}",
            hint="give a tokenizer of the model's size",
        )
    old, new = read_source(source), BertForPretraining(config).eval()
    read = _calibration_text(corpus, old, config)
    grown = _grow_encoder(old.network.encoder, new.encoder, read)
    translation = translate(old.network.encoder.embeddings.words.weight, old.tokenizer, words)
    _set_words(new.encoder, translation.rows)
    _grow_heads(old, new, grown)
    frequencies = partial(text.log_frequencies, corpus, words)
    bias = _output_bias(old, translation, grown.there[read.masked], frequencies)
    new.masked_tokens.bias.copy_(bias)
    matched = int((translation.shared >= 0).sum())
    report = GrowReport(source.name, old.heads, matched, config.vocab_size, grown.errors)
    facts = {"kind": GROWN, "parents": checkpoint.ancestry(source), "grow": report.to_json()}
    with atomic_folder(out) as scratch:
        checkpoint.write_checkpoint(scratch, config, new.to_huggingface(), tokenizer, facts)
    return report


def _check_shape(old: BertConfig, new: BertConfig) -> None:
    for field in ("num_hidden_layers", "hidden_size", "intermediate_size", "head_size"):
        if getattr(new, field) < getattr(old, field):
            raise InputError(
                f"the target's {field} is {getattr(new, field)}, the source's is "
                f"{getattr(old, field)}: growing cannot shrink",
                hint="choose a larger size or a smaller source",
            )
    for whose, config in (("source", old), ("target", new)):
        if config.max_position_embeddings < text.FEWEST_POSITIONS:
            raise InputError(
                f"the {whose} has {config.max_position_embeddings} positions, expected at least "
                f"{text.FEWEST_POSITIONS}",
                hint="networks for so short texts cannot be fitted",
            )


def _calibration_text(corpus: Path, old: Source, config: BertConfig) -> text.Text:
    """Read text as the source was trained on it, no longer than either network can read."""
    both = (old.config, config)
    pairs = NEXT_SENTENCE in old.heads and all(each.type_vocab_size > 1 for each in both)
    return text.calibration_text(
        corpus,
        old.tokenizer,
        min(text.LENGTH, *(each.max_position_embeddings for each in both)),
        masked=MASKED_TOKENS in old.heads,
        segments=2 if pairs else 1,
    )


# --- encoder ----------------------------------------------------------------------------------


def _grow_encoder(old: Encoder, new: Encoder, read: text.Text) -> LayersGrown:
    """Fill the encoder, with the source's own vocabulary for as long as the fitting takes."""
    _grow_embeddings(old, new)
    _set_words(new, old.embeddings.words.weight)
    there, here = (each.embeddings(read.ids, read.types) for each in (old, new))  # (B, T, H)
    return grow_layers(old, new, there, here)


def _grow_embeddings(old: Encoder, new: Encoder) -> None:
    """Copy positions and segments; further positions repeat all but [CLS]'s, the first."""
    source, target = old.embeddings, new.embeddings
    width, known = source.norm.normalized_shape[0], len(source.positions.weight)
    places = torch.arange(len(target.positions.weight))
    places = torch.where(places < known, places, 1 + (places - 1) % (known - 1))
    kinds = torch.arange(len(target.types.weight)).clamp_max(len(source.types.weight) - 1)
    target.positions.weight.zero_()
    target.types.weight.zero_()
    target.positions.weight[:, :width] = source.positions.weight[places]
    target.types.weight[:, :width] = source.types.weight[kinds]
    grow_norm(source.norm, target.norm)


def _set_words(encoder: Encoder, rows: Tensor) -> None:
    """Widen rows of the word embedding (V, H source) with noise that tells new columns apart."""
    width = encoder.embeddings.norm.normalized_shape[0]
    wide = torch.randn(rows.shape[0], width) * rows.std() * NOISE
    wide[:, : rows.shape[1]] = rows
    encoder.embeddings.words = torch.nn.Embedding.from_pretrained(wide)


# --- heads ------------------------------------------------------------------------------------


def _grow_heads(old: Source, new: BertForPretraining, grown: LayersGrown) -> None:
    """Carry over the heads that the source has, all but the output bias."""
    there, here = grown.there, grown.here
    if POOLER in old.heads:
        heads.grow_pooler(old.network.pooler, new.pooler, there, here)
    if NEXT_SENTENCE in old.heads:
        heads.grow_next_sentence(old.network.next_sentence, new.next_sentence)
    if MASKED_TOKENS in old.heads:
        heads.grow_transform(old.network.masked_tokens, new.masked_tokens, there, here)


def _output_bias(
    old: Source, translation: Translation, hidden: Tensor, frequencies: Callable[[], Tensor]
) -> Tensor:
    """Return the output bias (V,): the source's, translated, or log frequencies without a head.

    `hidden` (M, H source) are the source's hidden states where [MASK] is.
    """
    if MASKED_TOKENS not in old.heads:
        return frequencies()
    head = old.network.masked_tokens
    said = heads.transformed(head, hidden).mean(0)
    return translated_bias(head.bias, translation, said, frequencies)
