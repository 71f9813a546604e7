"""Where a run stands, on disk: enough to go on to the very same weights, and never a pickle.

    OUT/checkpoints/step-00000500/   a whole checkpoint, and beside it
        training.json                counters, the recipe's and the corpus's fingerprints
        optimizer.safetensors        all that the optimizers remember of every parameter

The order of the data and the dropout masks are functions of the step, so nothing random is stored.
A folder appears whole or not at all, and carries the hash of each of its files.
"""

import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from bert_mobile import checkpoint
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import atomic_folder, read_json, write_json
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining, BertForTask
from bert_mobile.train.devices import World

CHECKPOINTS, COUNTERS, OPTIMIZER = "checkpoints", "training.json", "optimizer.safetensors"
BESIDE = ("best.json", "best.safetensors")
"""What a purpose that keeps its best weights writes beside that (see `finetune`)."""
KEPT = 2

Network = BertForPretraining | BertForTask


class DamagedCheckpointWarning(UserWarning):
    """The newest checkpoint cannot be used; the run goes on from the one before."""


@dataclass
class Position:
    """How far a run has come."""

    step: int = 0
    phase: int = 0
    phase_step: int = 0
    """Steps taken since the phase began: the number of the next batch."""
    tokens: int = 0
    """Tokens read, padding not counted."""
    seconds: float = 0.0
    """Time the run has taken, all its sittings together."""
    rewarmed_at: int = 0
    """Step at which the optimizers began to remember: 0, or that of the weights alone from which
    the run went on."""
    loss_scale: dict[str, Any] = field(default_factory=dict)
    """State of the scaler of float16 losses; empty in other precisions."""


@dataclass(frozen=True)
class Identity:
    """What must be the same for a run to be resumed; its children have the fields, all hashes."""

    def refuse_another(self, record: Mapping[str, Any], where: Path) -> None:
        """Raise `InputError` where `record` is that of a run that differs in one of the fields."""
        for name, ours in asdict(self).items():
            if record.get(name) != ours:
                raise InputError(
                    f"{where} was begun with another {name}, expected the same one",
                    hint=f"resume with the {name} the run began with, or give a new --out",
                )


@dataclass(frozen=True)
class RunIdentity(Identity):
    """That of a pre-training."""

    recipe: str
    corpus: str


@dataclass(frozen=True)
class RoundedIdentity(RunIdentity):
    """That of one with rounded weights, which goes on learning from its parent."""

    parent: str


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on."""

    position: Position
    folder: Path
    """The checkpoint it goes on from."""


def save(
    out: Path,
    position: Position,
    identity: Identity,
    model: Network,
    optimizers: Sequence[Optimizer],
    tokenizer: Path,
    facts: Mapping[str, Any],
    *,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint of the run and let go of all but the last two.

    `beside` writes what else the run's purpose needs to go on into the folder that it is given.
    """
    with atomic_folder(folder_of(out, position.step)) as scratch:
        if beside is not None:
            beside(scratch)
        write_json(scratch / COUNTERS, {**asdict(position), **asdict(identity)})
        checkpoint.write_tensors(scratch / OPTIMIZER, _memories(model, optimizers))
        weights = model.to_huggingface()
        checkpoint.write_checkpoint(scratch, model.config, weights, tokenizer, facts)
    for old in saved(out)[:-KEPT]:
        shutil.rmtree(old)


@contextmanager
def finished(out: Path) -> Iterator[Path]:
    """Yield a folder for the finished model; its files end up in `out` itself, provenance last."""
    made = out / "finished"
    with atomic_folder(made) as scratch:
        yield scratch
    (out / checkpoint.PROVENANCE).unlink(missing_ok=True)
    for file in sorted(made.iterdir(), key=lambda f: f.name == checkpoint.PROVENANCE):
        file.replace(out / file.name)
    made.rmdir()


