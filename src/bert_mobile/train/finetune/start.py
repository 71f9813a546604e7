"""What a fine-tuning starts from: the encoder of any BERT, the embedded model's included."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import WEIGHTS, ancestry
from bert_mobile.errors import InputError
from bert_mobile.files import sha256
from bert_mobile.hub import find_model, resolve
from bert_mobile.judging.heads import has_head_for
from bert_mobile.model.config import (
    ANSWERS,
    MULTI_LABEL,
    REGRESSION,
    SEQUENCES,
    SINGLE_LABEL,
    TOKENS,
    BertConfig,
)
from bert_mobile.model.heads import BertForTask
from bert_mobile.train.finetune.settings import FinetuneSettings
from bert_mobile.train.rounded import refuse_quantized
from bert_mobile.train.start import POOLER, load_encoder

NUMBER = "LABEL_0"
"""What transformers calls the one output of a regression."""


@dataclass(frozen=True)
class Start:
    """A trained BERT in its folder."""

    folder: Path
    config: BertConfig
    file: str
    """Where in the folder its weights are."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file of its weights."""
        return sha256(self.folder / self.file)

    @cached_property
    def parents(self) -> list[dict[str, Any]]:
        """What provenance says of where it comes from, itself last."""
        return ancestry(self.folder, self.file)


def read_start(name: str) -> Start:
    """Find a model by its name (`hub.resolve`), float or quantized.

    Raises `ArtifactError` where there is none, or it is no BERT.
    """
    folder = resolve(name)
    config = BertConfig.read(folder)
    file = folder / WEIGHTS
    file = file if file.is_file() else find_model(folder)
    return Start(folder, config, file.relative_to(folder).as_posix())


def refuse_unfit_parent(start: Start, settings: FinetuneSettings) -> None:
    """Raise unless a model can learn to answer as it does, with its weights rounded.

    Raises `InputError` where it is rounded already, or was fine-tuned for something else.
    """
    refuse_quantized(start.folder)
    config, kind = start.config, settings.kind
    is_several = config.problem_type == MULTI_LABEL
    if not has_head_for(config, kind) or settings.several != is_several:
        raise InputError(
            f"{start.folder} is a {config.architecture} that was not made by `finetune {kind}`, "
            "expected a model of this very task",
            hint=f"bert-mobile finetune {kind} makes one; then again with --qat and --model",
        )


def length_limit(config: BertConfig, settings: FinetuneSettings) -> int:
    """Return the tokens of the longest sequence; `InputError` where the model has not so many."""
    positions = config.max_position_embeddings
    if settings.max_length is None:
        return min(settings.usual_length, positions)
    if settings.max_length > positions:
        raise InputError(
            f"max_length is {settings.max_length}, the model has {positions} positions",
            hint=f"choose at most {positions}",
        )
    return settings.max_length


def task_config(
    start: BertConfig, settings: FinetuneSettings, labels: tuple[str, ...]
) -> BertConfig:
    """Return the shape of the network that is to be made."""
    common: dict[str, Any] = {
        "max_length": length_limit(start, settings),
        "hidden_dropout_prob": settings.usual_dropout,
        "attention_probs_dropout_prob": settings.usual_dropout,
    }
    if settings.qat:  # it stays the network that it is, which may not say that it gives numbers
        problem = REGRESSION if settings.kind == "regress" else start.problem_type
        return replace(start, problem_type=problem, **common)
    if settings.kind == "answer":
        return start.with_task(ANSWERS, **common)
    if settings.kind == "tag":
        return start.with_task(TOKENS, labels=labels, **common)
    if settings.kind == "regress":
        return start.with_task(SEQUENCES, labels=(NUMBER,), problem_type=REGRESSION, **common)
    problem = MULTI_LABEL if settings.several else SINGLE_LABEL
    return start.with_task(SEQUENCES, labels=labels, problem_type=problem, **common)


def fresh_model(start: Start, config: BertConfig) -> BertForTask:
    """Return the encoder (and pooler) of `start` under a fresh head, drawn from torch's seed."""
    model = BertForTask(config)
    if POOLER in load_encoder(model, start.folder):
        warnings.warn(f"{start.folder} has no pooler; a fresh one is trained", stacklevel=2)
    return model
