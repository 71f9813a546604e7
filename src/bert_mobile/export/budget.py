"""A budget of bytes for what a target writes, which is not what `quantize` packs.

The model is quantized to what the target holds as it is: LiteRT and ExecuTorch have no zero points
and store what those shift, llama.cpp repeats the scales of larger blocks than its own, and leaves
heads out. Then it is written, weighed, and quantized again to other bytes where it had too many.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bert_mobile.checkpoint import CARD, PROVENANCE
from bert_mobile.errors import InputError
from bert_mobile.export.artifact import Exported, check_export, export
from bert_mobile.export.target import MIX, Target
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize import TooFewBytesError, quantize
from bert_mobile.tokenizer import TOKENIZER_FILES

if TYPE_CHECKING:
    from bert_mobile.export.proof import Proving

_BESIDE = ("config.json", *TOKENIZER_FILES, CARD, PROVENANCE)
_TRIES = 6
_MARGIN = 0.25
"""Part of what is too much that is taken off besides: fewer bits do not shrink all alike."""


def export_within(
    folder: Path,
    to: str,
    out: Path,
    *,
    max_bytes: int,
    calibration: Path | None = None,
    proving: "Proving | None" = None,
) -> Exported:
    """Quantize the float model in `folder` for the target `to`, and export that to `out`.

    `max_bytes` bounds the artifact: what the target writes, tokenizer, config, card and provenance;
    the web's page and a proof are not counted. `calibration` is as for `quantize`. Raises
    `InputError` where the budget cannot be met, and as `quantize` and `export` do.
    """
    target = check_export(folder, to, out)
    target.check_head(BertConfig.read(folder).architecture)
    with tempfile.TemporaryDirectory() as scratch:
        quantized = Path(scratch) / folder.resolve().name
        _quantize_for(target, folder, quantized, max_bytes, calibration)
        return export(quantized, to, out, width=MIX, proving=proving)


def _quantize_for(
    target: Target, folder: Path, out: Path, max_bytes: int, calibration: Path | None
) -> None:
    """Quantize to `out`, so that the target makes at most `max_bytes` of it."""
    allowed, least_made, refused = max_bytes, None, None
    for attempt in range(_TRIES):
        text = calibration if attempt else None  # measuring takes longest, and sizes do without
        try:
            quantize(folder, out, max_bytes=allowed, calibration=text, storage=target.storage)
        except TooFewBytesError as error:
            if text is not calibration:
                continue
            if refused is not None:  # the least has been tried
                break
            allowed, refused = error.least, error  # of which the target may make less
            continue
        size = _size_of(target, out)
        if size > max_bytes:
            allowed -= round((size - max_bytes) * (1 + _MARGIN))
            least_made = min(size, least_made or size)
        elif text is calibration:
            return
    if least_made is None and refused is not None:
        raise refused
    raise InputError(
        f"--max-bytes is {max_bytes:,}, but the least that was made for {target.name} has "
        f"{least_made:,}",
        hint="allow more bytes, or choose another --to" if refused is None else refused.hint,
    )


def _size_of(target: Target, quantized: Path) -> int:
    """Return the bytes that count of what the target makes of a quantized folder."""
    with tempfile.TemporaryDirectory() as scratch:
        return weight_of(export(quantized, target.name, Path(scratch) / "tried", width=MIX))


def weight_of(made: Exported) -> int:
    """Return the bytes of an artifact that count."""
    beside = sum((made.folder / name).stat().st_size for name in _BESIDE)
    return made.model_bytes + beside
