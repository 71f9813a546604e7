"""What fine-tuned models are asked, and how well they answer: tasks of the table, or own files.

One judge grades all: a network in training, a float checkpoint, the quantized artifact itself. It
asks through the `Session` protocol (see `bert_mobile.runtime.sessions`).
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.hub import resolve
from bert_mobile.judging.data import Reading, read_examples
from bert_mobile.judging.heads import HEADS, gives_number, has_head_for
from bert_mobile.judging.judge import Judge
from bert_mobile.labelled import (
    CLASS_KINDS,
    Example,
    LabelledText,
    Question,
    TaggedSentence,
    open_labelled,
)
from bert_mobile.labelled.labels import labels_of, sorted_names
from bert_mobile.model.config import (
    MULTI_LABEL,
    PRETRAINING,
    SEQUENCES,
    TOKENS,
    BertConfig,
)
from bert_mobile.progress import Progress, progress
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.runtime.forms import PACKED
from bert_mobile.runtime.sessions import FloatArray, Session, open_session
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tasks.metrics import figures_by_group, usual_metrics
from bert_mobile.tasks.predictions import as_labels_of
from bert_mobile.tasks.reading import read_task
from bert_mobile.tasks.reports import Judged
from bert_mobile.tasks.task import Task

_NAMELESS = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class Asked:
    """Examples that models are asked about; all of them are in memory."""

    name: str
    """Of the task or file."""
    kind: str
    """As `bert_mobile.tasks.task.Kind` has it."""
    examples: Sequence[Example]
    said: str
    """A line about the data: which files, how much of the whole."""
    is_labelled: bool = True
    """Whether there is a truth to judge by."""
    task: Task | None = None
    """None: a file of one's own."""
    metrics: tuple[str, ...] | None = None
    """None: those that are usual for the kind."""
    several: bool = False
    """Whether a text may have any number of labels."""
    groups: tuple[str, ...] = ()
    """Of each example, where the task has groups that are judged one by one as well."""


@dataclass(frozen=True)
class Subject:
    """A model that is asked."""

    name: str
    folder: Path
    config: BertConfig
    encoder: TextEncoder
    session: Session


@dataclass(frozen=True)
class Answers:
    """What a model said, and how good that is."""

    figures: dict[str, float]
    """From 0 to 1, the main one first; empty where there is no truth."""
    judged: Judged
    groups: dict[str, dict[str, float]]
    """The same of each group, where the task has some."""

    def named(self) -> list[Any]:
        """Return a prediction for each example: name of a label, number, tags or text."""
        predicted, labels = self.judged.predicted, self.judged.labels
        if labels and getattr(predicted, "ndim", 0) == 1:
            return [labels[number] for number in predicted]
        return [each.tolist() if hasattr(each, "tolist") else each for each in predicted]


def open_subject(
    model: str | Path, *, threads: int | None = None, weights: str = PACKED
) -> Subject:
    """Open a model as it answers on a phone: ONNX Runtime, no torch.

    Raises `ArtifactError` where there is none, or it is damaged.
    """
    folder = resolve(model)
    config = BertConfig.read(folder)
    session = open_session(folder, config, threads=threads, weights=weights)
    return Subject(str(model), folder, config, TextEncoder(folder, config), session)


def ask_task(task: Task, data: str | Path, split: str) -> Asked:
    """Return the examples of a split. Raises `InputError` naming the files it may lie in."""
    found = read_task(task, data, split)
    groups = tuple(found.groups()) if task.group and found.is_labelled else ()
    examples = tuple(found)
    return Asked(
        f"{task.name} {split}",
        task.kind,
        examples,
        found.describe(len(examples)),
        found.is_labelled,
        task,
        task.metrics,
        groups=groups,
    )


def ask_file(
    path: str,
    config: BertConfig,
    kind: str,
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    **reading: Any,
) -> Asked:
    """Return the examples of a labelled file, read as a kind of question.

    `reading` is what its name does not say, as `labelled.open_labelled` has it.

    Raises `InputError` naming file, line and column where it is no such file.
    """
    several = config.problem_type == MULTI_LABEL
    file = open_labelled(path, kind, text=text, label=label, several=several, **reading)
    return Asked(Path(path).name, kind, tuple(file), file.describe(), several=several)


