"""BERT's encoder as a GGUF file for llama.cpp: `gguf/model.gguf`.

llama.cpp gives embeddings of BERT: hidden states, or their mean. Masked words, tags and answers it
has no graph for, and it puts every token into segment 0. The tokenizer is inside, in llama.cpp's
form of WordPiece: continuations lose their `##`, other pieces gain U+2581 in front.

`mix` carries the decisions of `quantize` over. ggml's types have blocks of 32 with a float16 scale
each, so the scale of a larger block is repeated. With q a code, z its zero point, s its scale:

    2 bits, 4 bits symmetric     Q4_0   s · (q − z)      exactly
    4 bits with zero points      Q4_1   s · q + m        m = −s·z in float16: within 15/2048 of s
    8 bits symmetric             Q8_0   s · (q − z)      exactly
    8 bits and fewer in a table  Q5_0   s · (q − z)      fewer exactly; 8 are rounded again, to 5

Layouts are those of ggml's `block_q4_0` and its kin: byte j of the codes holds those of the
weights j (low) and j + 16 (high) of the block; the fifth bits of Q5_0 lie in four bytes before.

Dimensions: R rows, C columns, N = C/32 blocks, H hidden, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bert_mobile.errors import InputError, MissingExtraError
from bert_mobile.export.rounding import refuse_large, rounding_notes
from bert_mobile.export.source import Source
from bert_mobile.export.target import FLOAT16, FLOAT32, INT4, INT8, MIX
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.pack import (
    ByteArray,
    FloatArray,
    HalfArray,
    PackedMatrix,
    PackedRows,
    parts_of,
    unpack_codes,
    unpack_matrix,
    unpack_zeros,
)
from bert_mobile.tokenizer import load_tokenizer

try:
    from gguf import GGMLQuantizationType as Kind
    from gguf import GGUFWriter, LlamaFileType, PoolingType, TokenType, quants
except ImportError:
    raise MissingExtraError("gguf", "gguf") from None

PLACE = "gguf/model.gguf"

_ONLY = "llama.cpp has hidden states of BERT only, of a single segment: no head is in the file"
_BLOCK = 32  # weights of a block of ggml's
_KINDS = {FLOAT32: Kind.F32, FLOAT16: Kind.F16, INT8: Kind.Q8_0, INT4: Kind.Q4_0}
_FILE_TYPES = {
    FLOAT32: LlamaFileType.ALL_F32,
    FLOAT16: LlamaFileType.MOSTLY_F16,
    INT8: LlamaFileType.MOSTLY_Q8_0,
    INT4: LlamaFileType.MOSTLY_Q4_0,
    MIX: LlamaFileType.MOSTLY_Q4_1,
}
_STEPS = {  # either side of zero, of what is kept in float16: weights, or the scale of a block
    Kind.F16: 1, Kind.Q8_0: 127, Kind.Q5_0: 16, Kind.Q4_0: 8,
    Kind.Q4_1: 0.9,  # its lowest weight, which may lie a little beyond what is there
}  # fmt: skip
_RANGES = {Kind.Q4_0: (-8, 7), Kind.Q5_0: (-16, 15), Kind.Q8_0: (-128, 127)}
_TYPES = "bert.embeddings.token_type_embeddings.weight"  # which llama.cpp reads as float32

_EMBEDDINGS = {
    WORDS: "token_embd.weight",
    "bert.embeddings.position_embeddings.weight": "position_embd.weight",
    _TYPES: "token_types.weight",
    "bert.embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "bert.embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}

Encoded = tuple[NDArray[np.generic], Kind]


def write(source: Source, width: str, folder: Path) -> tuple[str, ...]:
    """Write `gguf/model.gguf` into `folder`; see `Target.write`.

    Raises `InputError` where llama.cpp could not read it: a tokenizer that keeps case or accents,
    rows that are no multiple of 32, weights beyond float16.
    """
    _refuse_unreadable(source)
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "bert")
    _describe(writer, source.config, width)
    _add_tokenizer(writer, source)
    weights = {**source.weights, **(source.packed if width == MIX else {})}
    for name, theirs in names(source.config).items():
        data, kind = encoded(weights[name], name, width)
        writer.add_tensor(theirs, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (_ONLY, *_losses(source, width))


def _losses(source: Source, width: str) -> Sequence[str]:
    """Say what is not stored as `quantize` decided."""
    if width != MIX:
        return rounding_notes(source, width, (_BLOCK,))
    found = []
    for name in names(source.config):
        matrix = source.packed.get(name)
        parts = [] if matrix is None else parts_of(matrix)
        kind = kind_of(parts) if parts else Kind.F32
        rows = sum(part.shape[0] for part in parts if not is_carried(part, kind))
        if rows:
            found.append(f"re-rounded: {rows:,} rows of {name}, to {kind.name}")
    return found


def names(config: BertConfig) -> dict[str, str]:
    """Return llama.cpp's name of every tensor that it reads, by Hugging Face name."""
    layers = {
        f"bert.encoder.layer.{i}.{ours}.{part}": f"blk.{i}.{theirs}.{part}"
        for i in range(config.num_hidden_layers)
        for ours, theirs in _LAYER.items()
        for part in ("weight", "bias")
    }
    return {**_EMBEDDINGS, **layers}


