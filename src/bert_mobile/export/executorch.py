"""BERT as a program of ExecuTorch's for XNNPACK: `executorch/model.pte`.

Two methods, of one text at a time and any length:

    forward      input_ids, attention_mask, token_type_ids int64 (1, T) → the outputs of
                 `plain.output_names`, in that order, but the logits of masked tokens
    vocabulary   last_hidden_state rows (M, H) → logits (M, V) of masked tokens
    output_names nothing → the names of the outputs of `forward`, with commas between

Products hold weights as `export.symmetric` says, activations rounded to 8 bits as they come;
XNNPACK keeps the scales of blocks in bfloat16. Rows of tables are looked up by ExecuTorch's own
operators, in 2, 4 and 8 bits with zero points, just as they were packed. XNNPACK cannot read those
tables. So that words are not stored twice, masked tokens are scored by looking up some thousand
words at a time, and multiplying by these in float32.

Dimensions: T tokens, M chosen rows, R rows, C columns, N = C/block blocks, H hidden, V vocabulary.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bert_mobile.errors import InputError, MissingExtraError
from bert_mobile.export.plain import PlainBert, PlainVocabulary, has_vocabulary
from bert_mobile.export.rounding import is_rounded, rounded_plainly, rounding_notes
from bert_mobile.export.source import Source
from bert_mobile.export.symmetric import (
    Nibbles,
    RowsOfBytes,
    losses,
    rows_of_bytes,
    symmetric,
)
from bert_mobile.export.target import INT4, INT8, MIX
from bert_mobile.foreign import TALKATIVE, muted
from bert_mobile.model.config import BertConfig
from bert_mobile.model.names import huggingface_names
from bert_mobile.quantize.interface import (
    FORWARD,
    INPUTS,
    MOST_ROWS,
    OUTPUT_NAMES,
    VOCABULARY,
    WORDS,
)
from bert_mobile.quantize.pack import (
    PackedMatrix,
    PackedRows,
    parts_of,
    unpack_codes,
    unpack_zeros,
)

try:
    with muted(*TALKATIVE):
        import executorch.kernels.quantized  # noqa: F401 - registers the look-ups
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
except ImportError:
    raise MissingExtraError("executorch", "executorch") from None

PLACE = "executorch/model.pte"
Weight = PackedMatrix | PackedRows | RowsOfBytes

_BLOCKS = (64, 32)  # of int4, the first that divides a row
_BYTES, _NIBBLE = (-128, 127), (-8, 7)
_LOOK_UPS = {2: ("embedding_2bit", -2), 4: ("embedding_4bit", -8), 8: ("embedding_byte", -128)}
_FEWEST_POSITIONS = 3  # torch.export takes the length of a text of 1, its example, for fixed
_WORDS = 4096  # looked up at a time to score masked tokens: 8 MB at H = 512


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `executorch/model.pte` into `folder`; see `Target.write`.

    Raises `InputError` where the network has too few positions for texts of any length.
    """
    _refuse_short(source.config)
    network = PlainBert(source)
    _pack(network, source, width)
    vocabulary = PlainVocabulary(source) if has_vocabulary(source) else None
    if vocabulary is not None:
        _pack(vocabulary, source, width)
    write_program(network, vocabulary, source.config, folder)
    if width == MIX:
        return tuple(losses(source.packed))
    return rounding_notes(source, width, _BLOCKS)


def _refuse_short(config: BertConfig) -> None:
    positions = config.max_position_embeddings
    if positions < _FEWEST_POSITIONS:
        raise InputError(
            f"the model has {positions} positions, expected at least {_FEWEST_POSITIONS} for "
            "executorch",
            hint="use --to onnx",
        )


def write_program(
    network: PlainBert, vocabulary: PlainVocabulary | None, config: BertConfig, folder: Path
) -> None:
    """Trace networks whose modules hold what they are to hold, and lower them into one file."""
    methods = {FORWARD: _traced_encoder(network, config)}
    if vocabulary is not None:
        methods[VOCABULARY] = _traced_vocabulary(vocabulary, config)
    names = {OUTPUT_NAMES: ",".join(network.outputs)}
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own tree specifications
        to_edge_transform_and_lower(
            methods, partitioner=[XnnpackPartitioner()], constant_methods=names
        ).to_executorch().write_to_file(file)


