"""Size against score: one float model in several budgets of bytes, and beside other quantizers.

Each point is a whole folder, written, weighed and judged by its very file. OUT/pareto.json has the
points and grows with them: the same command goes on where it was stopped. OUT/models keeps the
folders, OUT/pareto.png is the picture.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bert_mobile import __version__
from bert_mobile.checkpoint import WEIGHTS, read_weights
from bert_mobile.errors import ArtifactError, InputError, MissingExtraError
from bert_mobile.evaluate.asked import open_subject
from bert_mobile.evaluate.figures import Question, figures_of
from bert_mobile.evaluate.latency import Latency, latencies
from bert_mobile.evaluate.peers import PEERS, Peer, write_peer
from bert_mobile.files import (
    atomic_file,
    begin_part,
    place_folder,
    read_json,
    refuse_foreign_folder,
    sha256,
    write_json,
)
from bert_mobile.machine import processor
from bert_mobile.model.config import BertConfig
from bert_mobile.progress import progress
from bert_mobile.quantize import quantize
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.quantize.text import lines_of
from bert_mobile.tokenizer import TOKENIZER_FILES

BUDGETS = (12_000_000, 15_000_000, 18_000_000, 20_000_000, 25_000_000, 37_000_000)

RECORD, PICTURE, MODELS = "pareto.json", "pareto.png", "models"

OURS, FLOAT = "bert-mobile", "float32"


@dataclass(frozen=True)
class Point:
    """One model of one size."""

    name: str
    """Who made it: `OURS`, `FLOAT` or a peer."""
    budget: int | None
    """What was asked for, of ours."""
    bytes: int
    """Of the whole folder, tokenizer included; of the float model, its weights and tokenizer."""
    seconds: float
    """That making it took."""
    asked: str
    examples: int
    figures: dict[str, float]
    """The main one first."""
    latency: list[Latency] = field(default_factory=list)

    @property
    def main(self) -> float:
        """The figure that decides."""
        return next(iter(self.figures.values()))


@dataclass(frozen=True)
class Pareto:
    """What a run has found."""

    model: str
    points: tuple[Point, ...]
    notes: tuple[str, ...]
    """Budgets that nothing meets, peers that are not installed."""
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class _Job:
    """One model to be made."""

    name: str
    budget: int | None
    place: Path
    make: Callable[[Path], None]


def pareto(
    folder: Path,
    question: Question,
    out: Path,
    *,
    budgets: Sequence[int] = BUDGETS,
    calibration: Path | None = None,
    peers: bool = False,
    threads: int | None = None,
) -> Pareto:
    """Make and judge everything that is not in OUT yet, float model first, and draw the picture.

    Raises `InputError` where `out` holds the points of another model, question or calibration text,
    and as `figures_of` and `quantize` do.
    """
    refuse_foreign_folder(out, _is_record, inputs=[folder])
    read_weights(folder, BertConfig.read(folder))  # refuses what is no float checkpoint
    if calibration is not None:
        lines_of(calibration)  # and what is no text
    known = {
        "kind": "pareto",
        "model": {"name": folder.name, "sha256": sha256(folder / WEIGHTS)},
        "question": _told_apart(question),
        "calibration": None if calibration is None else sha256(calibration),
    }
    record = _record(out, known)
    jobs = [*_ours(folder, out, budgets, calibration), *(_theirs(folder, out) if peers else ())]
    points = {(each["name"], each["budget"]): each for each in record["points"]}
    notes: list[str] = []
    with progress("pareto", len(jobs) + 1, "models") as bar:
        if (FLOAT, None) not in points:
            points[FLOAT, None] = asdict(_judged(FLOAT, None, folder, 0.0, question, threads))
            _write(out, known, points.values())
        bar.advance()
        for job in jobs:
            if (job.name, job.budget) not in points and (made := _made(job, notes)) is not None:
                point = _judged(job.name, job.budget, job.place, made, question, threads)
                points[job.name, job.budget] = asdict(point)
                _write(out, known, points.values())
            bar.advance(note=job.name)
    _time(folder, jobs, points, threads)
    _write(out, known, points.values())
    found = tuple(sorted(map(_point, points.values()), key=lambda point: -point.bytes))
    _draw(out, found)
    return Pareto(folder.name, found, tuple(notes), out)


def _told_apart(question: Question) -> dict[str, Any]:
    """Return the question by the names and, where it is one file or corpus, the hash of its data.

    Where the data lies is no part of it: a run may go on on another machine.
    """
    data = question.data and Path(question.data)
    places = [Path(question.task), *([data, data / "manifest.json"] if data else [])]
    file = next((place for place in places if place.is_file()), None)
    return {
        "task": Path(question.task).name,
        "data": data and data.name,
        "pairs": question.pairs,
        "sha256": file and sha256(file),
    }


def _ours(
    folder: Path, out: Path, budgets: Sequence[int], calibration: Path | None
) -> Iterator[_Job]:
    for budget in sorted(budgets, reverse=True):

        def make(place: Path, budget: int = budget) -> None:
            quantize(folder, place, max_bytes=budget, calibration=calibration)

        yield _Job(OURS, budget, out / MODELS / f"{OURS}-{budget}", make)


def _theirs(folder: Path, out: Path) -> Iterator[_Job]:
    for peer in PEERS:

        def make(place: Path, peer: Peer = peer) -> None:
            scratch = begin_part(place)
            try:
                scratch.rmdir()
                write_peer(peer, folder, scratch)
                place_folder(scratch, place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

        yield _Job(peer.name, None, out / MODELS / _spelled(peer.name), make)


def _made(job: _Job, notes: list[str]) -> float | None:
    """Make a model; return the seconds it took, None (and a note) where it cannot be made."""
    began = time.monotonic()
    try:
        job.make(job.place)
    except InputError as error:
        if job.budget is None or "--max-bytes" not in error.message:
            raise
        notes.append(f"{job.budget:,} bytes: {error.message}")
        return None
    except MissingExtraError as error:
        notes.append(f"{job.name}: {error.message}; {error.hint}")
        return None
    return time.monotonic() - began


def _judged(
    name: str,
    budget: int | None,
    place: Path,
    seconds: float,
    question: Question,
    threads: int | None,
) -> Point:
    [found] = figures_of([place], question, threads=threads)
    size = _float_bytes(place) if name == FLOAT else folder_bytes(place)
    return Point(
        name, budget, size, round(seconds, 2), found.asked, found.examples, found.figures
    )  # fmt: skip


def _float_bytes(folder: Path) -> int:
    """Return what the float model would weigh in float32, tokenizer included; see `Point`."""
    weights = read_weights(folder, BertConfig.read(folder))
    files = sum(
        (folder / name).stat().st_size for name in TOKENIZER_FILES if (folder / name).is_file()
    )
    return files + sum(weight.nbytes for weight in weights.values())


def _time(
    folder: Path,
    jobs: Sequence[_Job],
    points: dict[tuple[str, int | None], dict[str, Any]],
    threads: int | None,
) -> None:
    """Measure the latency of all models in one run, in turns, and put it into their points."""
    places: dict[tuple[str, int | None], Path] = {(FLOAT, None): folder}
    places |= {(job.name, job.budget): job.place for job in jobs if job.place.is_dir()}
    subjects = {
        key: open_subject(place, threads=threads) for key, place in places.items() if key in points
    }
    config = subjects[FLOAT, None].config
    names = {str(key): subject.session for key, subject in subjects.items()}
    for key, found in zip(subjects, latencies(names, config).values(), strict=True):
        points[key]["latency"] = [asdict(each) for each in found]


def _point(value: dict[str, Any]) -> Point:
    return Point(**{**value, "latency": [Latency(**each) for each in value["latency"]]})


def _record(out: Path, known: dict[str, Any]) -> dict[str, Any]:
    if not (out / RECORD).is_file():
        return {"points": []}
    record = read_json(out / RECORD, "the points of a pareto run")
    for name, value in known.items():
        if record.get(name) != value:
            raise InputError(
                f"{out} holds the points of another {name}, expected the same one",
                hint="give a new --out",
            )
    return record


def _write(out: Path, known: dict[str, Any], points: Any) -> None:
    facts = {"code": f"bert-mobile {__version__}", "machine": processor()}
    write_json(out / RECORD, {**known, **facts, "points": list(points)})


def _is_record(folder: Path) -> bool:
    try:
        return read_json(folder / RECORD, "the points of a pareto run").get("kind") == "pareto"
    except ArtifactError:
        return False


def _spelled(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _draw(out: Path, points: Sequence[Point]) -> None:
    """Draw size against score: ours as a line, others as dots, the float model's score dashed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("no picture is drawn: matplotlib is not installed", stacklevel=3)
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    ours = [point for point in points if point.name == OURS]
    axes.plot(
        [point.bytes / 1e6 for point in ours], [point.main for point in ours], "o-",
        color="#2d5f8b", label=OURS,
    )  # fmt: skip
    for place, point in enumerate(point for point in points if point.name not in (OURS, FLOAT)):
        axes.plot(point.bytes / 1e6, point.main, "sD^vPX*"[place % 7], label=point.name)
    for point in points:
        if point.name == FLOAT:
            label = f"float32, {point.bytes / 1e6:.0f} MB"
            axes.axhline(point.main, color="#40454d", linestyle="--", label=label)
    name = next(iter(points[0].figures)).replace("_", " ")
    axes.set(xlabel="megabytes, the whole folder", ylabel=f"{points[0].asked}: {name}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_file(out / PICTURE) as scratch:
        figure.savefig(scratch, format="png", dpi=110)
