"""BERT for the browser: the graph of `onnx`, with embeddings in standard operators.

transformers.js brings a build of ONNX Runtime that has `MatMulNBits` but no
`GatherBlockQuantized`. So a packed table is looked up with what every build has: `Gather` its
bytes, take them apart (`BitShift`, `BitwiseAnd`), `Cast`, `Sub` zero points, `Mul` by scales. The
numbers are the same to the last bit.

Dimensions: V rows, H columns, N blocks of a row.
"""

from pathlib import Path

import numpy as np

from bert_mobile.errors import MissingExtraError
from bert_mobile.export.onnx import Int8Graph, write_graph
from bert_mobile.export.source import Source
from bert_mobile.quantize.graph import Graph
from bert_mobile.quantize.pack import PackedMatrix

try:
    from onnx import TensorProto
except ImportError:
    raise MissingExtraError("onnx", "export") from None


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `onnx/model*.onnx` into `folder`; see `Target.write`."""
    from bert_mobile.export.table import TARGETS

    path = folder / TARGETS["web"].places[width]
    return write_graph(source, width, path, PortableGraph, PortableInt8Graph)


class PortableGraph(Graph):
    """Packed tables are looked up by operators of ONNX itself."""

    def packed_lookup(self, table: str, matrix: PackedMatrix, indices: str) -> str:
        """Rows of a packed table: indices of any shape (…) to (…, H)."""
        bits, block = matrix.layout.bits, matrix.layout.block
        columns = matrix.shape[1]
        blocks = columns // block
        codes, scales, zero_points = self.packed(table, matrix)
        rows = self._codes(codes, indices, bits, columns)  # … H
        rows = self._reshaped(rows, indices, blocks, block)  # … N block
        zeros = self.constant(f"number:{bits}:float32", np.array([1 << (bits - 1)], np.float32))
        if zero_points:
            zeros = self._codes(zero_points, indices, bits, blocks)  # … N
            zeros = self._reshaped(zeros, indices, blocks, 1)  # … N 1
        scale = self._reshaped(self.add("Gather", scales, indices), indices, blocks, 1)
        values = self.add("Mul", self.add("Sub", rows, zeros), scale)  # … N block
        return self._reshaped(values, indices, columns)  # … H

    def _reshaped(self, x: str, indices: str, *axes: int) -> str:
        """Keep the axes of the indices, and lay the rest out anew."""
        shape = self.add("Concat", self.add("Shape", indices), self.numbers(*axes), axis=0)
        return self.add("Reshape", x, shape)

    def _codes(self, table: str, indices: str, bits: int, columns: int) -> str:
        """Look up rows of bytes and take them apart: codes as float32, (…, columns)."""
        rows = self.add("Gather", table, indices)
        each = 8 // bits  # codes of a byte
        if each == 1:
            return self.add("Cast", rows, to=TensorProto.FLOAT)
        shifts = self.constant(f"shifts:{bits}", np.arange(0, 8, bits, dtype=np.uint8))
        low = self.constant(f"low:{bits}", np.array([(1 << bits) - 1], np.uint8))
        rows = self.add("Unsqueeze", rows, self.numbers(-1))  # … bytes 1
        codes = self.add("BitShift", rows, shifts, direction="RIGHT")  # … bytes each
        codes = self.add("Cast", self.add("BitwiseAnd", codes, low), to=TensorProto.FLOAT)
        codes = self._reshaped(codes, indices, -1)  # … bytes·each
        if columns % each == 0:
            return codes
        ends = self.numbers(0), self.numbers(columns), self.numbers(-1)
        return self.add("Slice", codes, *ends)  # the last byte is not full


class PortableInt8Graph(Int8Graph, PortableGraph):
    """The same, with what is not packed rounded to 8 bits."""
