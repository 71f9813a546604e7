"""Float weights ↔ the 25 MB artifact.

    bert-mobile quantize DIR --max-bytes 25_000_000 --out DIR

`quantize` packs every matrix in blocks of 2, 4 or 8 bits (`pack`), rounded with regard to what
flows through it (`rounding`, `calibrate`), spends the bytes where they remove the most loss
(`sensitivity`, `allocate`), and writes a folder that ONNX Runtime answers from (`graph`).
`unpack_checkpoint` turns such a folder back into a float checkpoint.
"""

from bert_mobile.quantize.artifact import TooFewBytesError, quantize, unpack_checkpoint
from bert_mobile.quantize.reading import dequantize, read_packed
from bert_mobile.quantize.repack import repack
from bert_mobile.quantize.report import QuantizationReport, TensorReport

__all__ = [
    "QuantizationReport",
    "TensorReport",
    "TooFewBytesError",
    "dequantize",
    "quantize",
    "read_packed",
    "repack",
    "unpack_checkpoint",
]
