"""One fine-tuning from beginning to end, or from where it stopped."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from bert_mobile import checkpoint
from bert_mobile.carbon import settings_from_environment
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import held, read_json, refuse_foreign_folder, write_json
from bert_mobile.labelled import LabelledText
from bert_mobile.model.config import BertConfig
from bert_mobile.runtime.sessions import open_session
from bert_mobile.train import state
from bert_mobile.train.devices import World, hardware, joined_world, local_processes
from bert_mobile.train.emissions import Meter
from bert_mobile.train.finetune.prepared import Data, Prepared, prepare
from bert_mobile.train.finetune.rounded import calibration_text, rounding_of
from bert_mobile.train.finetune.run import Finetuning
from bert_mobile.train.finetune.settings import SHAPELESS, FinetuneSettings
from bert_mobile.train.loop import train
from bert_mobile.train.optimizers import make_optimizers
from bert_mobile.train.record import Line, Panel, draw_curve
from bert_mobile.train.rounded import BEFORE, QUANTIZED
from bert_mobile.train.sitting import Sitting
from bert_mobile.train.state import Position

SETTINGS = "finetune.json"


@dataclass(frozen=True)
class FinetuneReport:
    """How a fine-tuning ended."""

    folder: Path
    resumed_from: int | None
    """Step of the checkpoint that the run went on from."""
    complete: bool
    """Whether the run is over; if not, a checkpoint to go on from is in `folder`."""
    step: int
    """Steps taken."""
    best_step: int
    """Step of the weights that were shipped."""
    metric: str
    """The main one, that decides which weights are best."""
    figures: dict[str, float]
    """Every metric of the dev examples, of the best weights, from 0 to 1."""
    labels: tuple[str, ...]
    texts: int
    """Of an example: 1, or 2 of a pair."""
    quantized: dict[str, float] | None
    """The same of the quantized model in `folder`/quantized, by its very file, where the run was to
    end in one."""
    seconds: float
    """Time the run has taken, all its sittings together; reading and checking not counted."""
    told: tuple[str, ...]
    """What was guessed or noticed, a line each."""
    rank: int = 0
    """Which process of the run tells this: only the first has written anything."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {**asdict(self), "folder": str(self.folder)}


def finetune(
    settings: FinetuneSettings,
    out: Path,
    *,
    resume: bool = False,
    sitting: Sitting | None = None,
    data: Data | None = None,
    prepared: Prepared | None = None,
    tell: Callable[[str], None] | None = None,
) -> FinetuneReport:
    """Fine-tune, or go on with it, and leave a checkpoint that transformers reads in `out`.

    `data` takes the place of the settings' files; `prepared`, what `prepare` made of both for a run
    of another seed or learning rate, spares reading them again. `resume` is whether to go on from
    the last good checkpoint in `out`, if there is one; of a run that is over, its report is
    returned. `tell` is given what was guessed, before training starts. Under `torchrun`, every
    process calls this, and the first one writes.

    Raises `InputError` where settings, model and data do not fit together, an example cannot be
    learned from, or `out` holds a run already; `RunError` where the run cannot go on.
    """
    inputs = [Path(p) for p in (settings.model, settings.teacher) if p and Path(p).is_dir()]
    refuse_foreign_folder(out, _is_run, inputs=inputs)
    _refuse_other_run(settings, out, resume=resume)
    prepared = prepared or prepare(settings, data)
    if tell:
        for line in prepared.told:
            tell(line)
    with joined_world() as world:
        if settings.qat:
            _begin_rounded(settings, prepared, out, world)
        run = Finetuning(settings, prepared, out, world, sitting or Sitting())
        if (out / checkpoint.PROVENANCE).is_file():
            return _finished(run)
        if not world.is_first:
            return _trained(run, resume=resume)
        with held(out / state.CHECKPOINTS):
            write_json(out / SETTINGS, asdict(settings))
            return _trained(run, resume=resume)


def _begin_rounded(settings: FinetuneSettings, prepared: Prepared, out: Path, world: World) -> None:
    """Let the first process choose the layout of the quantized model; the others wait for it.

    The settings come after it: where the model does not fit, others may be tried in the same place.
    """
    if world.is_first:
        rounding = rounding_of(settings, prepared, out)
        with held(out / state.CHECKPOINTS):
            if not ((out / SETTINGS).is_file() and rounding.has_layout):
                rounding.make_layout(calibration_text(settings, prepared))
            write_json(out / SETTINGS, asdict(settings))
    world.total([0.0])


