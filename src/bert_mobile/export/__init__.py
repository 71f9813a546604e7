"""One file per destination, each proven by its own runtime.

    bert-mobile export MODEL --to openvino --out DIR

`source` reads what is exported, `table` lists the targets (`target` is a row), a module each writes
them, `artifact` makes the folder around what was written, `budget` one of so many bytes.
"""

from bert_mobile.export.artifact import Exported, export
from bert_mobile.export.budget import export_within
from bert_mobile.export.source import Source, read_source
from bert_mobile.export.table import TARGETS
from bert_mobile.export.target import WIDTHS, Target

__all__ = [
    "TARGETS",
    "WIDTHS",
    "Exported",
    "Source",
    "Target",
    "export",
    "export_within",
    "read_source",
]
