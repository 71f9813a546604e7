"""The batches that an artifact is asked, and the reference's answers to them.

Dimensions: B batch, T tokens, M chosen positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import RunError
from bert_mobile.model.config import PRETRAINING, TOKENS, BertConfig
from bert_mobile.quantize.interface import END_LOGITS, HIDDEN, LOGITS, START_LOGITS
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.sessions import FloatArray, Session, open_session

_SHAPES = ((1, 1), (1, 2), (1, 7), (3, 16), (2, 33), (1, 64), (4, 128), (1, 512))
"""Sequences and tokens; the longest that the network has comes last, and for those beyond it."""
_MOST_POSITIONS = 24  # at which masked-token logits are compared: 30,000 numbers each


@dataclass(frozen=True)
class Comparison:
    """How an artifact's answers differ from the reference's."""

    output: str
    largest: float
    """Largest difference of one number."""
    spread: float
    """Standard deviation of the reference's numbers, to hold it against."""


def write_probes(reference: Path, path: Path) -> None:
    """Ask the reference, and write its answers by the names OUTPUT/NUMBER."""
    config = BertConfig.read(reference)
    session = open_session(reference, config)
    answers = {
        f"{output}/{number}": _answer(session, output, batch, config)
        for number, batch in enumerate(batches(config))
        for output in sorted(session.outputs)
    }
    with path.open("wb") as file:
        np.savez(file, **answers)  # type: ignore[arg-type]


def batches(config: BertConfig) -> Iterator[Batch]:
    """Yield the batches, the same each time: all lengths, padding, every second one of pairs.

    A network that knows one segment gets single texts only.
    """
    rng = np.random.default_rng(0)
    longest = config.max_position_embeddings
    shapes = [*((rows, min(tokens, longest)) for rows, tokens in _SHAPES), (1, longest)]
    for number, (rows, tokens) in enumerate(dict.fromkeys(shapes)):
        is_pair = number % 2 == 1 and config.type_vocab_size > 1
        ids = rng.integers(0, config.vocab_size, (rows, tokens), dtype=np.int64)
        lengths = rng.integers(1, tokens + 1, (rows, 1))
        lengths[0] = tokens
        mask = (np.arange(tokens) < lengths).astype(np.int64)
        types = (np.arange(tokens) >= lengths // 2).astype(np.int64) * mask * is_pair
        yield Batch(ids * mask, mask, types)


def compare(session: Session, config: BertConfig, path: Path) -> list[Comparison]:
    """Compare a session's answers with those in `path`, output by output.

    Raises `RunError` on an output that is no finite number or of another shape, and where the two
    have no output in common.
    """
    found: dict[str, Comparison] = {}
    with np.load(path, allow_pickle=False) as stored:
        for number, batch in enumerate(batches(config)):
            if batch.types.any() and not takes_pairs(session):
                continue
            for output in sorted(session.outputs):
                if f"{output}/{number}" not in stored:
                    continue
                ours, theirs = _answer(session, output, batch, config), stored[f"{output}/{number}"]
                real = batch.mask > 0 if _is_by_token(output, config) else None
                one = _compared(output, ours, theirs, real)
                found[output] = max(found.get(output, one), one, key=lambda each: each.largest)
    if not found:
        raise RunError(
            f"the artifact gives {', '.join(sorted(session.outputs))}, which the source does not",
            hint="report this",
        )
    return list(found.values())


def takes_pairs(session: Session) -> bool:
    """Tell whether a session knows two segments, as all but llama.cpp's do."""
    return bool(getattr(session, "takes_pairs", True))


def _is_by_token(output: str, config: BertConfig) -> bool:
    """Tell whether an answer has a row for each token, padding too: (B, T, …)."""
    if output == LOGITS:
        return config.architecture == TOKENS
    return output in (HIDDEN, START_LOGITS, END_LOGITS)


def _compared(
    output: str, ours: FloatArray, theirs: FloatArray, real: NDArray[np.bool_] | None
) -> Comparison:
    """Compare an answer, at the tokens that are `real` (B, T) where it is by token."""
    if ours.shape != theirs.shape:
        raise RunError(
            f"{output} has the shape {ours.shape}, expected {theirs.shape}",
            hint="the target cannot hold this model",
        )
    if not np.isfinite(ours).all():
        raise RunError(
            f"{output} has numbers that are not finite, expected none",
            hint="the target cannot hold this model",
        )
    if real is not None:  # what padding says means nothing
        ours, theirs = ours[real], theirs[real]
    return Comparison(output, float(np.abs(ours - theirs).max()), float(theirs.std()))


def _answer(session: Session, output: str, batch: Batch, config: BertConfig) -> FloatArray:
    if output == LOGITS and config.architecture == PRETRAINING:
        return session.run(output, batch, _positions(batch))  # M V
    return session.run(output, batch)


def _positions(batch: Batch) -> IntArray:
    """Return real tokens of all sequences, as indices b·T + t."""
    real: IntArray = np.flatnonzero(batch.mask)
    return real[:: max(1, len(real) // _MOST_POSITIONS)]