def _traced_encoder(network: PlainBert, config: BertConfig) -> Any:
    most = config.max_position_embeddings
    some = tuple(torch.ones(1, most - 1, dtype=torch.long) for _ in INPUTS)
    tokens = {1: torch.export.Dim("tokens", min=1, max=most)}
    return torch.export.export(network, some, dynamic_shapes=(tokens,) * len(INPUTS))


def _traced_vocabulary(network: PlainVocabulary, config: BertConfig) -> Any:
    rows = {0: torch.export.Dim("rows", min=1, max=MOST_ROWS)}
    return torch.export.export(
        network, (torch.zeros(3, config.hidden_size),), dynamic_shapes=(rows,)
    )


def _pack(network: PlainBert | PlainVocabulary, source: Source, width: str) -> None:
    """Put modules that hold packed weights in place of those with float ones."""
    packed = _packed(source, width)
    modules = dict(network.named_modules())
    names = huggingface_names(source.config.num_hidden_layers, source.config.architecture)
    for ours, theirs in names.items():
        place = ours.removesuffix(".weight")
        if theirs in packed and place in modules:
            network.set_submodule(place, _holding(packed[theirs], modules[place]))
    if isinstance(network, PlainVocabulary) and WORDS in packed:
        network.set_submodule("vocabulary", _Words(packed[WORDS], network.vocabulary.bias))


def _packed(source: Source, width: str) -> Mapping[str, Weight]:
    """Return the matrices that are not stored in float32, at a width."""
    if width == MIX:
        return source.packed
    if width not in (INT8, INT4):
        return {}
    large = {name: weight for name, weight in source.weights.items() if is_rounded(weight)}
    found = rounded_plainly(large, 4, _BLOCKS) if width == INT4 else large
    return {
        name: weight if isinstance(weight, PackedMatrix) else rows_of_bytes(weight)
        for name, weight in found.items()
    }


def _holding(weight: Weight, module: nn.Module) -> nn.Module:
    """Return what does the same as a module of float weights, with these."""
    if isinstance(module, nn.Embedding):
        return _Table(weight)
    if not isinstance(module, nn.Linear):
        raise TypeError(f"{type(module).__name__} has no packed form")
    return _Products(weight, module.bias)


class _Products(nn.Module):
    """x · Wᵀ + b: (…, C) to (…, R), each part of the rows on its own."""

    def __init__(self, weight: Weight, bias: Tensor) -> None:
        super().__init__()
        forms = [weight] if isinstance(weight, RowsOfBytes) else map(symmetric, parts_of(weight))
        made: list[nn.Module] = []
        start = 0
        for form in forms:
            own = bias[start : start + len(form.codes)].clone()
            made.append(_Nibbles(form, own) if isinstance(form, Nibbles) else _Bytes(form, own))
            start += len(form.codes)
        self.parts = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        found = [part(x) for part in self.parts]
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


class _Bytes(nn.Module):
    """A product with rows of 8 bits."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bias: Tensor

    def __init__(self, form: RowsOfBytes, bias: Tensor) -> None:
        super().__init__()
        _hold(self, codes=form.codes, scales=form.scales, bias=bias.numpy())
        _hold(self, zeros=np.zeros(len(form.scales), np.int64))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.codes, self.scales, self.zeros, 0, *_BYTES, torch.int8
        )
        return functional.linear(_rounded(x), weight, self.bias)


class _Nibbles(nn.Module):
    """A product with blocks of 4 bits, and with what shifts them."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    bias: Tensor
    shifts: Tensor

    def __init__(self, form: Nibbles, bias: Tensor) -> None:
        super().__init__()
        self.block, self.is_shifted = form.block, form.shifts is not None
        _hold(self, codes=form.codes, scales=form.scales.astype(np.float32), bias=bias.numpy())
        _hold(self, zeros=np.zeros(form.scales.shape, np.int32))
        if form.shifts is not None:
            _hold(self, shifts=form.shifts.astype(np.float32))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.ops.quantized_decomposed.dequantize_per_channel_group(
            self.codes, self.scales, self.zeros, *_NIBBLE, torch.int8, self.block, torch.float32
        )
        product = functional.linear(_rounded(x), weight, self.bias)
        if not self.is_shifted:
            return product
        sums = x.unflatten(-1, (-1, self.block)).sum(-1)  # … N
        return product + functional.linear(sums, self.shifts)