def folder_of(out: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return out / CHECKPOINTS / f"step-{step:08d}"


def saved(out: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, oldest first."""
    return sorted((out / CHECKPOINTS).glob("step-*"))


def tidy(out: Path, step: int) -> None:
    """Delete what a crash left of a save, and damaged checkpoints newer than `step`."""
    folder = out / CHECKPOINTS
    leftovers = [*folder.glob(".step-*.part"), *folder.glob(".step-*.old")]
    for path in [*leftovers, *(each for each in saved(out) if each > folder_of(out, step))]:
        shutil.rmtree(path)


def resume(
    out: Path, identity: Identity, model: Network, optimizers: Sequence[Optimizer]
) -> Resumed | None:
    """Load the newest good checkpoint into `model` and `optimizers`; None where there is none.

    A damaged one is passed over with a `DamagedCheckpointWarning`. Raises `ArtifactError` where all
    are damaged, `InputError` where the run began with another recipe or corpus.
    """
    folders = saved(out)
    for folder in reversed(folders):
        try:
            return Resumed(_load(folder, identity, model, optimizers), folder)
        except ArtifactError as error:
            warnings.warn(
                f"{error.message}; trying the checkpoint before it",
                DamagedCheckpointWarning,
                stacklevel=2,
            )
    if folders:
        raise ArtifactError(
            f"none of the {len(folders)} checkpoints in {out / CHECKPOINTS} is whole",
            hint="begin the run anew in another --out",
        )
    return None


def go_on_from(folder: Path, identity: Identity, model: Network) -> Resumed:
    """Load the weights of a run into `model`, at the place in the run where they were saved.

    What the optimizers remembered is not needed (and not there, in a published folder): they begin
    anew, and the learning rate rises anew. Raises `ArtifactError` where the folder is damaged or
    tells of no run, `InputError` where that is one with another recipe or corpus.
    """
    record = read_json(folder / checkpoint.PROVENANCE, "a provenance record").get("run")
    if not isinstance(record, dict):
        raise ArtifactError(
            f"{folder} tells of no run to go on with, expected what `bert-mobile pretrain` wrote",
            hint="name it as initialize_from in a recipe, to begin a new run with its weights",
        )
    identity.refuse_another(record, folder)
    checkpoint.verify(folder, [checkpoint.WEIGHTS, "config.json"])
    model.from_huggingface(checkpoint.read_weights(folder, BertConfig.read(folder)))
    position = _position(record.get("position"), folder)
    position.rewarmed_at = position.step
    return Resumed(position, folder)


def refuse_apart(world: World, position: Position) -> None:
    """Raise `RunError` where processes would go on from different places.

    Nothing is written before all have come here, and so have looked at what was there.
    """
    steps, squares = world.total([position.step, position.step**2])
    if steps**2 != world.size * squares:
        raise RunError(
            f"the first process goes on from step {position.step}, another one from elsewhere",
            hint="give all machines the same --out, on a file system they share",
        )


def _load(
    folder: Path,
    identity: Identity,
    model: Network,
    optimizers: Sequence[Optimizer],
) -> Position:
    if not (folder / checkpoint.PROVENANCE).is_file():
        raise ArtifactError(f"{folder} has no {checkpoint.PROVENANCE}", hint="delete it")
    checkpoint.verify(folder, [COUNTERS, OPTIMIZER, checkpoint.WEIGHTS, "config.json", *BESIDE])
    counters = read_json(folder / COUNTERS, "the counters of a training run")
    identity.refuse_another(counters, folder.parent.parent)
    position = _position({k: v for k, v in counters.items() if k not in asdict(identity)}, folder)
    model.from_huggingface(checkpoint.read_weights(folder, BertConfig.read(folder)))
    _remember(model, optimizers, load_file(folder / OPTIMIZER))
    return position


def _position(counters: Any, where: Path) -> Position:
    """Read the counters of a run; raises `ArtifactError` where they are none."""
    try:
        position = Position(**counters)
        sound = all(value >= 0 for value in vars(position).values() if not isinstance(value, dict))
    except TypeError:
        sound = False
    if not sound:
        raise ArtifactError(
            f"{where} holds no counters of a training run", hint="the folder is damaged"
        )
    return position


def _memories(
    model: nn.Module, optimizers: Sequence[Optimizer]
) -> dict[str, checkpoint.FloatArray]:
    """Return every tensor that an optimizer keeps, as `parameter/what`."""
    kept = {id(p): state for each in optimizers for p, state in each.state.items()}
    return {
        f"{name}/{what}": tensor.detach().float().cpu().numpy()
        for name, parameter in model.named_parameters()
        for what, tensor in kept.get(id(parameter), {}).items()
    }


def _remember(
    model: nn.Module, optimizers: Sequence[Optimizer], memories: Mapping[str, torch.Tensor]
) -> None:
    owners = {id(p): each for each in optimizers for g in each.param_groups for p in g["params"]}
    parameters = dict(model.named_parameters())
    for key, tensor in memories.items():
        name, what = key.split("/")
        parameter = parameters[name]
        # Copied: what was read is the file itself, mapped into memory, that will be deleted.
        copied = tensor.to(parameter.device, copy=True)
        owners[id(parameter)].state[parameter][what] = copied
