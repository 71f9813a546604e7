"""A fine-tuned BERT whose answers are learned: of any size, with any tokenizer of its own.

Its logits over the train examples are computed once, before training (Hinton et al. 2015). Its
attention relations (MiniLMv2, Wang et al. 2020: between the queries of all tokens, between their
keys, between their values, in the last layer) are computed at every step, and only where both
networks read the same pieces. Dimensions as in `objective`; R relation heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.checkpoint import WEIGHTS, read_weights
from bert_mobile.errors import InputError
from bert_mobile.files import sha256
from bert_mobile.hub import resolve
from bert_mobile.judging.data import Encoded
from bert_mobile.judging.heads import HEADS
from bert_mobile.model.config import MULTI_LABEL, BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.progress import progress
from bert_mobile.quantize.interface import LOGITS
from bert_mobile.runtime.batches import by_length
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tokenizer import same_tokenizer
from bert_mobile.train.finetune.session import TorchSession
from bert_mobile.train.finetune.settings import FinetuneSettings

BATCH = 64
PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Teacher:
    """A teacher and its view of the train examples."""

    folder: Path
    config: BertConfig
    encoder: TextEncoder
    columns: NDArray[np.int64]
    """(L,): which of its outputs is each of our labels."""
    data: Encoded | None = None
    """The train examples in its own pieces."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its weights."""
        return sha256(self.folder / WEIGHTS)

    def network(self, device: torch.device) -> BertForTask:
        """Return the network, which learns nothing."""
        model = BertForTask(self.config)
        model.from_huggingface(read_weights(self.folder, self.config))
        return model.eval().requires_grad_(requires_grad=False).to(device)


def read_teacher(
    settings: FinetuneSettings, labels: Sequence[str], student: TextEncoder, limit: int
) -> Teacher:
    """Open the teacher of the settings.

    Raises `ArtifactError` where it is damaged, `InputError` where it answers another kind of
    question or has other labels, or where relations are asked for and its pieces are others.
    """
    folder = resolve(settings.teacher or "")
    config = BertConfig.read(folder)
    wanted = HEADS[settings.kind]
    if config.architecture != wanted:
        raise InputError(
            f"the teacher {folder} is a {config.architecture}, expected a {wanted}",
            hint=f"fine-tune one first: bert-mobile finetune {settings.kind}",
        )
    if settings.several != (config.problem_type == MULTI_LABEL):
        given = {False: "one label", True: "any number of labels"}
        raise InputError(
            f"the teacher {folder} gives a text {given[not settings.several]}, expected "
            f"{given[settings.several]}",
            hint="both are fine-tuned with --several, or neither",
        )
    columns = _columns(folder, config, labels, numbers=settings.kind == "regress")
    encoder = TextEncoder(folder, config, min(limit, config.max_position_embeddings))
    if settings.relation_weight and not (
        same_tokenizer(encoder.tokenizer, student.tokenizer) and encoder.limit == limit
    ):
        raise InputError(
            f"the teacher {folder} reads other pieces than the model, so that their relations "
            "cannot be compared",
            hint="leave relation_weight out, or choose a teacher with the model's tokenizer",
        )
    return Teacher(folder, config, encoder, columns)


def _columns(
    folder: Path, config: BertConfig, labels: Sequence[str], *, numbers: bool
) -> NDArray[np.int64]:
    if numbers:
        if len(config.labels) != 1:
            raise InputError(
                f"the teacher {folder} has {len(config.labels)} outputs, expected one number",
                hint="choose a teacher that was fine-tuned by regress",
            )
        return np.zeros(1, np.int64)
    if set(config.labels) != set(labels):
        raise InputError(
            f"the teacher {folder} knows the labels {_some(config.labels)}, the data has "
            f"{_some(labels)}",
            hint="name the labels alike: id2label in the teacher's config.json",
        )
    return np.array([config.labels.index(label) for label in labels], np.int64)


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:10]) + (", …" if len(names) > 10 else "")


def teacher_logits(
    teacher: Teacher,
    student: Encoded,
    device: torch.device,
    precision: str,
    *,
    scale: tuple[float, float],
    quiet: bool,
) -> NDArray[np.float16]:
    """Return the teacher's logits, (m, L), for what `student` asks for; NaN where it is blind.

    It is blind to words that its own pieces leave no room for. `scale`, mean and standard
    deviation, is what its numbers are standardised by, before they become float16.
    """
    if teacher.data is None:
        raise ValueError("the teacher has not read the examples")
    sequences, session = teacher.data.sequences, TorchSession(teacher.network(device), precision)
    width, (mean, deviation) = len(teacher.columns), scale
    found = np.full((len(student.targets), width), np.nan, np.float16)
    with progress("teacher", None if quiet else len(sequences), "examples") as bar:
        for numbers in by_length(sequences.lengths.tolist(), BATCH):
            batch = sequences.batch(numbers, teacher.encoder.pad_id)
            for number, row in zip(numbers, session.run(LOGITS, batch), strict=True):
                own = (row[..., teacher.columns] - mean) / deviation
                _note(found, number, own, student, teacher.data)
            bar.advance(len(numbers))
    return found


def _note(
    found: NDArray[np.float16],
    number: int,
    row: NDArray[np.float32],
    student: Encoded,
    own: Encoded,
) -> None:
    """Put the logits of one sequence where the student asks for them."""
    if own.places is None or own.place_offsets is None or student.place_offsets is None:
        found[number] = row
        return
    places = own.places[own.place_offsets[number] : own.place_offsets[number + 1]]
    first, last = student.place_offsets[number : number + 2]
    both = min(len(places), int(last - first))
    found[first : first + both] = row[places[:both]]


class Relations:
    """How differently two networks relate the tokens of a batch that both read."""

    def __init__(self, student: BertForTask, teacher: BertForTask) -> None:
        """Follow both; the student is to read a batch before this is asked about it."""
        self._teacher = teacher
        self._ours, self._theirs = _followed(student), _followed(teacher)
        ours, theirs = student.config.hidden_size, teacher.config.hidden_size
        most = student.config.num_attention_heads
        self.heads = max(r for r in range(1, most + 1) if ours % r == 0 and theirs % r == 0)

    def __call__(self, input_ids: Tensor, mask: Tensor | None, types: Tensor) -> Tensor:
        """Return the divergence, the mean over tokens and heads, summed over the batch."""
        with torch.no_grad():
            self._teacher.encoder(input_ids, mask, types)
        real = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
        total = torch.zeros((), device=input_ids.device)
        for part in PARTS:
            ours = self._relations(self._ours[part], real)  # (B, R, T, T), logarithms
            theirs = self._relations(self._theirs[part], real)
            each = theirs.exp() * (theirs - ours).masked_fill(~real[:, None, None, :], 0.0)
            rows = each.sum(-1).mean(1) * real  # (B, T)
            total = total + (rows.sum(-1) / real.sum(-1)).sum()
        return total / len(PARTS)

    def _relations(self, hidden: Tensor, real: Tensor) -> Tensor:
        split = hidden.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, R, T, D)
        scores = split @ split.mT / sqrt(split.shape[-1])
        scores = scores.masked_fill(~real[:, None, None, :], torch.finfo(scores.dtype).min)
        return functional.log_softmax(scores, -1)


def _followed(network: BertForTask) -> dict[str, Tensor]:
    """Return where the last layer's queries, keys and values of the last batch are to be found."""
    seen: dict[str, Tensor] = {}
    attention: Any = network.encoder.layers[-1].attention

    def follow(part: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen[part] = output

        return note

    for part in PARTS:
        getattr(attention, part).register_forward_hook(follow(part))
    return seen
