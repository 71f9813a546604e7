"""The files of a quantized folder, written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.checkpoint import CARD, copy_tokenizer, write_provenance
from bert_mobile.files import write_json
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.allocate import Choice
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.quantize.report import (
    REPORT,
    QuantizationReport,
    TensorReport,
    card,
    draft_rows,
    folder_bytes,
    stored_rows,
)
from bert_mobile.quantize.sensitivity import Menus, Rounder, Unit, blank_weights

if TYPE_CHECKING:
    from bert_mobile.quantize.graph import Weights

KIND = "quantized model"
"""What provenance calls it."""


class Writer:
    """Writes all files of a quantized model into a folder, as often as it takes."""

    def __init__(
        self,
        source: Path,
        folder: Path,
        config: BertConfig,
        weights: Mapping[str, FloatArray],
        facts: Mapping[str, Any],
    ) -> None:
        """Remember the float checkpoint `source`, its `weights`, and the facts of its making."""
        self._source, self._folder, self._config = source, folder, config
        self.weights, self._facts = weights, facts

    def draft(self, chosen: Mapping[Unit, Choice], *, measured: bool, **facts: Any) -> int:
        """Return the bytes of a folder with these choices, or a few more, without any rounding.

        `measured` is whether the errors of the choices are losses, which are told; `facts` take the
        place of those of its making.
        """
        rows = draft_rows(self.weights, chosen, measured=measured)
        return self.put(blank_weights(self.weights, chosen), rows, **facts).bytes

    def write(
        self, chosen: Mapping[Unit, Choice], rounder: Rounder, menus: Menus
    ) -> QuantizationReport:
        """Write the artifact and report on it."""
        stored = rounder.stored(chosen)
        rows = stored_rows(self.weights, chosen, rounder)
        return replace(self.put(stored, rows), measured=menus.measured)

    def put(
        self, stored: "Weights", rows: tuple[TensorReport, ...], **facts: Any
    ) -> QuantizationReport:
        """Write what is stored of every tensor, and what is said of it; `facts` as in `draft`."""
        from bert_mobile.quantize.graph import build_graph

        folder, model = self._folder, self._folder / QUANTIZED
        model.parent.mkdir(exist_ok=True)
        size = model.write_bytes(build_graph(self._config, stored).SerializeToString())
        report = QuantizationReport(0, size, rows)
        write_json(folder / "config.json", self._config.to_json())
        copy_tokenizer(self._source, folder)
        write_json(folder / REPORT, report.to_json())
        text = card(self._config, report, self._facts, _parents_card(self._source))
        (folder / CARD).write_text(text, encoding="utf-8")
        write_provenance(folder, {**self._facts, **facts})
        return replace(report, bytes=folder_bytes(folder))


def _parents_card(folder: Path) -> str:
    """Return the card of the float model, if it has one."""
    path = folder / CARD
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
