"""Other ways to make a BERT small, from the same float checkpoint: what ours are compared with.

Each peer writes a whole folder (config and tokenizer too, as ours are counted) as its own
documentation says, and is asked through a `Session` like any other model. All but the network
itself is the same: tokenizer, judge, data. GGUF is not among them: llama.cpp has no head that the
judge asks for.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bert_mobile.checkpoint import copy_tokenizer, read_weights
from bert_mobile.errors import MissingExtraError
from bert_mobile.export.source import read_source
from bert_mobile.export.table import TARGETS
from bert_mobile.foreign import TALKATIVE, muted
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import FLOAT, QUANTIZED


@dataclass(frozen=True)
class Peer:
    """Another program's quantizer."""

    name: str
    make: Callable[[Path, Path], None]
    """Write a model into an empty folder, from a float checkpoint. Raises `MissingExtraError` where
    the program is not installed."""


def write_peer(peer: Peer, folder: Path, out: Path) -> None:
    """Write a peer's model of the float checkpoint `folder` into `out`, with what goes with it."""
    out.mkdir(parents=True)
    shutil.copyfile(folder / "config.json", out / "config.json")
    copy_tokenizer(folder, out)
    peer.make(folder, out)


def _int8(folder: Path, out: Path) -> None:
    """Dynamic quantization: int8 weights, activations rounded at each call (QInt8: see below).

    QUInt8, its default on some paths, was 2.7 times slower for the same bytes where it was tried.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _float_graph(folder, out) as graph, _quiet():
        # Behind an operator of its own (MultiHeadAttention) it has to be told what numbers are.
        told = {"DefaultTensorType": TensorProto.FLOAT}
        quantize_dynamic(graph, _place(out), weight_type=QuantType.QInt8, extra_options=told)


def _four_bits(block: int) -> Callable[[Path, Path], None]:
    """Return its 4-bit quantizer for blocks of so many weights, asked to take the embedding too."""

    def make(folder: Path, out: Path) -> None:
        import onnx

        try:
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
        except ImportError:  # what it needs and ONNX Runtime does not bring
            raise MissingExtraError("onnx_ir", "peers") from None
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.quantization.quant_utils import QuantFormat

        with _float_graph(folder, out) as graph, _quiet():
            model = ONNXModel(onnx.load(graph))
            model.replace_gemm_with_matmul()
            quantizer = MatMulNBitsQuantizer(
                model.model,
                block_size=block,
                is_symmetric=True,
                accuracy_level=4,
                quant_format=QuantFormat.QOperator,
                op_types_to_quantize=("MatMul", "Gather"),
                quant_axes=(("MatMul", 0), ("Gather", 1)),
            )
            quantizer.process()
            onnx.save(quantizer.model.model, _place(out))

    return make


def _nncf(width: str) -> Callable[[Path, Path], None]:
    """Return NNCF's compression of the weights of an OpenVINO model, embedding included."""

    def make(folder: Path, out: Path) -> None:
        target = TARGETS["openvino"]
        target.check_installed()
        target.write(read_source(folder), width, out)

    return make


def _torchao(bits: int) -> Callable[[Path, Path], None]:
    """Return torchao's quantization of linear layers, run by ExecuTorch; tables stay float32.

    Weights of 4 bits have blocks of 32, those of 8 bits one scale a row; activations are rounded to
    8 bits at each call. For its quantized tables ExecuTorch 1.5 has no operator.
    """

    def make(folder: Path, out: Path) -> None:
        target = TARGETS["executorch"]
        target.check_installed()
        with muted(*TALKATIVE):
            import torch
            from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
            from torchao.quantization.granularity import PerAxis, PerGroup

        from bert_mobile.export.executorch import write_program
        from bert_mobile.export.plain import PlainBert, PlainVocabulary, has_vocabulary

        source = read_source(folder)
        network = PlainBert(source)
        vocabulary = PlainVocabulary(source) if has_vocabulary(source) else None
        how = Int8DynamicActivationIntxWeightConfig(
            weight_dtype=getattr(torch, f"int{bits}"),
            weight_granularity=PerGroup(32) if bits == 4 else PerAxis(0),
        )
        quantize_(network, how)
        if vocabulary is not None:
            quantize_(vocabulary, how)
        write_program(network, vocabulary, source.config, out)

    return make


PEERS = (
    Peer("ONNX Runtime, dynamic int8", _int8),
    Peer("ONNX Runtime, 4 bits, blocks of 32", _four_bits(32)),
    Peer("ONNX Runtime, 4 bits, blocks of 128", _four_bits(128)),
    Peer("NNCF in OpenVINO, int8", _nncf("int8")),
    Peer("NNCF in OpenVINO, int4", _nncf("int4")),
    Peer("torchao in ExecuTorch, int8", _torchao(8)),
    Peer("torchao in ExecuTorch, int4", _torchao(4)),
)


@contextmanager
def _float_graph(folder: Path, out: Path) -> Iterator[Path]:
    """Yield the float ONNX model of a checkpoint, gone afterwards."""
    try:
        from bert_mobile.quantize.graph import build_graph
    except ImportError:
        raise MissingExtraError("onnx", "export") from None
    config = BertConfig.read(folder)
    graph = out / FLOAT
    graph.parent.mkdir(exist_ok=True)
    graph.write_bytes(build_graph(config, read_weights(folder, config)).SerializeToString())
    try:
        yield graph
    finally:
        graph.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of ONNX Runtime's tools ("please pre-process first") off the screen.

    Of blocks of zeros they make 0 ÷ 0, and then zeros again.
    """
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with np.errstate(invalid="ignore"):
            yield
    finally:
        logging.disable(before)


def _place(out: Path) -> Path:
    return out / QUANTIZED