class _Table(nn.Module):
    """Rows of a table: indices (…) to (…, C), each part of the rows on its own."""

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        parts = [weight] if isinstance(weight, RowsOfBytes) else parts_of(weight)
        self.parts = nn.ModuleList(_Rows(part) for part in parts)
        self.counts = [len(part.codes) for part in parts]

    def forward(self, indices: Tensor) -> Tensor:
        found: Tensor = self.parts[0](indices.clamp(max=self.counts[0] - 1))
        start = self.counts[0]
        for part, count in zip(self.parts[1:], self.counts[1:], strict=True):
            rows = part((indices - start).clamp(0, count - 1))
            found = torch.where((indices >= start)[..., None], rows, found)
            start += count
        return found


class _Words(nn.Module):
    """The words' scores from the table that they are looked up in: (M, H) to (M, V)."""

    def __init__(self, weight: Weight, bias: Tensor) -> None:
        super().__init__()
        self.table, self.bias = _Table(weight), bias

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for part, count in zip(self.table.parts, self.table.counts, strict=True):
            for first in range(0, count, _WORDS):
                words = part(torch.arange(first, min(first + _WORDS, count)))
                # a product of batches is the one that XNNPACK takes without a constant in it
                found.append(torch.bmm(x[None], words.t()[None])[0])
        return torch.cat(found, dim=-1) + self.bias


class _Rows(nn.Module):
    """Rows of one layout, by the operator of its width."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, part: PackedMatrix | RowsOfBytes) -> None:
        super().__init__()
        if isinstance(part, RowsOfBytes):
            self.bits, codes, scales = 8, part.codes, part.scales[:, None]
            zeros = np.zeros_like(scales)
        else:
            self.bits, codes = part.layout.bits, _stored_codes(part)
            scales = part.scales.astype(np.float32)
            zeros = unpack_zeros(part).astype(np.float32) - (1 << (self.bits - 1))
        _hold(self, codes=codes, scales=scales, zeros=zeros)

    def forward(self, indices: Tensor) -> Tensor:
        name, lowest = _LOOK_UPS[self.bits]
        operator = getattr(torch.ops.quantized_decomposed, name)
        rows: Tensor = operator(self.codes, self.scales, self.zeros, lowest, -lowest - 1, indices)
        return rows


def _stored_codes(part: PackedMatrix) -> NDArray[Any]:
    """Return codes as the look-ups read them: the lower the later in a byte at 4 bits."""
    bits, columns = part.layout.bits, part.shape[1]
    if bits == 2:
        return part.codes
    codes = unpack_codes(part.codes, bits, columns)
    if bits == 4:
        return codes[:, 0::2] << np.uint8(4) | codes[:, 1::2]
    return (codes ^ np.uint8(0x80)).view(np.int8)  # in two's complement


def _rounded(x: Tensor) -> Tensor:
    """Round activations to 8 bits, each row (…, C) in its own range."""
    ops = torch.ops.quantized_decomposed
    scales, zeros = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
    whole = ops.quantize_per_token(x, scales, zeros, *_BYTES, torch.int8)
    found: Tensor = ops.dequantize_per_token(
        whole, scales, zeros, *_BYTES, torch.int8, torch.float32
    )
    return found


def _hold(module: nn.Module, **arrays: NDArray[Any]) -> None:
    """Keep arrays as tensors of a module."""
    for name, array in arrays.items():
        module.register_buffer(name, torch.from_numpy(np.array(array)))  # ours are read-only
