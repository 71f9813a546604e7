"""What lies in a folder → what opens it: the one table of engines.

An engine is a `Session` (`runtime.sessions`) whose class takes `(model, name, *, threads)`; its
module, and with it the runtime it needs, is imported only when such a folder is opened.
"""

from dataclasses import dataclass

_SESSIONS = "bert_mobile.runtime.sessions"


@dataclass(frozen=True)
class Engine:
    """A place in a folder and the class of the session that opens what lies there."""

    place: str
    """Path of the model within its folder."""
    module: str
    """Where the class is, by its full name."""
    session: str
    """Name of the class."""
    beside: tuple[str, ...] = ()
    """Other files that it reads, within the folder."""


ENGINES: tuple[Engine, ...] = (
    Engine("onnx/model_quantized.onnx", _SESSIONS, "OnnxSession"),
    Engine("onnx/model.onnx", _SESSIONS, "OnnxSession"),
    Engine("onnx/model_int8.onnx", _SESSIONS, "OnnxSession"),
    Engine("onnx/model_q4.onnx", _SESSIONS, "OnnxSession"),
    Engine("onnx/model_fp16.onnx", _SESSIONS, "OnnxSession"),
    Engine(
        "openvino/model.xml",
        "bert_mobile.runtime.engines.openvino",
        "OpenVinoSession",
        beside=("openvino/model.bin",),
    ),
    Engine("litert/model.tflite", "bert_mobile.runtime.engines.litert", "LiteRtSession"),
    Engine("executorch/model.pte", "bert_mobile.runtime.engines.executorch", "ExecuTorchSession"),
    Engine("gguf/model.gguf", "bert_mobile.runtime.engines.gguf", "GgufSession"),
)
"""The place that is preferred comes first; float checkpoints come after all of them."""
