"""Sweeps: one baseline and its variations, run one after the other and judged on the same pairs.

A sweep is one complete TOML file whose first line is the command that runs it:

    seeds = [1, 2, 3]               # of the baseline: how far chance alone moves its figures
    [baseline]                      # a recipe, or baseline = "another.toml" beside this file
    …
    [[variations]]                  # each changes one thing
    group = "masking rate"
    name = "mask-30"
    change.phases.masking_rate = 0.3                    # a field of every phase
    [[variations]]
    group = "schedule"
    name = "plateau"
    change.decay_share = 0.2                            # a field of the recipe
    [[variations]]
    group = "masking rate"
    name = "mask-30-15"                                 # other phases: what they leave out is
    change.phases = [                                   # as in the baseline's
        { share = 0.85, masking_rate = 0.3 },
        { share = 0.15 },
    ]

OUT/NAME/       recipe.json, metrics.jsonl, curve.png and outcome.json of each run
OUT/sweep.json, README.md, sweep.png    all of them together (see `sweep_report`)
OUT/metrics.csv                         what each noted of its training

The same command goes on where an interrupted sweep stopped. A run whose loss is no number any more
is a row that says so; to try it again, delete its folder.
"""

import csv
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from bert_mobile import checkpoint
from bert_mobile.errors import InputError
from bert_mobile.files import (
    atomic_file,
    held,
    read_json,
    refuse_foreign_folder,
    sha256,
    write_json,
)
from bert_mobile.train import state
from bert_mobile.train.loop import GRADIENT_NORM, DivergedError
from bert_mobile.train.objective import FIGURES
from bert_mobile.train.pretrain import RECIPE, pretrain
from bert_mobile.train.recipe import Phase, Recipe, read_toml, recipe_of
from bert_mobile.train.record import read_metrics
from bert_mobile.train.sweep_report import BASELINE, SWEEP, summarize, write_report

OUTCOME, METRICS_TABLE = "outcome.json", "metrics.csv"

_SHOWN = re.compile(r"[a-z0-9][a-z0-9._-]*")
_UNCOMPARED = ("corpus", "log_every", "save_every")
"""What two runs that are compared need not have in common with what they were begun with."""

_NOTED = ("step", "tokens", "learning_rate", *FIGURES, GRADIENT_NORM, "tokens_per_second")
_FROM_PROVENANCE = ("hardware", "torch", "python", "code")


@dataclass(frozen=True)
class Run:
    """One training of a sweep."""

    name: str
    """Its folder."""
    variation: str
    """What it is a run of: the same for all its seeds."""
    group: str
    """What it is about; `baseline` for what the others are compared with."""
    changes: dict[str, list[str]]
    """Field → its value in the baseline and here."""
    recipe: Recipe
    """What is run."""


@dataclass(frozen=True)
class Variation:
    """One change of the baseline, as the file has it."""

    group: str
    """What it is about: a panel of the picture."""
    name: str
    """What it is called: a folder, so small letters, digits and `._-`."""
    change: dict[str, Any]
    """Field → value; a table `phases` changes a field of every phase, a list replaces them."""
    seeds: tuple[int, ...]
    """One run each."""


def read_sweep(path: Path, *, corpus: str | None = None) -> list[Run]:
    """Read a sweep's runs, those of the baseline first; `corpus` replaces that of the file.

    Raises `InputError` naming the variation where it does not make a recipe.
    """
    raw = read_toml(path)
    _known(raw, ("baseline", "seeds", "variations"), str(path))
    base = _baseline(raw, path)
    if corpus is not None:
        base = {**base, "corpus": corpus}
    plain = recipe_of(base, f"{path}, baseline")
    base.setdefault("seed", plain.seed)
    seeds = _seeds(raw.get("seeds", [plain.seed]), str(path))
    runs = [*_runs(BASELINE, Variation(BASELINE, BASELINE, {}, seeds), base, plain, str(path))]
    for variation in _variations(raw, seeds[:1], path):
        where = f"{path}, variation {variation.name!r}"
        made = [*_runs(variation.group, variation, base, plain, where)]
        if not made[0].changes:
            raise InputError(f"{where} changes nothing", hint="say under `change` what it changes")
        runs += made
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has {twice[0]!r} twice", hint="give every variation its own name")
    return runs


