"""A training that ends in a quantized model: where its layout comes from, and its last step.

OUT/start        the float parent quantized as it is (`quantize`): the layout; gone at the end
OUT/quantized    the same layout with the numbers that were learned
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bert_mobile.checkpoint import PROVENANCE, WEIGHTS, ancestry, read_weights
from bert_mobile.errors import InputError, RunError
from bert_mobile.files import part_of, read_json, sha256
from bert_mobile.hub import find_model
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize import quantize, read_packed, repack
from bert_mobile.quantize.pack import FloatArray, Packed
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.quantize.text import lines_of
from bert_mobile.train import state
from bert_mobile.train.calibration import write_lines
from bert_mobile.train.quantized import starting_weights

START, QUANTIZED = "start", "quantized"

ROOM = 16_000
"""Bytes that the final folder's history is longer than the first one's, and more."""

_TEXT = "calibration.txt"

BEFORE = (START, _TEXT, part_of(Path(START)).name, part_of(Path(_TEXT)).name, f".{START}.lock")
"""What there may be in the folder of a run that ended before it began to train."""


def refuse_quantized(parent: Path) -> None:
    """Raise `InputError` where a parent is rounded already, `ArtifactError` where it is none."""
    if not (parent / WEIGHTS).is_file():
        find_model(parent)
        raise InputError(
            f"{parent} is quantized already, expected the float model it was made from",
            hint=f"name the folder with {WEIGHTS} that it was quantized from",
        )


@dataclass(frozen=True)
class Rounding:
    """The way of a run from a float model to a quantized one."""

    parent: Path
    """The float model: what is rounded, and whose answers are learned."""
    out: Path
    """The run's folder."""
    max_bytes: int
    """What the quantized model may weigh."""
    text: Path | None = None
    """The file that the layout is chosen by; None: lines of the training's own."""

    @cached_property
    def exact(self) -> Mapping[str, FloatArray]:
        """The parent's weights, float32 by Hugging Face name."""
        return read_weights(self.parent, BertConfig.read(self.parent))

    @cached_property
    def packed(self) -> Mapping[str, FloatArray | Packed]:
        """The tensors of the layout, by Hugging Face name."""
        return read_packed(self._layout)

    @property
    def has_layout(self) -> bool:
        """Whether the layout was chosen. Raises `InputError` where it was by another text."""
        if not self._layout.is_dir():
            return False
        if self.text is not None:
            lines_of(self.text)  # which refuses what is no text
            before = self._measured.get("calibration")
            if before is not None and before != sha256(self.text):
                raise InputError(
                    f"{self.out} was begun with another text than --calibration {self.text}",
                    hint="resume with the one it began with, or without, or give a new --out",
                )
        return True

    def make_layout(self, text: Path | Sequence[str]) -> None:
        """Quantize the parent, measured on a file of text or on lines.

        Raises `InputError` where it does not fit into the bytes; nothing is left behind then.
        """
        start = self.out / START
        try:
            if not isinstance(text, Path):
                write_lines(self.out / _TEXT, text)
                text = self.out / _TEXT
            quantize(self.parent, start, max_bytes=self.max_bytes, spare=ROOM, calibration=text)
        except BaseException:
            self._forget()
            raise

    def starting_weights(self) -> dict[str, FloatArray]:
        """Return the float weights behind the codes to begin with, by Hugging Face name."""
        return starting_weights(self.packed, self.exact)

    def finish(self) -> int:
        """Write the quantized model of a finished run, unless that was done; return its bytes.

        Its start goes. Raises `RunError` where it has become larger than it may be.
        """
        start, made = self.out / START, self.out / QUANTIZED
        if start.is_dir():
            self._write(made)
            shutil.rmtree(part_of(start), ignore_errors=True)
            shutil.rmtree(start.rename(part_of(start)))  # whole or gone, whatever stops it here
        (self.out / _TEXT).unlink(missing_ok=True)
        return folder_bytes(made)

    def _forget(self) -> None:
        """Remove what there is of a run that could not begin."""
        (self.out / _TEXT).unlink(missing_ok=True)
        if not state.saved(self.out):
            shutil.rmtree(self.out / state.CHECKPOINTS, ignore_errors=True)
        with suppress(OSError):  # where there is something else
            self.out.rmdir()

    def _write(self, made: Path) -> None:
        weights = read_weights(self.out, BertConfig.read(self.out))
        facts: dict[str, Any] = {"parents": ancestry(self.out), "max_bytes": self.max_bytes}
        facts |= self._measured
        report = repack(self._layout, self.out, weights, made, parent=self.exact, facts=facts)
        if report.bytes > self.max_bytes:
            shutil.rmtree(made)
            raise RunError(
                f"{made} would have {report.bytes:,} bytes, expected at most {self.max_bytes:,}",
                hint="allow a few thousand bytes more",
            )

    @property
    def _measured(self) -> dict[str, Any]:
        """What provenance says of the text that the layout was chosen by."""
        record = read_json(self._layout / PROVENANCE, "a provenance record")
        return {key: record[key] for key in ("calibration", "measured_on") if key in record}

    @property
    def _layout(self) -> Path:
        start = self.out / START
        return start if start.is_dir() else self.out / QUANTIZED
