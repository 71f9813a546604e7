"""How a model runs on this machine, with its weights in one form or another.

Loading is measured in processes of their own, several times and in turns, because a process that
has loaded one model holds its memory and its libraries for the next. Latency is measured in one
process, in turns (see `latency`).
"""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bert_mobile import __version__
from bert_mobile.evaluate.asked import open_subject
from bert_mobile.evaluate.latency import SECONDS as SECONDS_OF_A_SHAPE
from bert_mobile.evaluate.latency import SHAPES, Latency, answered, latencies, random_batch
from bert_mobile.hub import find_model, resolve
from bert_mobile.machine import own_peak_megabytes, processor
from bert_mobile.runtime.forms import FORMS, PACKED, check_form
from bert_mobile.runtime.sessions import Session

LOADS = 3
"""Times that a model is loaded in each form."""

BATCH = (32, 128)
"""Sequences and tokens of the batch that speed is measured on."""

_FIRST = 16  # tokens of the first text that is asked for


@dataclass(frozen=True)
class FormFigures:
    """What a model needs with its weights in one form."""

    weights: str
    load_seconds: float
    """From the name to a model that can be asked, libraries loaded; the median."""
    first_answer_seconds: float
    """Of the first call after that, for a short text; the median."""
    peak_megabytes: float
    """Most memory of a process that did no more than that, Python and libraries included."""
    held_megabytes: float | None
    """Memory that it held afterwards; None where the system does not tell."""
    latency: list[Latency]
    texts_per_second: float | None
    """In batches of `BATCH`; None where the network has not so many positions."""
    difference: float
    """‖h − h′‖ / ‖h‖ of the outputs for one batch, against those of the first form."""


@dataclass(frozen=True)
class RunReport:
    """How a model runs here."""

    model: str
    bytes: int
    """Of the file that holds the network."""
    threads: int | None
    machine: str
    code: str
    forms: list[FormFigures]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class _Load:
    seconds: float
    first: float
    peak: float
    held: float | None


def bench_run(
    model: str,
    *,
    weights: Sequence[str] = FORMS,
    threads: int | None = None,
    loads: int = LOADS,
    seconds: float = SECONDS_OF_A_SHAPE,
) -> RunReport:
    """Measure a model (as `bert_mobile.load` takes it) in one form of weights after another.

    `loads` is how often it is loaded in each, `seconds` the time for one shape of batch. Raises
    `ArtifactError` where there is no such model or it is damaged, `InputError` where there is no
    such form.
    """
    forms = list(dict.fromkeys(weights)) or [PACKED]
    for form in forms:
        check_form(form)
    file = find_model(resolve(model))
    loaded = _loads(model, forms, threads, loads)
    subjects = {form: open_subject(model, threads=threads, weights=form) for form in forms}
    sessions: dict[str, Session] = {form: each.session for form, each in subjects.items()}
    config = subjects[forms[0]].config
    times = latencies(sessions, config, (*SHAPES, BATCH), seconds=seconds)
    outputs = [
        answered(session, random_batch(config, 1, config.max_position_embeddings // 2))
        for session in sessions.values()
    ]
    return RunReport(
        model, file.stat().st_size, threads, processor(),
        f"bert-mobile {__version__}, onnxruntime {onnxruntime.__version__}",
        [
            _figures(form, loaded[form], times[form], _difference(output, outputs[0]))
            for form, output in zip(forms, outputs, strict=True)
        ],
    )  # fmt: skip


def _loads(
    model: str, forms: Sequence[str], threads: int | None, loads: int
) -> dict[str, list[_Load]]:
    found: dict[str, list[_Load]] = {form: [] for form in forms}
    spawning = get_context("spawn")
    for _ in range(loads):
        for form in forms:
            with spawning.Pool(1) as pool:
                found[form].append(pool.apply(_load, (model, form, threads)))
    return found


def _load(model: str, form: str, threads: int | None) -> _Load:
    """Load a model and ask it once: what one process does."""
    began = time.perf_counter()
    subject = open_subject(model, threads=threads, weights=form)
    ready = time.perf_counter()
    tokens = min(_FIRST, subject.config.max_position_embeddings)
    answered(subject.session, random_batch(subject.config, 1, tokens))
    done = time.perf_counter()
    return _Load(ready - began, done - ready, own_peak_megabytes(), _held_megabytes())


def _held_megabytes() -> float | None:
    """Return the memory that this process holds, in 10**6 bytes; Linux tells it."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return next((int(x.split()[1]) * 1024 / 1e6 for x in lines if x.startswith("VmRSS")), None)


def _difference(output: Any, first: Any) -> float:
    """Return ‖h − h′‖ / ‖h‖; ‖h′‖ where the first form answers with zeros."""
    return float(np.linalg.norm(output - first) / (np.linalg.norm(first) or 1.0))


def _figures(
    form: str, loads: Sequence[_Load], times: Sequence[Latency], difference: float
) -> FormFigures:
    batch = [each for each in times if (each.sequences, each.tokens) == BATCH]
    held = [load.held for load in loads if load.held is not None]
    return FormFigures(
        weights=form,
        load_seconds=_median(load.seconds for load in loads),
        first_answer_seconds=_median(load.first for load in loads),
        peak_megabytes=_median(load.peak for load in loads),
        held_megabytes=_median(held) if held else None,
        latency=list(times),
        texts_per_second=1000 * BATCH[0] / batch[0].median if batch else None,
        difference=difference,
    )


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