def sweep(
    path: Path, out: Path, *, corpus: str | None = None, keep_weights: bool = False
) -> dict[str, Any]:
    """Run a sweep, or go on with it; return what `OUT/sweep.json` holds.

    `keep_weights` leaves each run the checkpoint it ended with. Raises `InputError` where the file
    contradicts the runs that are in `out`, `RunError` where a run is interrupted.
    """
    runs = read_sweep(path, corpus=corpus)
    inputs = [Path(p) for r in runs for p in (r.recipe.corpus, r.recipe.initialize_from) if p]
    refuse_foreign_folder(out, lambda folder: (folder / SWEEP).is_file(), inputs=inputs)
    _refuse_contradictions(runs, out)
    with held(out):
        command = f"bert-mobile sweep {path} --out {out}" + (
            f" --corpus {corpus}" if corpus else ""
        )
        report = _report(command, runs, out)
        for run in runs:
            if not (out / run.name / OUTCOME).is_file():
                _run(run, out / run.name, keep_weights=keep_weights)
                report = _report(command, runs, out)
    return report


def _run(run: Run, folder: Path, *, keep_weights: bool) -> None:
    """Train and note how it ended; what a crash cuts short is done again by the next sitting."""
    ended: dict[str, Any] = {"status": "finished"}
    try:
        figures = pretrain(run.recipe, folder, resume=True).metrics
    except DivergedError as error:
        figures = (read_metrics(folder) or [{}])[-1]
        ended = {"status": "failed", "error": error.message}
    lines = read_metrics(folder)
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    made = folder / checkpoint.PROVENANCE
    provenance = read_json(made, "a run's provenance") if made.is_file() else {}
    outcome = {
        **ended,
        "corpus": _corpus_hash(run.recipe),
        **{key: provenance.get(key) for key in _FROM_PROVENANCE},
        **{key: figures.get(key) for key in ("step", "tokens", "seconds")},
        "tokens_per_second": median(speeds) if speeds else None,
        "held_out": [*_held_out(lines)],
    }
    write_json(folder / OUTCOME, outcome)
    if not keep_weights:
        _let_go(folder, provenance)