def kind_of(config: BertConfig, texts: int = 0, trained_as: str | None = None) -> str:
    """Return the kind of question that a model answers.

    A sequence classifier does not say whether it reads one text or two: `trained_as` is what its
    provenance says, `texts` the number of columns that were named. Raises `ArtifactError` where the
    model has no head of a task.
    """
    if config.architecture == PRETRAINING:
        raise ArtifactError(
            "the model has no head for a task, expected a fine-tuned one",
            hint="fine-tune it first: bert-mobile finetune, or bert-mobile glue",
        )
    if config.architecture != SEQUENCES:
        return "tag" if config.architecture == TOKENS else "answer"
    if gives_number(config):
        return "regress"
    if trained_as in ("classify", "pairs"):
        return trained_as
    return "pairs" if texts == 2 else "classify"


def judge(subject: Subject, asked: Asked) -> Answers:
    """Ask a model everything.

    Raises `ArtifactError` where it has no head for such questions, `InputError` where its labels
    are not those of the task.
    """
    refuse_other_head(subject, asked)
    names = _names(subject.config, asked)
    reading = Reading(subject.encoder, names, asked.several, keeps="all")
    examples = asked.examples if asked.is_labelled else [_filled(e, names) for e in asked.examples]
    encoded = read_examples(examples, asked.kind, reading)
    metrics = asked.metrics or usual_metrics(asked.kind, names, several=asked.several)
    judge = Judge(asked.kind, encoded, reading.kept, names, asked.several, metrics, subject.encoder)
    with progress(f"{subject.name} on {asked.name}", len(encoded.sequences), "texts") as bar:
        session = _Followed(subject.session, bar)
        found = judge.ask(session, threshold=subject.config.no_answer_threshold)
    task = asked.task
    if task is not None and task.labels and asked.kind in ("classify", "pairs"):
        spoken = _spoken(subject, task.labels)
        found = replace(found, predicted=as_labels_of(task, found.predicted, spoken))
    judged = judge.judged(found)
    if not asked.is_labelled:
        return Answers({}, judged, {})
    groups = {}
    if task is not None and asked.groups:
        groups = figures_by_group(task, judged.truth, judged.predicted, asked.groups)
    return Answers(judge.figures_of(judged.predicted), judged, groups)


class _Followed:
    """A session whose batches are counted on a bar."""

    def __init__(self, session: Session, bar: Progress) -> None:
        self._session, self._bar = session, bar
        self.outputs = session.outputs

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch."""
        self._bar.advance(len(batch.ids))
        return self._session.run(output, batch, positions)

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch."""
        self._bar.advance(len(batch.ids))
        return self._session.run_several(outputs, batch)


def refuse_other_head(subject: Subject, asked: Asked) -> None:
    """Raise `ArtifactError` where a model cannot answer questions of that kind."""
    config, wanted = subject.config, HEADS[asked.kind]
    if has_head_for(config, asked.kind):
        return
    found = "without a head for a task" if config.architecture == PRETRAINING else (
        f"a {config.architecture}" + (" of a number" if gives_number(config) else "")
    )  # fmt: skip
    raise ArtifactError(
        f"{subject.name} is {found}, expected a {wanted} for {asked.name} ({asked.kind})",
        hint=f"fine-tune one: bert-mobile finetune {asked.kind}, or bert-mobile glue",
    )


def _names(config: BertConfig, asked: Asked) -> tuple[str, ...]:
    """Return the labels that numbers stand for: of the task, or of the model and the data.

    A label that the data has and the model has not is counted wrong rather than refused.
    """
    if asked.kind not in CLASS_KINDS:
        return ()
    if asked.kind != "tag" and asked.task is not None and asked.task.labels:
        return asked.task.labels
    there = {name for example in asked.examples for name in labels_of(example)}
    unknown = [name for name in sorted_names(there) if name not in config.labels]
    if asked.is_labelled and len(unknown) == len(there):
        raise InputError(
            f"{asked.name} has none of the model's labels: {', '.join(unknown[:5])} against "
            f"{', '.join(config.labels[:5])}",
            hint="is this the model's data, and --label its column?",
        )
    return (*config.labels, *unknown)


def _spoken(subject: Subject, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the model's labels; those of the task in its order where the model names none."""
    own = subject.config.labels
    if len(own) == len(wanted) and all(_NAMELESS.fullmatch(label) for label in own):
        warnings.warn(
            f"{subject.name} does not name its labels; they are taken for {', '.join(wanted)}",
            stacklevel=3,
        )
        return wanted
    return own


def _filled(example: Example, names: tuple[str, ...]) -> Example:
    """Return an example with some answer, for those whose answers are not given away."""
    if isinstance(example, LabelledText):
        return replace(example, labels=names[:1], value=0.0)
    if isinstance(example, TaggedSentence):
        return replace(example, tags=(names[0],) * len(example.words))
    if isinstance(example, Question):
        return replace(example, answers=())
    return example