def _trained(run: Finetuning, *, resume: bool) -> FinetuneReport:
    """Train to the end of the run or of its sitting."""
    optimizers = make_optimizers(run.model, run.course)
    found = state.resume(run.out, run.identity, run.model, optimizers) if resume else None
    position = found.position if found else Position()
    emissions = None
    if found:
        run.restore_best(found.folder)
        record = read_json(found.folder / checkpoint.PROVENANCE, "a provenance record")
        emissions = record.get("emissions")
    run.meter = _meter(run.world, emissions)
    state.refuse_apart(run.world, position)
    resumed_from = position.step if found else None
    if not run.world.is_first:
        train(run, run.course, optimizers, position, run.out, run.world, run.sitting)
        return _report(run, position, resumed_from)
    state.tidy(run.out, position.step)
    with run.meter:
        train(run, run.course, optimizers, position, run.out, run.world, run.sitting)
        if run.is_complete(position):
            run.write_result(position)
    draw_curve(run.out, run.out.name, _panels(run))
    return _report(run, position, resumed_from, quantized=_quantized(run, position))


def _quantized(run: Finetuning, position: Position | None = None) -> dict[str, float] | None:
    """Write the quantized model of a run that is over, and judge that very file."""
    if run.rounding is None or not (position is None or run.is_complete(position)):
        return None
    run.rounding.finish()
    folder = run.out / QUANTIZED
    return run.prepared.judge.figures(open_session(folder, BertConfig.read(folder)))


def _meter(world: World, before: Any) -> Meter:
    on_cuda = world.device.type == "cuda"
    return Meter(
        settings_from_environment(),
        hardware=hardware(world.device),
        devices=world.size * (1 if on_cuda else torch.get_num_threads()),
        devices_here=local_processes() if on_cuda else None,
        before=before,
    )


def _report(
    run: Finetuning,
    position: Position,
    resumed_from: int | None,
    *,
    quantized: dict[str, float] | None = None,
    is_over: bool = False,
) -> FinetuneReport:
    judge, best = run.prepared.judge, run.best
    asked = judge.examples[0]
    return FinetuneReport(
        run.out,
        resumed_from,
        is_over or run.is_complete(position),
        position.step,
        best.step,
        judge.main,
        best.figures or {},
        judge.labels,
        len(asked.texts) if isinstance(asked, LabelledText) else 1,
        quantized,
        position.seconds,
        run.prepared.told,
        run.world.rank,
    )


def _finished(run: Finetuning) -> FinetuneReport:
    """Return the report of a run that is over. Raises `InputError` where it is another one."""
    record = read_json(run.out / checkpoint.PROVENANCE, "a provenance record")
    told = record["run"]
    run.identity.refuse_another(told, run.out)
    figures = dict(record["figures"])
    run.best.step, run.best.figures = int(figures.pop("step")), figures
    position = Position(**told["position"])
    return _report(run, position, position.step, quantized=_quantized(run), is_over=True)


def _panels(run: Finetuning) -> tuple[Panel, ...]:
    training = Panel("training loss", (Line("loss", "training", "#9db4c8"),), over="step")
    colors = ("#c0392b", "#2c7a4b", "#2d5f8b", "#8e6c1f")
    metrics = run.prepared.judge.metrics
    lines = [
        Line(f"dev_{name}", name.replace("_", " "), color, "o")
        for name, color in zip(metrics, colors, strict=False)
    ]
    return training, Panel("dev examples", tuple(lines), over="step")


def _refuse_other_run(settings: FinetuneSettings, out: Path, *, resume: bool) -> None:
    """Raise `InputError` where `out` holds a run, unless it is to be resumed, and is the same."""
    if not (out / SETTINGS).exists():
        return
    if not resume:
        raise InputError(
            f"{out} holds a run already", hint="go on with --resume auto, or give a new --out"
        )
    before = read_json(out / SETTINGS, "the settings of a fine-tuning")
    now = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
    usual = {field.name: field.default for field in fields(FinetuneSettings)}
    for name, value in now.items():
        if name not in SHAPELESS and before.get(name, usual[name]) != value:
            raise InputError(
                f"{out} was begun with {name} {before.get(name)}, not {value}",
                hint="resume with the settings the run began with, or give a new --out",
            )


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run of ours, finished or not, or killed as it began."""
    there = {path.name for path in folder.iterdir()}
    begun = {state.CHECKPOINTS, f".{SETTINGS}.part", *BEFORE}
    if there <= begun and not state.saved(folder):
        return True
    try:
        return {"kind", "class_weights"} <= read_json(folder / SETTINGS, "settings").keys()
    except ArtifactError:
        return False
