"""The exported folder: what a target wrote, and what every client needs beside it.

config.json  tokenizer.json  vocab.txt  tokenizer_config.json
onnx/… openvino/… and so on  what the target wrote, at its place
proof.json  proof.png        what was measured on it, in another process
README.md                    a short card, the parent's behind it
index.html  page/…           web: the page that answers in the browser; see `page`
provenance.json              target, width, parents, SHA-256 of each file above
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.checkpoint import CARD, ancestry, copy_tokenizer, made_as, write_provenance
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.export.card import card
from bert_mobile.export.source import Source, read_source
from bert_mobile.export.table import TARGETS
from bert_mobile.export.target import FLOAT32, MIX, Target
from bert_mobile.files import atomic_folder, refuse_foreign_folder, write_json
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.runtime.engines import ENGINES

if TYPE_CHECKING:
    from bert_mobile.export.proof import Proving

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
    `InputError` where the target cannot hold the head or the width, `MissingExtraError` where its
    package is missing, `ArtifactError` where `folder` is no model or `out` holds something else,
    `RunError` where the disk is full or the artifact does not answer; `out` is then as it was.
    """
    target = target_of(to)
    refuse_foreign_folder(out, made_as(KIND), inputs=[folder])
    width = width or (MIX if (folder / QUANTIZED).is_file() else FLOAT32)
    target.check_installed()
    source = read_source(folder)
    target.check(source, width)
    with atomic_folder(out) as scratch:
        notes = tuple(target.write(source, width, scratch) or ())
        if not (scratch / target.places[width]).exists():
            raise ArtifactError(
                f"{to} wrote no {target.places[width]}, expected it to", hint="report this"
            )
        model_bytes = _bytes(scratch)
        facts = _write_beside(scratch, source, target, width, notes)
        proof = _proven(scratch, width, facts, proving)
        size = _bytes(scratch)
        return Exported(to, width, out, target.places[width], size, model_bytes, notes, proof)


def _proven(
    folder: Path, width: str, facts: dict[str, Any], proving: "Proving | None"
) -> dict[str, Any] | None:
    """Prove what was written, and take the proof into the manifest.

    None where nothing here opens it, as with Core ML; its writer's notes say so.
    """
    if proving is None or all(engine.place != facts["model"] for engine in ENGINES):
        return None
    from bert_mobile.export.proof import prove

    found = prove(folder, width, proving).facts
    write_provenance(folder, facts)
    return found


def target_of(name: str) -> Target:
    """Return a target by name; raises `InputError` where there is none of it."""
    if name not in TARGETS:
        raise InputError(
            f"there is no target called {name!r}, expected one of {', '.join(TARGETS)}",
            hint="bert-mobile export --help",
        )
    return TARGETS[name]


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