def encoded(weight: FloatArray | PackedMatrix | PackedRows, name: str, width: str) -> Encoded:
    """Return a weight as ggml stores it, and the type of that.

    Raises `InputError` where float16 cannot hold what that type keeps in it.
    """
    if isinstance(weight, PackedMatrix | PackedRows):
        parts = parts_of(weight)
        kind = kind_of(parts)
        for part in parts:
            refuse_large(name, unpack_matrix(part), steps=_STEPS[kind])
        return np.concatenate([_carried(part, kind) for part in parts]), kind
    kind = Kind.F32 if weight.ndim == 1 or name == _TYPES or width == MIX else _KINDS[width]
    if kind != Kind.F32:
        refuse_large(name, weight, steps=_STEPS[kind])
    return quants.quantize(np.ascontiguousarray(weight), kind), kind


def kind_of(parts: Sequence[PackedMatrix]) -> Kind:
    """Return the smallest of ggml's types that holds all parts of a matrix; see above."""
    bits = {part.layout.bits for part in parts}
    if bits == {8}:
        return Kind.Q8_0
    if 8 in bits:
        return Kind.Q5_0
    is_narrow = all(_fits(_steps(part), Kind.Q4_0) for part in parts)
    return Kind.Q4_0 if is_narrow else Kind.Q4_1


def is_carried(part: PackedMatrix, kind: Kind) -> bool:
    """Tell whether a type holds the codes of a matrix as they are, not rounded again."""
    whole = part.layout.block % _BLOCK == 0
    if kind == Kind.Q4_1:
        return whole and part.layout.bits <= 4
    return whole and _fits(_steps(part), kind)