def _held_out(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a run, the last one alone where it was judged twice."""
    judged = {line["tokens"]: line for line in lines if "held_out_masked_token_loss" in line}
    for tokens, line in judged.items():
        yield {
            "tokens": tokens,
            "loss": round(line["held_out_masked_token_loss"], 5),
            "top_1": round(line["held_out_masked_token_accuracy"], 5),
            "next_sentence": round(line["held_out_next_sentence_accuracy"], 5),
        }


def _let_go(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Delete a run's checkpoints and weights; its record stays."""
    shutil.rmtree(folder / state.CHECKPOINTS, ignore_errors=True)
    for name in (*provenance.get("files", {}), checkpoint.PROVENANCE):
        (folder / name).unlink(missing_ok=True)


def _report(command: str, runs: list[Run], out: Path) -> dict[str, Any]:
    """Write all that is known of the sweep so far."""
    rows = []
    for run in runs:
        made = out / run.name / OUTCOME
        outcome = read_json(made, "a run's outcome") if made.is_file() else {"status": "to come"}
        row = {"name": run.name, "variation": run.variation, "group": run.group}
        rows.append({**row, "seed": run.recipe.seed, "changes": run.changes, **outcome})
    report = summarize(command, asdict(runs[0].recipe), rows)
    write_report(report, out)
    _tabulate_metrics(runs, out)
    return report


def _tabulate_metrics(runs: list[Run], out: Path) -> None:
    """Write the training figures of all runs into one table, a fifth of their JSON."""
    with (
        atomic_file(out / METRICS_TABLE) as scratch,
        scratch.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", *_NOTED))
        for run in runs:
            noted = [line for line in read_metrics(out / run.name) if "loss" in line]
            writer.writerows((run.name, *map(_short, (line[k] for k in _NOTED))) for line in noted)


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _refuse_contradictions(runs: list[Run], out: Path) -> None:
    """Raise `InputError` where a run in `out` was begun with something else than the file says."""
    for run in runs:
        folder = out / run.name
        if not (folder / RECIPE).is_file():
            continue
        began = recipe_of(read_json(folder / RECIPE, "a run's recipe"), str(folder / RECIPE))
        for field in fields(Recipe):
            before, now = getattr(began, field.name), getattr(run.recipe, field.name)
            if before != now and field.name not in _UNCOMPARED:
                raise InputError(
                    f"{folder} was run with {field.name} {before}, the sweep now says {now}",
                    hint="put the file back, delete that folder, or give a new --out",
                )
        if (folder / OUTCOME).is_file():
            corpus = read_json(folder / OUTCOME, "a run's outcome").get("corpus")
            if corpus != (_corpus_hash(run.recipe) or corpus):
                raise InputError(
                    f"{folder} was run on another corpus than {run.recipe.corpus} is now",
                    hint="bring the corpus back, or give a new --out",
                )


def _corpus_hash(recipe: Recipe) -> str | None:
    """Return what tells a corpus from others; None where it is gone."""
    manifest = Path(recipe.corpus) / "manifest.json"
    return sha256(manifest) if manifest.is_file() else None


def _baseline(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    base = raw.get("baseline")
    if isinstance(base, str):
        return read_toml(path.parent / base)
    if not isinstance(base, dict):
        raise InputError(
            f"{path} has no baseline", hint="write [baseline] and a recipe, or name its file"
        )
    return dict(base)


def _variations(raw: Mapping[str, Any], seeds: tuple[int, ...], path: Path) -> Iterator[Variation]:
    tables = raw.get("variations", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: variations is no list of tables", hint="write [[variations]]")
    for number, table in enumerate(tables, start=1):
        where = f"{path}, variation {table.get('name', number)!r}"
        _known(table, ("group", "name", "change", "seeds"), where)
        group, name, change = (table.get(key) for key in ("group", "name", "change"))
        if not isinstance(name, str) or not _SHOWN.fullmatch(name):
            raise InputError(
                f"{where}: name is {name!r}, expected small letters, digits and ._-",
                hint="the name becomes a folder",
            )
        if not isinstance(group, str) or not isinstance(change, dict):
            raise InputError(
                f"{where} has no group or no change", hint='write group = "…" and change.FIELD = …'
            )
        given = _seeds(table["seeds"], where) if "seeds" in table else seeds
        yield Variation(group, name, change, given)


def _runs(
    group: str, variation: Variation, base: Mapping[str, Any], plain: Recipe, where: str
) -> Iterator[Run]:
    """Yield a run for each seed of a variation; the first one has its very name."""
    changed = _changed(base, variation.change, where)
    for number, seed in enumerate(variation.seeds):
        recipe = recipe_of({**changed, "seed": seed}, where)
        before, now = _described(plain), _described(recipe)
        differing = {
            key: [before[key], now[key]]
            for key in now
            if before[key] != now[key] and key not in ("seed", "share")
        }
        name = variation.name if number == 0 else f"{variation.name}-seed-{seed}"
        yield Run(name, variation.name, group, differing, recipe)


def _changed(base: Mapping[str, Any], change: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the baseline's table with the changes of a variation."""
    raw = {**base, **change}
    before, phases = base["phases"], change.get("phases")
    if isinstance(phases, dict):
        raw["phases"] = [{**phase, **phases} for phase in before]
    elif isinstance(phases, list) and all(isinstance(phase, dict) for phase in phases):
        last = len(before) - 1
        raw["phases"] = [{**before[min(i, last)], **phase} for i, phase in enumerate(phases)]
    if "corpus" in change or "seed" in change:
        raise InputError(
            f"{where} changes corpus or seed, which all runs share",
            hint="write seeds = […], or another sweep",
        )
    budgets = {"steps", "tokens", "hours"}
    if budgets & change.keys():
        raw = {key: value for key, value in raw.items() if key in change or key not in budgets}
    return raw


def _described(recipe: Recipe) -> dict[str, str]:
    """Return every field as a reader wants it: one value, or one a phase where they differ."""
    plain = {key: _text(value) for key, value in asdict(recipe).items() if key != "phases"}
    for field in fields(Phase):
        values = [_text(getattr(phase, field.name)) for phase in recipe.phases]
        shares = [f"{phase.share:.0%}" for phase in recipe.phases]
        several = ", then ".join(f"{v} for {s}" for v, s in zip(values, shares, strict=True))
        plain[field.name] = several if len(set(values)) > 1 else values[0]
    return plain


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seeds(raw: object, where: str) -> tuple[int, ...]:
    if not isinstance(raw, list) or not raw or len({*map(str, raw)}) < len(raw):
        raise InputError(
            f"{where}: seeds is {raw!r}, expected a list of different numbers", hint="seeds = [1]"
        )
    return tuple(raw)


def _known(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    unknown = sorted(table.keys() - set(names))
    if unknown:
        raise InputError(
            f"{where}: {unknown[0]!r} is unknown, expected {', '.join(names)}",
            hint="fields of the recipe stand in [baseline], or under `change`",
        )
