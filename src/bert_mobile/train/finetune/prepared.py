"""All that a fine-tuning needs, read and checked: model, examples, labels, judge."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError
from bert_mobile.files import sha256
from bert_mobile.judging.data import (
    FEWEST,
    Encoded,
    Reading,
    in_order,
    read_examples,
)
from bert_mobile.judging.judge import Judge
from bert_mobile.judging.sequences import IntArray
from bert_mobile.labelled import (
    CLASS_KINDS,
    Example,
    LabelledFile,
    open_labelled,
    refuse_one_class,
)
from bert_mobile.labelled.labels import alike_remark, scheme_remark
from bert_mobile.labelled.names import is_number
from bert_mobile.model.config import BertConfig
from bert_mobile.runtime.text import TextEncoder, TruncationWarning
from bert_mobile.tasks.metrics import higher_is_better, usual_metrics
from bert_mobile.train.calibration import calibration_lines
from bert_mobile.train.finetune.settings import USUAL_EPOCHS, FinetuneSettings, usual_epochs
from bert_mobile.train.finetune.start import (
    Start,
    length_limit,
    read_start,
    refuse_unfit_parent,
    task_config,
)
from bert_mobile.train.finetune.teacher import Teacher, read_teacher

SUSPICIOUS = 10
"""Labels from which on it is odd that each has hardly an example."""

FINEST = 1e-6
"""Standard deviation, as a part of the largest number, below which float32 shows no difference."""


@dataclass(frozen=True)
class Data:
    """What to learn from and to be judged by, where a program brings it."""

    train: Iterable[Example]
    """Read once, and a second time where there is a teacher."""
    dev: Iterable[Example] | None = None
    """None: a tenth of `train` is held out."""
    labels: tuple[str, ...] | None = None
    """Names in the order of the outputs; None: those of `train`, sorted."""
    metrics: tuple[str, ...] | None = None
    """Names of `tasks.metrics`, the main one first; None: the usual ones."""
    name: str = ""
    """For the record."""


@dataclass(frozen=True)
class Prepared:
    """Everything is here and fits together."""

    start: Start
    config: BertConfig
    """Of the network to be made."""
    train: Encoded
    judge: Judge
    facts: dict[str, Any]
    """What provenance says of the data."""
    told: tuple[str, ...]
    """What was guessed or noticed, a line each, for the user."""
    teacher: Teacher | None = None
    calibration: tuple[str, ...] = ()
    """Lines of text that bits are chosen by, where the run is to end in a quantized model."""

    @property
    def teacher_digest(self) -> str:
        """SHA-256 of the teacher's weights; "" without one."""
        return "" if self.teacher is None else self.teacher.digest

    @property
    def digest(self) -> str:
        """Hash of all that is learned and judged by."""
        return f"{self.train.digest}+{self.judge.encoded.digest}"

    def class_weights(self, scheme: str) -> NDArray[np.float32] | None:
        """Return what each thing asked for counts, (m,); None where all count the same."""
        targets = self.train.targets
        if scheme == "none" or targets.ndim == 2:
            return None
        counts = np.bincount(targets, minlength=len(self.judge.labels))
        weights = len(targets) / (len(counts) * np.maximum(counts, 1))
        return weights[targets].astype(np.float32)

    def positive_weights(self, scheme: str) -> NDArray[np.float32] | None:
        """Return how many times more than "no" each label's "yes" counts, (L,); None: the same."""
        if scheme == "none":
            return None
        yes = self.train.targets.sum(0, dtype=np.float64)
        return ((len(self.train.targets) - yes) / np.maximum(yes, 1)).astype(np.float32)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the numbers to learn; 0 and 1 where labels are learned."""
        values = self.train.targets
        return (float(values.mean()), float(values.std())) if values.dtype.kind == "f" else (0, 1)

    def standardised(self) -> Encoded:
        """Return the train examples with numbers of mean 0 and standard deviation 1."""
        mean, deviation = self.scale
        targets = (self.train.targets - mean) / deviation
        return replace(self.train, targets=targets.astype(np.float32))


def prepare(settings: FinetuneSettings, data: Data | None = None) -> Prepared:
    """Read and check everything; nothing is written.

    Raises `InputError` naming file, line and column where an example cannot be learned from, and
    where model, settings and data do not fit together.
    """
    start = read_start(settings.model)
    if settings.qat:
        refuse_unfit_parent(start, settings)
    encoder = TextEncoder(start.folder, start.config, length_limit(start.config, settings))
    found = data or open_data(settings)
    if settings.qat and settings.kind in CLASS_KINDS:
        found = replace(found, labels=start.config.labels)  # in the order of its outputs
    told = [each.describe() for each in (found.train, found.dev) if isinstance(each, LabelledFile)]
    split = _read(settings, found, encoder, told)
    told.extend(_many_epochs(settings, len(split.train.sequences.lengths)))
    metrics = _metrics(settings, found, split.labels)
    _check_numbers(settings, found, split, metrics[0])
    judge = Judge(
        settings.kind,
        split.dev,
        split.examples,
        split.labels,
        settings.several,
        metrics,
        encoder,
        settings.stride,
    )
    judge.rehearse()
    return Prepared(
        start,
        task_config(start.config, settings, split.labels),
        split.train,
        judge,
        _facts(found, split),
        tuple(told),
        _taught(settings, found, encoder, split) if settings.teacher else None,
        calibration_lines(found.train, len(split.train)) if settings.qat else (),
    )


def open_data(settings: FinetuneSettings) -> Data:
    """Open the files of the settings; the columns of dev are those of train."""
    if not settings.train:
        raise InputError("there is no file to train on", hint="give --train FILE")
    opened = partial(
        open_labelled,
        kind=settings.kind,
        several=settings.several,
        encoding=settings.encoding,
        header=settings.header,
        form=settings.form,
        skip_unlabelled=settings.skip_unlabelled,
    )
    train = opened(settings.train, text=settings.text, label=settings.label)
    if settings.dev is None:
        return Data(train)
    return Data(train, opened(settings.dev, columns_like=train.columns))


@dataclass(frozen=True)
class _Split:
    """What was read: the examples to learn from, and those to judge by."""

    train: Encoded
    dev: Encoded
    examples: list[Example]
    """Those to judge by, as they are."""
    labels: tuple[str, ...]
    train_rows: IntArray | None
    """Numbers of the train examples in their file; None: all of it."""


def _read(settings: FinetuneSettings, data: Data, encoder: TextEncoder, told: list[str]) -> _Split:
    """Encode everything, and note in `told` what was found."""
    reading = _reading(settings, encoder, data.labels, "nothing" if data.dev else "tenth")
    encoded, labels = in_order(read_examples(data.train, settings.kind, reading), reading)
    _check_classes(settings, data, labels)
    if labels:
        told.append(f"{len(labels):,} labels: {_shown(labels)}")
    remark = scheme_remark(labels) if settings.kind == "tag" else alike_remark(labels)
    if remark:
        _warn(f"{_name(data.train)}: {remark}")
    _warn_many_labels(settings, data, labels, len(encoded))
    _warn_cut(reading, "train")
    if data.dev is None:
        return _parted(encoded, labels, reading, told)
    judging = _reading(settings, encoder, labels, "all")
    dev = read_examples(data.dev, settings.kind, judging)
    _warn_cut(judging, "dev")
    if dev.digest == encoded.digest:
        same = f"{_name(data.dev)} has the very examples of {_name(data.train)}"
        _warn(f"{same}: figures say nothing of new ones")
    return _Split(encoded, dev, judging.kept, labels, None)


def _reading(
    settings: FinetuneSettings, encoder: TextEncoder, labels: tuple[str, ...] | None, keeps: str
) -> Reading:
    known = labels if settings.kind in CLASS_KINDS else ()
    return Reading(encoder, known, settings.several, settings.stride, keeps)


def _parted(encoded: Encoded, labels: tuple[str, ...], reading: Reading, told: list[str]) -> _Split:
    if len(encoded) < FEWEST:
        raise InputError(
            f"there are {len(encoded)} examples, too few to hold some out, expected {FEWEST}",
            hint="give --dev FILE to judge by",
        )
    dev = np.array(reading.kept_rows)
    train = np.setdiff1d(np.arange(len(encoded)), dev)
    told.append(f"no dev file: {len(dev):,} of {len(encoded):,} train examples are held out")
    return _Split(encoded.taken(train), encoded.taken(dev), reading.kept, labels, train)


def _many_epochs(settings: FinetuneSettings, sequences: int) -> list[str]:
    """Tell where examples are read more often than usual, because they are few."""
    epochs = usual_epochs(math.ceil(sequences / settings.batch_size))
    if settings.epochs is not None or epochs == USUAL_EPOCHS:
        return []
    return [f"few examples: each is read {epochs:g} times, unless --epochs says otherwise"]


def _taught(settings: FinetuneSettings, data: Data, encoder: TextEncoder, split: _Split) -> Teacher:
    """Open the teacher and let it read the train examples."""
    teacher = read_teacher(settings, split.labels, encoder, encoder.limit)
    reading = _reading(settings, teacher.encoder, split.labels, "nothing")
    read = read_examples(data.train, settings.kind, reading)
    rows = split.train_rows
    return replace(teacher, data=read if rows is None else read.taken(rows))


def _check_classes(settings: FinetuneSettings, data: Data, labels: tuple[str, ...]) -> None:
    if settings.kind not in CLASS_KINDS or (settings.several and labels):
        return
    if isinstance(data.train, LabelledFile):
        refuse_one_class(data.train, labels)
    if len(labels) < 2:
        raise InputError(
            f"there is one class only, {_shown(labels)}, expected two or more",
            hint="add examples of another class",
        )


def _check_numbers(settings: FinetuneSettings, data: Data, split: _Split, main: str) -> None:
    """Raise `InputError` where numbers differ too little to be learned, or to be judged by."""
    if settings.kind != "regress":
        return
    numbers, where = split.train.targets, _where(data.train)
    if numbers.std() <= FINEST * np.abs(numbers).max():
        raise InputError(
            f"{where}: {_extent(numbers)}, expected different ones",
            hint="name another column with --label; of large numbers, subtract what they share",
        )
    if higher_is_better(main) and np.ptp(split.dev.targets) == 0:  # a correlation
        where = "the examples held out" if data.dev is None else _where(data.dev)
        raise InputError(
            f"{where}: {_extent(split.dev.targets)}, by which {main} cannot be judged",
            hint="give --metric mean_absolute_error, or other examples with --dev",
        )


def _extent(numbers: NDArray[np.float64]) -> str:
    low, high = numbers.min(), numbers.max()
    return f"the only number is {low:g}" if low == high else f"all are from {low:.9g} to {high:.9g}"


def _where(data: Iterable[Example]) -> str:
    return data.labels_place if isinstance(data, LabelledFile) else "the data"


def _metrics(settings: FinetuneSettings, data: Data, labels: tuple[str, ...]) -> tuple[str, ...]:
    usual = usual_metrics(settings.kind, labels, several=settings.several)
    metrics = data.metrics or usual
    main = settings.metric
    return metrics if main is None else (main, *(name for name in metrics if name != main))


def _facts(data: Data, split: _Split) -> dict[str, Any]:
    return {
        "name": data.name or None,
        "train": _file_facts(data.train),
        "dev": _file_facts(data.dev),
        "train_examples": len(split.train),
        "dev_examples": len(split.dev),
        "train_sha256": split.train.digest,
        "dev_sha256": split.dev.digest,
        "labels": list(split.labels),
    }


def _file_facts(data: Iterable[Example] | None) -> dict[str, Any] | None:
    """Return which file it is, and which columns were read."""
    if not isinstance(data, LabelledFile):
        return None
    files = {each.path: sha256(Path(each.path)) for each in data.files if Path(each.path).is_file()}
    return {"files": files, "read": data.describe()}


def _warn_many_labels(
    settings: FinetuneSettings, data: Data, labels: Sequence[str], examples: int
) -> None:
    """Warn where most labels have one example: they may be numbers, or the column another one."""
    is_single = settings.kind in ("classify", "pairs") and not settings.several
    if not is_single or len(labels) < SUSPICIOUS or 2 * len(labels) <= examples:
        return
    found = f"{_where(data.train)}: {len(labels):,} labels for {examples:,} examples"
    numbers = "; numbers are learned by regress" if all(map(is_number, labels)) else ""
    _warn(f"{found}, expected several examples a label{numbers}")


def _warn_cut(reading: Reading, which: str) -> None:
    if reading.cut:
        found = f"{reading.cut:,} {which} examples have more than {reading.encoder.limit} tokens"
        _warn(f"{found} and were cut", TruncationWarning)


def _warn(said: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(said, category, stacklevel=5)


def _name(data: Iterable[Example]) -> str:
    return data.name if isinstance(data, LabelledFile) else "the data"


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
