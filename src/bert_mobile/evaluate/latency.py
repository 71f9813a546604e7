"""How long a network takes to answer, on this machine, by the session that runs it.

A figure is the median over calls of one shape of batch, full of real tokens, after calls that are
not timed. Sessions that are compared take turns, so that whatever else the machine does falls on
all of them.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import HIDDEN
from bert_mobile.runtime.batches import Batch
from bert_mobile.runtime.sessions import FloatArray, Session

SHAPES = ((1, 16), (1, 64), (1, 128))
"""Sequences and tokens of a batch."""

WARM_UP, LEAST_CALLS, MOST_CALLS = 2, 5, 50
SECONDS = 1.0
"""That one session is given for one shape, within the bounds of the calls."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds that one shape of batch takes."""

    sequences: int
    tokens: int
    """Of each sequence."""
    median: float
    fastest: float


def latencies(
    sessions: Mapping[str, Session],
    config: BertConfig,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    *,
    seconds: float = SECONDS,
) -> dict[str, list[Latency]]:
    """Time sessions of one network in turns, each asked as in `answered`.

    Shapes of more tokens than the network has positions are left out.
    """
    fitting = [shape for shape in shapes if shape[1] <= config.max_position_embeddings]
    found: dict[str, list[Latency]] = {name: [] for name in sessions}
    for sequences, tokens in fitting:
        batch = random_batch(config, sequences, tokens)
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for session in sessions.values():
            for _ in range(WARM_UP):
                _call(session, batch)
        while any(_goes_on(taken, seconds) for taken in times.values()):
            for name, session in sessions.items():
                if _goes_on(times[name], seconds):
                    times[name].append(_call(session, batch))
        for name, taken in times.items():
            median, fastest = statistics.median(taken), min(taken)
            found[name].append(Latency(sequences, tokens, 1000 * median, 1000 * fastest))
    return found


def random_batch(config: BertConfig, sequences: int, tokens: int) -> Batch:
    """Return pieces at random, the same each time, (sequences, tokens)."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocab_size, (sequences, tokens), dtype=np.int64)
    return Batch(ids, np.ones_like(ids), np.zeros_like(ids))


def answered(session: Session, batch: Batch) -> FloatArray:
    """Return what a session is timed by: the last hidden states, if it has them."""
    return session.run(HIDDEN if HIDDEN in session.outputs else min(session.outputs), batch)


def _goes_on(taken: Sequence[float], seconds: float) -> bool:
    if len(taken) < LEAST_CALLS:
        return True
    return sum(taken) < seconds and len(taken) < MOST_CALLS


def _call(session: Session, batch: Batch) -> float:
    began = time.perf_counter()
    answered(session, batch)
    return time.perf_counter() - began
