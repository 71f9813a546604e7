"""A quantized folder with other numbers in the layout that it has: what training makes of it.

Bits, blocks, scales and zero points stay; codes, biases and LayerNorms are new. So do the bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_mobile.files import atomic_folder
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.pack import (
    FloatArray,
    HalfArray,
    PackedMatrix,
    PackedRows,
    assemble,
    clipped_share,
    relative_error,
    unpack_codes,
    unpack_zeros,
)
from bert_mobile.quantize.reading import read_packed
from bert_mobile.quantize.report import QuantizationReport, TensorReport
from bert_mobile.quantize.sensitivity import Unit
from bert_mobile.quantize.writer import KIND, Writer


def repack(
    folder: Path,
    source: Path,
    weights: Mapping[str, FloatArray],
    out: Path,
    *,
    parent: Mapping[str, FloatArray],
    facts: Mapping[str, Any],
) -> QuantizationReport:
    """Write `weights` to `out` in the layout of the quantized `folder`.

    `weights` (by Hugging Face name, float32) are rounded to the nearest that its scales and zero
    points can hold, and are exact where they lie on them. `source` has config, tokenizer and card;
    errors are reported against the float weights `parent`; `facts` is what provenance says of the
    making. Raises `ArtifactError` where `folder` is damaged, `RunError` where the disk is full.
    """
    stored: dict[str, FloatArray | PackedMatrix | PackedRows] = {}
    rows: list[TensorReport] = []
    for name, old in read_packed(folder).items():
        if isinstance(old, PackedRows):
            cut = _cut(name, old)
            parts = tuple(nearest(unit.of(weights), part) for unit, part in cut.items())
            stored[name] = PackedRows(parts)
            rows += [_row(unit, parent, part) for unit, part in zip(cut, parts, strict=True)]
        elif isinstance(old, PackedMatrix):
            stored[name] = packed = nearest(weights[name], old)
            rows.append(_row(Unit(name), parent, packed))
        else:
            stored[name] = weights[name]
            rows.append(TensorReport(name, old.shape, 32, None, old.nbytes, 0.0))
    with atomic_folder(out) as scratch:
        config = BertConfig.read(source)
        writer = Writer(source, scratch, config, parent, {"kind": KIND, **facts})
        return writer.put(stored, tuple(rows))


def nearest(matrix: FloatArray, grid: PackedMatrix) -> PackedMatrix:
    """Round a matrix (R, C) to the scales and zero points of another of its shape.

    The arithmetic is that of `train.quantized`, to the last bit: both round the same weights alike.
    """
    blocks = matrix.reshape(*grid.scales.shape, grid.layout.block)  # R N block
    zeros = unpack_zeros(grid)
    shift = zeros.astype(np.float32)[..., None]  # R N 1
    steps = np.rint(blocks * inverse(grid.scales)[..., None])
    codes = np.clip(steps, -shift, grid.layout.top - shift) + shift
    flat = codes.astype(np.uint8).reshape(matrix.shape)
    if (grid.scales == 0).any():  # whatever the code, it stands for 0
        old = unpack_codes(grid.codes, grid.layout.bits, matrix.shape[1])
        flat = np.where(np.repeat(grid.scales == 0, grid.layout.block, axis=1), old, flat)
    return assemble(flat, grid.scales, zeros, grid.layout)


def inverse(scales: HalfArray) -> FloatArray:
    """Return the inverse of each scale, and 0 of one that is 0: whatever is rounded becomes 0."""
    wide = scales.astype(np.float32)
    return np.divide(1, wide, out=np.zeros_like(wide), where=wide != 0)


def _cut(name: str, matrix: PackedRows) -> dict[Unit, PackedMatrix]:
    """Return the parts of a matrix, by the rows that they are."""
    found, start = {}, 0
    for part in matrix.parts:
        found[Unit(name, (start, start + part.shape[0]))] = part
        start += part.shape[0]
    return found


def _row(unit: Unit, parent: Mapping[str, FloatArray], packed: PackedMatrix) -> TensorReport:
    weight, layout = unit.of(parent), packed.layout
    error, clipped = relative_error(weight, packed), clipped_share(weight, packed)
    return TensorReport(
        str(unit), packed.shape, layout.bits, layout.block, packed.nbytes,
        round(error, 6), round(clipped, 6),
    )  # fmt: skip
