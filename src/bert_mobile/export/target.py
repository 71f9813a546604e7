"""A row of the table of targets: what a destination holds, needs and is written by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bert_mobile.errors import InputError, MissingExtraError
from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS
from bert_mobile.quantize.allocate import OURS, Storage

FLOAT32, FLOAT16, INT8, INT4, MIX = WIDTHS = ("float32", "float16", "int8", "int4", "mix")
"""How weights are stored. `mix` is what `quantize` decided, carried over."""

RE_ROUNDED = "re-rounded: the weights of the quantized model were rounded a second time"
"""What provenance says where the decisions of `quantize` are not what is stored."""

HEADS = (PRETRAINING, SEQUENCES, TOKENS, ANSWERS)

Write = Callable[[Source, str, Path], Sequence[str] | None]
"""Writes a source at a width into a folder; returns what could not be carried over, if anything.

Raises `InputError` on a head or width that the target cannot hold, `MissingExtraError` where its
package is missing."""


def usual_width(source: Source) -> str:
    """Return the width of a model where none is asked for: what it has."""
    return MIX if source.packed else FLOAT32


@dataclass(frozen=True)
class Target:
    """One destination."""

    name: str
    places: Mapping[str, str]
    """Width → where in the folder the file of that width lies, which clients look for."""
    modules: tuple[str, ...]
    """Packages that it needs."""
    extra: str
    """The extra that brings them."""
    write: Write
    heads: tuple[str, ...] = HEADS
    """Architectures that it can hold."""
    storage: Storage = OURS
    """What it holds of the decisions of `quantize` as they are."""
    is_judged: bool = True
    """Whether something here opens what it writes and gives the answers that a task asks for."""

    @property
    def widths(self) -> tuple[str, ...]:
        """Widths that it can be written in."""
        return tuple(self.places)

    @property
    def missing(self) -> str | None:
        """A package that it needs and that is not installed."""
        return next((name for name in self.modules if find_spec(name) is None), None)

    def check_installed(self) -> None:
        """Raise `MissingExtraError` where a package that it needs is missing."""
        if self.missing is not None:
            raise MissingExtraError(self.missing, self.extra)

    def check_head(self, architecture: str) -> None:
        """Raise `InputError` unless it can hold a model with this head."""
        if architecture not in self.heads:
            raise InputError(
                f"{self.name} cannot hold a {architecture}, only {', '.join(self.heads)}",
                hint="choose another --to",
            )

    def check(self, source: Source, width: str) -> None:
        """Raise `InputError` unless this source can be written at this width."""
        self.check_head(source.config.architecture)
        if width not in self.places:
            raise InputError(
                f"--width {width} is none of {self.name}'s, expected one of "
                f"{', '.join(self.widths)}",
                hint="choose one of these, or another --to",
            )
        if width == MIX and not source.packed:
            raise InputError(
                f"{source.folder} is a float checkpoint, of which there is no mix of widths yet",
                hint="give --max-bytes 25_000_000 as well, or export the folder of `quantize`",
            )
