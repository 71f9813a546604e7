"""A budget of bytes for what a target writes, which may take more than what `quantize` packed.

The model is quantized to what the target holds as it is: LiteRT and ExecuTorch have no zero points
and store what those shift, llama.cpp repeats the scales of larger blocks than its own. Then it is
written, weighed, and quantized again to as many bytes fewer as it had too many.
"""

import tempfile
from pathlib import Path

from bert_mobile.checkpoint import CARD, PROVENANCE
from bert_mobile.errors import InputError
from bert_mobile.export.artifact import Exported, export
from bert_mobile.export.table import TARGETS
from bert_mobile.export.target import MIX
from bert_mobile.quantize import quantize
from bert_mobile.tokenizer import TOKENIZER_FILES

_BESIDE = ("config.json", *TOKENIZER_FILES, CARD, PROVENANCE)
_TRIES = 4
_MARGIN = 0.25
"""Part of what is too much that is taken off besides: fewer bits do not shrink all alike."""


def quantize_for(
    to: str, folder: Path, out: Path, *, max_bytes: int, calibration: Path | None = None
) -> None:
    """Quantize the float model in `folder` to `out`, so that the target `to` makes that of it.

    `max_bytes` bounds the artifact: what the target writes, tokenizer, config, card and provenance;
    the web's page and a proof are not counted. Raises `InputError` where it cannot be met.
    """
    allowed, size = max_bytes, 0
    for attempt in range(_TRIES):
        text = calibration if attempt else None  # measuring takes longest, and sizes do without
        try:
            quantize(folder, out, max_bytes=allowed, calibration=text, storage=TARGETS[to].storage)
        except InputError:
            if text is not calibration:
                continue
            if allowed == max_bytes:
                raise
            break
        with tempfile.TemporaryDirectory() as scratch:
            size = weight_of(export(out, to, Path(scratch) / "tried", width=MIX))
        if size > max_bytes:
            allowed -= round((size - max_bytes) * (1 + _MARGIN))
        elif text is calibration:
            return
    raise InputError(
        f"--max-bytes is {max_bytes:,}, but the least that was made for {to} has {size:,}",
        hint="allow more bytes, or choose another --to",
    )


def weight_of(made: Exported) -> int:
    """Return the bytes of an artifact that count."""
    beside = sum((made.folder / name).stat().st_size for name in _BESIDE)
    return made.model_bytes + beside
