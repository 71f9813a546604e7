"""What the making of a model has emitted: the records in its provenance, its parents' included.

Every run writes its own record (see `train.emissions`); a model made from another one keeps that
one's in the list of its parents. The whole lineage is the sum of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import PROVENANCE
from bert_mobile.errors import ArtifactError
from bert_mobile.files import read_json


@dataclass(frozen=True)
class RunEmissions:
    """The record of one run in a model's lineage."""

    model: str
    hours: float
    estimated_kwh: float
    estimated_kg: float
    """kg CO2eq by the Lacoste calculator."""
    measured_kwh: float | None
    """By energy counters; None where none could be read."""
    measured_kg: float | None
    measured_hours: float | None
    """Hours of the run in which counters were read."""
    measured_parts: str
    """What was read by which counter, or why nothing was."""
    factors: str
    """Those of the estimate."""


def read_emissions(folder: Path) -> list[RunEmissions]:
    """Return the records of a model or a run, oldest parent first, itself last.

    A run that is not finished has its record in its newest checkpoint. Raises `ArtifactError` where
    there is none; where the provenance tells hardware and hours, the hint says how to calculate.
    """
    path = _provenance(folder)
    own = read_json(path, "a provenance record")
    parents = own.get("parents")  # of another program's record: anything
    listed = parents if isinstance(parents, list) else []
    lineage = [(str(each.get("name")), each) for each in listed if isinstance(each, dict)]
    named = [*lineage, (folder.resolve().name, own)]
    try:
        found = [_run(name, each["emissions"]) for name, each in named if "emissions" in each]
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} has emissions that cannot be read: {error!r}",
            hint="another version of bert-mobile may have written them",
        ) from error
    if not found:
        raise ArtifactError(
            f"{path} says nothing of emissions, expected the record of a run", hint=_by_hand(own)
        )
    return found


def total(runs: Sequence[RunEmissions]) -> dict[str, float | None]:
    """Return the sums over a lineage; a measured one is None where no run was measured."""
    names = ("hours", "estimated_kwh", "estimated_kg", "measured_kwh", "measured_kg")
    columns = {name: [getattr(run, name) for run in runs] for name in (*names, "measured_hours")}
    known = {name: [v for v in values if v is not None] for name, values in columns.items()}
    return {name: sum(values) if values else None for name, values in known.items()}


def _provenance(folder: Path) -> Path:
    """Return the provenance record of a model, or of the newest checkpoint of a run."""
    if (folder / PROVENANCE).is_file():
        return folder / PROVENANCE
    newest = sorted(folder.glob(f"checkpoints/step-*/{PROVENANCE}"))
    return newest[-1] if newest else folder / PROVENANCE


def _run(name: str, record: dict[str, Any]) -> RunEmissions:
    estimated, measured = record["estimated"], record["measured"]
    parts = f"– ({record['reason']})"
    if measured is not None:
        read = (f"{p['part']}: {p['method']}" for p in measured["parts"] if p["measured"])
        parts = "; ".join(dict.fromkeys(read))
    return RunEmissions(
        model=name,
        hours=record["hours"],
        estimated_kwh=estimated["energy_kwh"],
        estimated_kg=estimated["kg"],
        measured_kwh=None if measured is None else measured["energy_kwh"],
        measured_kg=None if measured is None else measured["kg"],
        measured_hours=None if measured is None else measured["hours"],
        measured_parts=parts,
        factors="; ".join(
            f"{p['devices']} × {p['watts']:g} W ({p['hardware']}), {p['hours']:.3g} h, "
            f"PUE {p['pue']:g}, {p['kg_per_kwh']:g} kg/kWh ({p['region']})"
            for p in estimated["parts"]
        ),
    )


def _by_hand(record: dict[str, Any]) -> str:
    """Return a hint to calculate, with the figures of a run from before there were records."""
    figures = record.get("figures")
    seconds = figures.get("seconds") if isinstance(figures, dict) else None
    if isinstance(seconds, int | float) and isinstance(record.get("hardware"), str):
        hours = f"{seconds / 3600:.2f}"
        return f'bert-mobile emissions --hardware "{record["hardware"]}" --hours {hours}'
    return "bert-mobile emissions --hardware NAME --hours H"
