"""The one table of targets. What writes a target is imported only when it writes."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bert_mobile.export.source import Source
from bert_mobile.export.target import FLOAT16, FLOAT32, INT4, INT8, MIX, WIDTHS, Target, Write
from bert_mobile.model.config import PRETRAINING
from bert_mobile.quantize.allocate import Storage


def _lazily(module: str) -> Write:
    """Return the `write` of `bert_mobile.export.MODULE`, imported when it is called."""

    def write(source: Source, width: str, folder: Path) -> Sequence[str] | None:
        found = import_module(f"bert_mobile.export.{module}")
        notes: Sequence[str] | None = found.write(source, width, folder)
        return notes

    return write


_BY_TRANSFORMERS_JS = {
    FLOAT32: "onnx/model.onnx",
    FLOAT16: "onnx/model_fp16.onnx",
    INT8: "onnx/model_int8.onnx",
    INT4: "onnx/model_q4.onnx",
    MIX: "onnx/model_quantized.onnx",
}

_OPENVINO = dict.fromkeys(WIDTHS, "openvino/model.xml")
_EXECUTORCH = dict.fromkeys((FLOAT32, INT8, INT4, MIX), "executorch/model.pte")
_LITERT = dict.fromkeys(WIDTHS, "litert/model.tflite")
_COREML = dict.fromkeys(WIDTHS, "coreml/model.mlpackage")
_GGUF = dict.fromkeys(WIDTHS, "gguf/model.gguf")

_FOR_XNNPACK = Storage(bits=(4, 8), zero_points=False, negative_scales=False)
_FOR_GGML = Storage(bits=(4, 8), blocks=(32,), zero_points=False)

_ROWS = (
    Target("onnx", _BY_TRANSFORMERS_JS, ("onnx", "safetensors"), "export", _lazily("onnx")),
    Target("web", _BY_TRANSFORMERS_JS, ("onnx", "safetensors"), "export", _lazily("web")),
    Target("openvino", _OPENVINO, ("openvino", "nncf"), "openvino", _lazily("openvino")),
    Target(
        "executorch", _EXECUTORCH, ("executorch",), "executorch", _lazily("executorch"),
        storage=_FOR_XNNPACK,
    ),
    Target(
        "litert", _LITERT, ("ai_edge_litert",), "litert", _lazily("litert"), storage=_FOR_XNNPACK
    ),
    Target(
        "coreml", _COREML, ("coremltools",), "coreml", _lazily("coreml"), is_judged=False
    ),
    Target(
        "gguf", _GGUF, ("gguf",), "gguf", _lazily("gguf"), heads=(PRETRAINING,),
        storage=_FOR_GGML, is_judged=False,
    ),
)  # fmt: skip

TARGETS: dict[str, Target] = {target.name: target for target in _ROWS}
"""All targets by name, in the order in which they are listed and written."""
