"""Float weights ↔ the 25 MB artifact.

    bert-mobile quantize DIR --max-bytes 25_000_000 --out DIR

`quantize` packs every matrix in blocks of 4 or 8 bits (`pack`), spending the bytes where they
remove the most error (`allocate`, `calibrate`), and writes a folder that ONNX Runtime answers from
(`graph`). `unpack_checkpoint` turns such a folder back into a float checkpoint.
"""

from bert_mobile.quantize.artifact import dequantize, quantize, unpack_checkpoint
from bert_mobile.quantize.report import QuantizationReport, TensorReport

__all__ = ["QuantizationReport", "TensorReport", "dequantize", "quantize", "unpack_checkpoint"]
