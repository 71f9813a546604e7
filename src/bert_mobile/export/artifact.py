"""The exported folder: what a target wrote, and what every client needs beside it.

config.json  tokenizer.json  vocab.txt  tokenizer_config.json
onnx/… openvino/… and so on  what the target wrote, at its place
proof.json  proof.png        what was measured on it, in another process
README.md                    a short card, the parent's behind it
index.html  page/…           web: the page that answers in the browser; see `page`
provenance.json              target, width, parents, SHA-256 of each file above
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.checkpoint import CARD, ancestry, copy_tokenizer, made_as, write_provenance
from bert_mobile.errors import ArtifactError, BertMobileError, InputError, RunError
from bert_mobile.export.card import card
from bert_mobile.export.source import Source, read_source
from bert_mobile.export.table import TARGETS
from bert_mobile.export.target import Target, usual_width
from bert_mobile.files import atomic_folder, refuse_foreign_folder, write_json
from bert_mobile.runtime.engines import ENGINES
from bert_mobile.runtime.engines.files import in_one_line

if TYPE_CHECKING:
    from bert_mobile.export.proof import Proving
    from bert_mobile.judging.figures import Figures

KIND = "exported model"
"""What provenance calls the result."""


@dataclass(frozen=True)
class Exported:
    """What `export` made."""

    target: str
    width: str
    folder: Path
    place: str
    """The model's file within the folder."""
    bytes: int
    """Of all files of the folder."""
    model_bytes: int
    """Of what the target wrote."""
    notes: tuple[str, ...]
    """What could not be carried over as it was."""
    proof: dict[str, Any] | None = None
    """What its proof found; None where none was asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "folder": str(self.folder)}


def export(
    folder: Path,
    to: str,
    out: Path,
    *,
    width: str | None = None,
    proving: "Proving | None" = None,
) -> Exported:
    """Write the model in `folder` to `out` for the target `to`.

    `width` is one of `target.WIDTHS`; None stands for `mix` of a quantized folder and `float32` of
    a float checkpoint. With `proving` the artifact is opened again and measured (see `proof`)
    before it gets its name; one that lost more than it may is kept, and its proof says so. Raises
    `InputError` where the target cannot hold the head or the width, or there is nothing to prove it
    by, `MissingExtraError` where its package is missing, `ArtifactError` where `folder` is no model
    or `out` holds something else, `RunError` where the disk is full, the target's converter fails
    or the artifact does not answer; `out` is then as it was.
    """
    target = check_export(folder, to, out)
    source = read_source(folder)
    width = width or usual_width(source)
    target.check(source, width)
    judged = _reference_figures(source, target, proving)
    with atomic_folder(out) as scratch:
        notes = (*_written(source, target, width, scratch), *_not_asked(target, proving))
        if not (scratch / target.places[width]).exists():
            raise ArtifactError(
                f"{to} wrote no {target.places[width]}, expected it to", hint="report this"
            )
        model_bytes = _bytes(scratch)
        facts = _write_beside(scratch, source, target, width, notes)
        proof = _proven(scratch, width, facts, proving, judged)
        size = _bytes(scratch)
        return Exported(to, width, out, target.places[width], size, model_bytes, notes, proof)


def _written(source: Source, target: Target, width: str, folder: Path) -> tuple[str, ...]:
    """Let the target write; what its converter raises becomes a `RunError`."""
    try:
        return tuple(target.write(source, width, folder) or ())
    except (BertMobileError, OSError, MemoryError):
        raise
    except Exception as error:
        free = shutil.disk_usage(folder).free / 1e6
        raise RunError(
            f"{target.name} failed to write {source.folder}: {in_one_line(error)}",
            hint=f"--debug shows where; {free:,.0f} MB are free there; or choose another --to",
        ) from error


def _not_asked(target: Target, proving: "Proving | None") -> tuple[str, ...]:
    """Say that a task was named in vain."""
    if proving is None or proving.question is None or target.is_judged:
        return ()
    return (f"not judged by {proving.question.task}: nothing here gives {target.name}'s answers",)


def _reference_figures(
    source: Source, target: Target, proving: "Proving | None"
) -> "Figures | None":
    """Judge what the artifact will be compared with; None where there is no task to ask of it."""
    if proving is None:
        return None
    from bert_mobile.export.proof import reference_figures

    asked = proving if target.is_judged else replace(proving, question=None)
    return reference_figures(asked, source.config)


def _proven(
    folder: Path,
    width: str,
    facts: dict[str, Any],
    proving: "Proving | None",
    judged: "Figures | None",
) -> dict[str, Any] | None:
    """Prove what was written, and take the proof into the manifest.

    None where nothing here opens it, as with Core ML; its writer's notes say so.
    """
    if proving is None or all(engine.place != facts["model"] for engine in ENGINES):
        return None
    from bert_mobile.export.proof import prove

    found = prove(folder, width, proving, judged)
    write_provenance(folder, facts)
    return found


def check_export(folder: Path, to: str, out: Path) -> Target:
    """Return the target `to`, once it is sure that it can write from `folder` to `out`.

    Raises as `export` does, of what can be told before the model is read.
    """
    if to not in TARGETS:
        raise InputError(
            f"there is no target called {to!r}, expected one of {', '.join(TARGETS)}",
            hint="bert-mobile export --help",
        )
    refuse_foreign_folder(out, made_as(KIND), inputs=[folder])
    TARGETS[to].check_installed()
    return TARGETS[to]


def _write_beside(
    folder: Path, source: Source, target: Target, width: str, notes: Sequence[str]
) -> dict[str, Any]:
    """Write all files that stand beside what the target wrote; return what provenance says."""
    write_json(folder / "config.json", source.config.to_json())
    copy_tokenizer(source.folder, folder)
    text = card(source, target.name, width, target.places[width], notes)
    (folder / CARD).write_text(text, encoding="utf-8")
    if target.name == "web":
        from bert_mobile.page import write_site

        write_site(folder)
    facts = {
        "kind": KIND,
        "target": target.name,
        "width": width,
        "model": target.places[width],
        "notes": list(notes),
        "parents": ancestry(source.folder, source.file),
    }
    write_provenance(folder, facts)
    return facts


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