def _carried(part: PackedMatrix, kind: Kind) -> ByteArray:
    """Return a matrix in ggml's blocks (R, bytes), rounded again only where it must be."""
    if not is_carried(part, kind):
        rounded: ByteArray = quants.quantize(unpack_matrix(part), kind)
        return rounded
    rows, columns = part.shape
    scales = np.repeat(part.scales, part.layout.block // _BLOCK, axis=1)[..., None]  # R N 1
    codes = unpack_codes(part.codes, part.layout.bits, columns).reshape(rows, -1, _BLOCK)  # R N 32
    fields = [scales]
    if kind == Kind.Q4_1:
        zeros = np.repeat(unpack_zeros(part), part.layout.block // _BLOCK, axis=1)[..., None]
        fields.append((scales.astype(np.float32) * -zeros.astype(np.float32)).astype(np.float16))
    else:
        steps = _steps(part).reshape(codes.shape) - _RANGES[kind][0]
        codes = steps.astype(np.uint8)
    stored = _stored_codes(codes, kind)
    blocks = np.concatenate([*(_bytes(field) for field in fields), *stored], axis=-1)
    return blocks.reshape(rows, -1)


def _stored_codes(codes: ByteArray, kind: Kind) -> list[ByteArray]:
    """Return what a block holds behind its scales, of codes counted from 0 (R, N, 32)."""
    if kind == Kind.Q8_0:
        return [codes ^ np.uint8(0x80)]  # in two's complement
    low = codes & np.uint8(15)
    halves = low[..., :16] | low[..., 16:] << np.uint8(4)  # R N 16
    if kind != Kind.Q5_0:
        return [halves]
    return [np.packbits(codes >> np.uint8(4), axis=-1, bitorder="little"), halves]


def _steps(part: PackedMatrix) -> NDArray[np.int16]:
    """Return q − z of every weight (R, C)."""
    codes = unpack_codes(part.codes, part.layout.bits, part.shape[1]).astype(np.int16)
    return codes - np.repeat(unpack_zeros(part), part.layout.block, axis=1)


def _fits(steps: NDArray[np.int16], kind: Kind) -> bool:
    low, high = _RANGES[kind]
    return bool(steps.min() >= low and steps.max() <= high)


def _bytes(halves: HalfArray) -> ByteArray:
    """Return numbers (R, N, 1) as their two bytes (R, N, 2), the lower first."""
    return halves.astype("<f2").view(np.uint8)


def _describe(writer: GGUFWriter, config: BertConfig, width: str) -> None:
    """Add the shape of the network, by the names that llama.cpp reads."""
    writer.add_name("bert-mobile")
    writer.add_file_type(_FILE_TYPES[width])
    writer.add_quantization_version(2)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)  # noqa: FBT003
    writer.add_pooling_type(PoolingType.MEAN)


def _add_tokenizer(writer: GGUFWriter, source: Source) -> None:
    """Add the tokenizer, with a piece for every row of the word embedding: llama.cpp counts them.

    Rows that the tokenizer never asks for get pieces like those of llama.cpp's own converter.
    """
    vocabulary = load_tokenizer(source.folder).get_vocab()
    by_id = {number: piece for piece, number in vocabulary.items()}
    rows = range(source.config.vocab_size)
    pieces = [by_id.get(number, f"[PAD{number}]") for number in rows]
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(source.config.type_vocab_size)
    writer.add_token_list([_renamed(piece, piece in special) for piece in pieces])
    kinds = [TokenType.CONTROL if piece in special else TokenType.NORMAL for piece in pieces]
    for number in set(rows) - by_id.keys():
        kinds[number] = TokenType.UNUSED
    kinds[vocabulary["[UNK]"]] = TokenType.UNKNOWN
    writer.add_token_types(kinds)
    writer.add_unk_token_id(vocabulary["[UNK]"])
    writer.add_pad_token_id(vocabulary["[PAD]"])
    writer.add_sep_token_id(vocabulary["[SEP]"])
    writer.add_mask_token_id(vocabulary["[MASK]"])
    writer.add_bos_token_id(vocabulary["[CLS]"])
    writer.add_uint32("tokenizer.ggml.cls_token_id", vocabulary["[CLS]"])


def _renamed(piece: str, is_special: bool) -> str:
    """Return a piece in llama.cpp's form."""
    if is_special:
        return piece
    return piece[2:] if piece.startswith("##") else f"\u2581{piece}"


def _refuse_unreadable(source: Source) -> None:
    config = source.config
    if config.hidden_size % _BLOCK or config.intermediate_size % _BLOCK:
        raise InputError(
            f"the widths are {config.hidden_size} and {config.intermediate_size}, expected "
            f"multiples of {_BLOCK} for gguf",
            hint="use --to onnx",
        )
    normalizer = load_tokenizer(source.folder).normalizer
    if normalizer is None or normalizer.normalize_str("\u00c9") != "e":
        raise InputError(
            f"the tokenizer of {source.folder} keeps case or accents; llama.cpp's WordPiece "
            "drops both",
            hint="use --to onnx",
        )
