"""The contestants of `bench finetune`: our loop and the `transformers` Trainer (see `turns`).

Both start from the same weights, fresh head included, and read the same examples in batches of the
same size, each in an order of its own. The Trainer's are padded to one length, as its examples
usually are; ours are as long as the longest text of their batch. Texts are encoded before anything
is timed. Dimensions: B batch, T tokens.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from bert_mobile.errors import RunError
from bert_mobile.evaluate.contestants import take_steps
from bert_mobile.evaluate.turns import NEVER, OURS, Referee, Stopwatch, reporting
from bert_mobile.judging.data import Encoded
from bert_mobile.judging.judge import Judge
from bert_mobile.labelled import Example
from bert_mobile.quantize.interface import LOGITS
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.tasks.reading import Split, labels_of, read_task
from bert_mobile.tasks.table import task as task_of
from bert_mobile.train.devices import World, autocast, computing_type, hold_memory
from bert_mobile.train.finetune import Data, FinetuneSettings
from bert_mobile.train.finetune.prepared import Prepared, prepare
from bert_mobile.train.finetune.run import Finetuning
from bert_mobile.train.finetune.session import TorchSession
from bert_mobile.train.optimizers import make_optimizers
from bert_mobile.train.sitting import Sitting

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class FinetuneCourse:
    """What every contestant runs."""

    task: str
    data: str
    settings: FinetuneSettings
    examples: int
    """Of the train set, the first so many: an epoch."""
    padded_to: int
    """Tokens of the Trainer's sequences."""
    rounds: int
    """An epoch each."""
    settling: int
    """Steps at the start of every round that are not timed."""
    warm_up: int
    """Steps before the first round."""

    @property
    def steps(self) -> int:
        """Timed ones of a round."""
        return max(1, self.examples // self.settings.batch_size)

    @property
    def length(self) -> int:
        """Steps altogether."""
        return self.warm_up + self.rounds * (self.settling + self.steps)

    def prepared(self) -> Prepared:
        """Read and encode the examples. Raises `InputError` where they are not there."""
        row = task_of(self.task)
        train, dev = (read_task(row, self.data, split) for split in ("train", "dev"))
        labels = labels_of(row, self.data) or None
        return prepare(
            self.settings, Data(First(train, self.examples), dev, labels, row.metrics, row.name)
        )


@dataclass(frozen=True)
class First:
    """The first examples of a split."""

    split: Split
    count: int

    def __iter__(self) -> Iterator[Example]:
        """Read from the beginning."""
        return islice(iter(self.split), self.count)


def compete(name: str, course: FinetuneCourse, connection: Connection) -> None:
    """Run the course as the contestant of that name: what a process of its own is started with."""
    run = run_ours if name == OURS else run_trainer
    reporting(connection, lambda referee, world: run(course, referee, world))


def run_ours(course: FinetuneCourse, referee: Referee, world: World) -> None:
    """Take the steps of `bert-mobile finetune`, as its loop does between two judgements."""
    hold_memory()
    run = _our_run(course, world)
    schedule = run.course = replace(
        run.course,
        steps=course.length + 1,
        warmup_steps=warm_up_steps(course),
        evaluate_every=NEVER,
        save_every=NEVER,
    )
    plain = TorchSession(run.model, "fp32")
    referee.ready(_first_loss(plain, run.prepared.judge, run.prepared.train))
    watch = Stopwatch(course, referee, world.device)
    optimizers = make_optimizers(run.model, schedule)
    take_steps(run, schedule, optimizers, course.length, watch, world)
    referee.result(run.prepared.judge.figures(run.session))


def run_trainer(course: FinetuneCourse, referee: Referee, world: World) -> None:
    """Take as many steps from the same weights in `transformers`, on padded examples."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    run = _our_run(course, World(0, 1, torch.device("cpu")))
    model, judge = their_model(run), run.prepared.judge
    rows = Padded(run.prepared.train, course.padded_to, judge.encoder.pad_id)
    session = TheirSession(model.to(world.device), course.settings.precision)
    plain = TheirSession(model, "fp32")
    referee.ready(_first_loss(plain, judge, run.prepared.train))
    watch = Stopwatch(course, referee, world.device)

    class Clock(transformers.TrainerCallback):
        """Tells the stopwatch of every step."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.stepped(0, None)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = _training_arguments(course, run, world.device, scratch)
        trainer = transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[Clock()])
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    referee.result(judge.figures(session))


