"""The quantized folder read back: its tensors as they are packed, or as float weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_mobile.checkpoint import expected_shapes, verify
from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import (
    FloatArray,
    Layout,
    PackedMatrix,
    PackedRows,
    unpack_matrix,
)

if TYPE_CHECKING:
    from bert_mobile.quantize.graph import Weights


def read_packed(folder: Path) -> "Weights":
    """Return the tensors of a quantized folder by Hugging Face name, packed where they are.

    Raises `ArtifactError` where the folder is damaged or holds no model of ours.
    """
    shapes = expected_shapes(BertConfig.read(folder))
    model = _read_model(folder)
    from onnx import numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights: dict[str, FloatArray | PackedMatrix | PackedRows] = {}
    for name, shape in shapes.items():
        if name in stored:
            weights[name] = stored[name]
        elif f"{name}.codes" in stored:
            weights[name] = _stored_matrix(stored, name, shape[1])
        elif f"{name}.0.codes" in stored:
            count = sum(key.startswith(f"{name}.") and key.endswith(".codes") for key in stored)
            parts = (_stored_matrix(stored, f"{name}.{n}", shape[1]) for n in range(count))
            weights[name] = PackedRows(tuple(parts))
    if not weights:
        raise ArtifactError(
            f"{folder / QUANTIZED} holds no tensor of a BERT of the shape in config.json",
            hint="only files that `bert-mobile quantize` wrote can be read back",
        )
    return weights


def dequantize(folder: Path) -> dict[str, FloatArray]:
    """Return the float32 weights that a quantized folder stands for, by Hugging Face name.

    Raises `ArtifactError` as `read_packed` does.
    """
    return {
        name: unpack_matrix(weight) if isinstance(weight, PackedMatrix | PackedRows) else weight
        for name, weight in read_packed(folder).items()
    }


def _stored_matrix(stored: Mapping[str, Any], name: str, columns: int) -> PackedMatrix:
    """Return a packed matrix as the initializers of a model file hold it."""
    codes, scales = stored[f"{name}.codes"], stored[f"{name}.scales"]
    zeros = stored.get(f"{name}.zero_points")
    bits, block = codes.shape[1] * 8 // columns, columns // scales.shape[1]
    return PackedMatrix(codes, scales, zeros, Layout(bits, block, symmetric=zeros is None))


def _read_model(folder: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise MissingExtraError("onnx", "export") from None
    path = folder / QUANTIZED
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no {QUANTIZED}, expected a quantized model",
            hint="name the folder that `bert-mobile quantize` wrote",
        )
    verify(folder, [QUANTIZED])
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise ArtifactError(
            f"{path} is no whole ONNX file: {error}", hint="copy it again from its source"
        ) from error