class Padded(Dataset[dict[str, Tensor]]):
    """Examples as the Trainer takes them, all padded to one length."""

    def __init__(self, encoded: Encoded, length: int, pad_id: int) -> None:
        """Pad to `length` tokens, or to the longest where that has more."""
        rows = np.arange(len(encoded.sequences))
        width = max(length, int(encoded.sequences.lengths.max()))
        batch = encoded.sequences.batch(rows, pad_id, multiple=width)
        self._columns = {
            "input_ids": torch.from_numpy(batch.ids),
            "attention_mask": torch.from_numpy(batch.mask),
            "token_type_ids": torch.from_numpy(batch.types),
            "labels": torch.from_numpy(encoded.targets.astype(np.int64)),
        }

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._columns["labels"])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Return one example."""
        return {name: column[number] for name, column in self._columns.items()}


class TheirSession:
    """A sequence classifier of `transformers`, asked as any other network is."""

    def __init__(self, model: Any, precision: str) -> None:
        self._model, self._precision = model, precision
        self.outputs = frozenset({LOGITS})

    def run(
        self,
        output: str,
        batch: Batch,
        positions: IntArray | None = None,  # noqa: ARG002 - one
    ) -> FloatArray:
        """Return the logits (B, L), float32."""
        return self.run_several([output], batch)[0]

    @torch.inference_mode()
    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return them as often as they are asked for."""
        self._model.eval()
        device = self._model.device
        ids, mask, types = (
            torch.from_numpy(part).to(device) for part in (batch.ids, batch.mask, batch.types)
        )
        with autocast(self._precision, device):
            found = self._model(input_ids=ids, attention_mask=mask, token_type_ids=types)
        value: FloatArray = found.logits.float().cpu().numpy()
        return [value for _ in outputs]


def their_model(run: Finetuning) -> Any:
    """Return a `transformers.BertForSequenceClassification` with the very weights of a run."""
    import transformers

    config = transformers.BertConfig(**run.model.config.to_json())
    model = transformers.BertForSequenceClassification(config)
    weights = {name: torch.from_numpy(w) for name, w in run.model.to_huggingface().items()}
    missing, unknown = model.load_state_dict(weights, strict=False)
    if unknown or missing:
        raise RunError(
            f"transformers {transformers.__version__} calls the weights otherwise than we do: "
            f"{[*unknown, *missing][0]}",
            hint="pip install another version of transformers, or give --no-transformers",
        )
    return model


def _our_run(course: FinetuneCourse, world: World) -> Finetuning:
    return Finetuning(course.settings, course.prepared(), Path(), world, Sitting(workers=0))


def _first_loss(session: Any, judge: Judge, encoded: Encoded) -> float:
    """Return the loss of the first examples, without dropout."""
    rows = np.arange(min(32, len(encoded.sequences)))
    logits = session.run(LOGITS, encoded.sequences.batch(rows, judge.encoder.pad_id))
    targets = torch.from_numpy(encoded.targets[rows].astype(np.int64))
    return float(functional.cross_entropy(torch.from_numpy(logits), targets))


def _training_arguments(
    course: FinetuneCourse, run: Finetuning, device: torch.device, scratch: str
) -> Any:
    """Return the Trainer's settings: those of the fine-tuning, its own defaults for all else."""
    import transformers

    settings, schedule = course.settings, run.course
    computed_in = computing_type(settings.precision, device)
    return transformers.TrainingArguments(
        output_dir=scratch,
        max_steps=course.length,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=warm_up_steps(course),
        weight_decay=settings.weight_decay,
        adam_beta1=schedule.beta1,
        adam_beta2=schedule.beta2,
        adam_epsilon=schedule.epsilon,
        max_grad_norm=settings.clip_norm,
        optim="adamw_torch_fused",
        bf16=computed_in == torch.bfloat16,
        fp16=computed_in == torch.float16,
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def warm_up_steps(course: FinetuneCourse) -> int:
    """Return the steps over which the learning rate rises."""
    return round(course.settings.warmup_share * course.length)
