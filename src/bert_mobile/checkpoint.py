"""The folder on disk that every stage hands to the next.

    config.json  model.safetensors  tokenizer.json  vocab.txt  tokenizer_config.json
    provenance.json     parents, recipe, code version, measured figures, SHA-256 of each file above

transformers reads such a folder unchanged. Tensors carry Hugging Face's names and are float32 or
bfloat16; the tied embedding is stored once. Nothing here needs torch, and nothing is ever a pickle.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_mobile import __version__
from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.files import (
    atomic_folder,
    read_json,
    refuse_foreign_folder,
    sha256,
    write_json,
)
from bert_mobile.manifest import FILES, MARKS, check_files, write_sealed
from bert_mobile.model.config import BertConfig
from bert_mobile.model.names import TIED, canonical, huggingface_names
from bert_mobile.tokenizer import TOKENIZER_FILES, load_tokenizer, save_tokenizer

WEIGHTS = "model.safetensors"
PROVENANCE = "provenance.json"
CARD = "README.md"
"""The model card, where the Hugging Face Hub looks for it."""
_POOLER = "bert.pooler."
CONVERTED = "converted_from"
"""Key of the provenance of a checkpoint that is another one in other bytes."""

FloatArray = NDArray[np.float32]


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a whole checkpoint, by Hugging Face name."""
    hidden, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    special = {
        "encoder.embeddings.words.weight": (vocabulary, hidden),
        "encoder.embeddings.positions.weight": (config.max_position_embeddings, hidden),
        "encoder.embeddings.types.weight": (config.type_vocab_size, hidden),
        "masked_tokens.bias": (vocabulary,),
        "next_sentence.weight": (2, hidden),
        "next_sentence.bias": (2,),
        "head.weight": (config.head_outputs, hidden),
        "head.bias": (config.head_outputs,),
    }

    def shape(ours: str) -> tuple[int, ...]:
        if ours in special:
            return special[ours]
        if ours.endswith("feed_forward.inner.weight"):
            return (inner, hidden)
        if ours.endswith("feed_forward.inner.bias"):
            return (inner,)
        if ours.endswith("feed_forward.outer.weight"):
            return (hidden, inner)
        return (hidden,) if ours.endswith("bias") or "norm" in ours else (hidden, hidden)

    names = huggingface_names(config.num_hidden_layers, config.architecture)
    return {theirs: shape(ours) for ours, theirs in names.items()}


def read_weights(
    folder: Path, config: BertConfig, *, skip_foreign_heads: bool = False
) -> dict[str, FloatArray]:
    """Read `folder/model.safetensors` as float32 arrays by Hugging Face name, every shape checked.

    The encoder must be whole; each head (pooler, masked tokens, next sentence) is whole or absent,
    as in checkpoints of a bare encoder; a task's head must be there. The pooler that older files
    of architectures without one carry is left out. Raises `ArtifactError` where the file is
    missing, damaged (its hash differs from `provenance.json`, if there is one) or holds other
    tensors than these, or NaN; `skip_foreign_heads` leaves those of other heads (such as
    `classifier.weight`) out with a warning.
    """
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError:
        raise MissingExtraError("safetensors", "export") from None
    path = folder / WEIGHTS
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no {WEIGHTS}, expected a float checkpoint", hint=_hint_without(folder)
        )
    verify(folder, [WEIGHTS])
    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise ArtifactError(
            f"{path} is no whole safetensors file: {error}", hint="copy it again from its source"
        ) from error
    raws = dict(tensors)
    expected = expected_shapes(config)
    if skip_foreign_heads:
        raws = _without_foreign_heads(path, raws, expected)
    stored = {name: _finite(path, name, _as_float32(name, raw)) for name, raw in raws.items()}
    weights = canonical(stored)
    if not config.has_pooler:
        weights = {name: w for name, w in weights.items() if not name.startswith(_POOLER)}
    _check_tied(path, stored, weights)
    _check_labels(path, weights, expected)
    _check_shapes(path, weights, _without_absent_heads(expected, weights))
    return weights


def refuse_headless(folder: Path, config: BertConfig, weights: Mapping[str, FloatArray]) -> None:
    """Raise `ArtifactError` where what was read from `folder` is no whole checkpoint."""
    absent = sorted(expected_shapes(config).keys() - weights.keys())
    if absent:
        raise ArtifactError(
            f"{folder} lacks {absent[0]}, expected a {config.architecture} with all its heads",
            hint="only a model with the heads that it was trained with is written as a checkpoint",
        )


def write_checkpoint(
    folder: Path,
    config: BertConfig,
    weights: Mapping[str, FloatArray],
    tokenizer: Path,
    provenance: Mapping[str, Any],
    *,
    bfloat16: bool = False,
) -> None:
    """Write a whole checkpoint into `folder`, which exists (see `files.atomic_folder`).

    `weights` are float32 arrays by Hugging Face name; `bfloat16` stores them in half the bytes,
    rounded to nearest even. `tokenizer` is a folder with the tokenizer's files.
    """
    _check_shapes(folder / WEIGHTS, weights, expected_shapes(config))
    write_tensors(folder / WEIGHTS, weights, bfloat16=bfloat16)
    write_json(folder / "config.json", config.to_json())
    copy_tokenizer(tokenizer, folder)
    write_provenance(folder, provenance)


def convert_checkpoint(folder: Path, out: Path, *, bfloat16: bool = False) -> None:
    """Write the float checkpoint in `folder` to `out` again, as float32 or in half the bytes.

    It stays the model it was: its card, what is known of its making, and its place in a run go
    along, with the hash of the weights it was made from. Raises `ArtifactError` where `folder` is
    damaged or lacks a head, or `out` holds something else.
    """
    refuse_foreign_folder(out, _is_converted, inputs=[folder])
    config = BertConfig.read(folder)
    read = read_weights(folder, config)
    refuse_headless(folder, config, read)
    weights = {name: read[name] for name in expected_shapes(config)}  # one order
    record = _record(folder)
    facts = {key: value for key, value in record.items() if key not in (*MARKS, "code")}
    facts[CONVERTED] = {"sha256": sha256(folder / WEIGHTS)}
    with atomic_folder(out) as scratch:
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, scratch / CARD)
        write_checkpoint(scratch, config, weights, folder, facts, bfloat16=bfloat16)


def _is_converted(folder: Path) -> bool:
    try:
        return CONVERTED in read_json(folder / PROVENANCE, "a provenance record")
    except ArtifactError:
        return False


def write_tensors(path: Path, weights: Mapping[str, FloatArray], *, bfloat16: bool = False) -> None:
    """Write the safetensors format itself: a full disk is then the `OSError` that it always is.

    Eight bytes with the header's length, a JSON header padded with spaces to a multiple of eight,
    then the tensors' bytes in the header's order.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    width, end = (2, 0) if bfloat16 else (4, 0)
    for name, array in weights.items():
        start, end = end, end + array.size * width
        kind = "BF16" if bfloat16 else "F32"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in weights.values():
            plain = np.ascontiguousarray(array, dtype="<f4")
            file.write(_bfloat16_bytes(plain) if bfloat16 else plain.tobytes())


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy the tokenizer's files, made from its tokenizer.json where they are missing.

    Raises `ArtifactError` where `source` has no tokenizer.json or it is damaged.
    """
    save_tokenizer(load_tokenizer(source), folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def write_provenance(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `provenance.json`: `facts`, the code's version and the hash of every other file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PROVENANCE)
    hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_sealed(
        folder / PROVENANCE, {**facts, "code": f"bert-mobile {__version__}", FILES: hashes}
    )


def made_as(kind: str) -> Callable[[Path], bool]:
    """Return a judge of folders: whether our provenance record calls one a thing of this kind."""

    def judge(folder: Path) -> bool:
        try:
            record = read_json(folder / PROVENANCE, "a provenance record")
        except ArtifactError:
            return False
        return record.get("kind") == kind and str(record.get("code")).startswith("bert-mobile ")

    return judge


def ancestry(folder: Path, file: str = WEIGHTS) -> list[dict[str, Any]]:
    """Return what the provenance of something made from `folder` says of its parents.

    The oldest comes first, `folder` itself last, each with its name, the SHA-256 of its `file` of
    weights and what its own provenance tells of it.
    """
    record = _record(folder)
    parents = record.get("parents")  # of another program's record: anything
    listed = parents if isinstance(parents, list) else []
    earlier = [each for each in listed if isinstance(each, dict)]
    own = {key: value for key, value in record.items() if key not in (*MARKS, "parents")}
    return [*earlier, {"name": folder.resolve().name, "sha256": sha256(folder / file), **own}]


def _record(folder: Path) -> dict[str, Any]:
    """Return the provenance of a folder, nothing where it has none."""
    path = folder / PROVENANCE
    return read_json(path, "a provenance record") if path.is_file() else {}


def verify(folder: Path, names: list[str]) -> None:
    """Check files against the hashes in `provenance.json`, and that against its own seal.

    A folder without one (made by another program) passes. Raises `ArtifactError` on a file that is
    missing or has changed: no model format detects a flipped bit by itself.
    """
    if (folder / PROVENANCE).exists():
        check_files(folder, folder / PROVENANCE, names)


def _hint_without(folder: Path) -> str:
    """Return what to do about a folder without a file of weights that we read."""
    if (folder / f"{WEIGHTS}.index.json").is_file():
        found = "its weights are in several files"
    elif any(folder.glob("*.bin")):
        found = "its weights are in a pickle, which may run any program"
    elif (folder / "quantization.json").is_file():  # `quantize` left it
        return "it is quantized already: name the float model that it was made from"
    else:
        return "name the folder that `bert-mobile pretrain` or transformers wrote"
    return f"{found}: save it anew, model.save_pretrained(DIR, max_shard_size='50GB')"


def _without_foreign_heads(
    path: Path, tensors: dict[str, Any], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """Leave out heads of other tasks than the `expected` one's; warn of them by name."""
    if not any(name.startswith("bert.") for name in tensors):  # a bare encoder has no heads
        return tensors
    kept = ("bert.", "cls.") if any(name.startswith("cls.") for name in expected) else ("bert.",)
    foreign = sorted(name for name in tensors if not name.startswith(kept) and name not in expected)
    if foreign:
        warnings.warn(
            f"{path}: {', '.join(foreign)} not read, a head of another task", stacklevel=2
        )
    return {name: raw for name, raw in tensors.items() if name not in foreign}


def _as_float32(name: str, raw: Mapping[str, Any]) -> FloatArray:
    """Decode one tensor of a safetensors file; bfloat16 is the upper half of a float32."""
    kind, shape, data = raw["dtype"], raw["shape"], raw["data"]
    if kind == "BF16":
        bits = np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if kind in ("F32", "F16"):
        source = np.frombuffer(data, dtype="<f4" if kind == "F32" else "<f2")
        return source.astype(np.float32).reshape(shape)
    if kind == "I64":  # the position_ids buffer of old checkpoints
        return np.frombuffer(data, dtype="<i8").astype(np.float32).reshape(shape)
    hint = "take the floating-point checkpoint that it was made from"
    if kind == "F64":
        hint = "save it anew, model.float().save_pretrained(DIR)"
    raise ArtifactError(f"tensor {name} is stored as {kind}, expected F32, F16 or BF16", hint=hint)


def _finite(path: Path, name: str, array: FloatArray) -> FloatArray:
    """Return a tensor; raises `ArtifactError` where it holds NaN or infinity: so do all answers."""
    count = array.size - np.count_nonzero(np.isfinite(array))
    if count:
        raise ArtifactError(
            f"{path}: {name} has {count:,} numbers that are NaN or infinite",
            hint="take an earlier checkpoint, or train it again with a lower learning rate",
        )
    return array


def _bfloat16_bytes(array: FloatArray) -> bytes:
    """Round to bfloat16, to nearest even."""
    bits = array.view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + 0x7FFF)
    return (rounded >> 16).astype("<u2").tobytes()


def _without_absent_heads(
    expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, FloatArray]
) -> dict[str, tuple[int, ...]]:
    """Leave out of `expected` the heads of which `weights` holds nothing at all."""
    heads = (_POOLER, "cls.predictions.", "cls.seq_relationship.")
    if "classifier.weight" in expected:  # which says nothing without its pooler
        return dict(expected)
    absent = tuple(head for head in heads if not any(name.startswith(head) for name in weights))
    return {name: shape for name, shape in expected.items() if not name.startswith(absent)}


def _check_tied(
    path: Path, stored: Mapping[str, FloatArray], weights: Mapping[str, FloatArray]
) -> None:
    """Raise `ArtifactError` where a second name of a tied tensor holds other numbers."""
    for second, kept in TIED.items():
        if second in stored and not np.array_equal(stored[second], weights.get(kept, np.empty(0))):
            raise ArtifactError(
                f"{path}: {second} differs from {kept}, expected one matrix under both names",
                hint="only BERTs whose output projection is their word embedding can be read",
            )


def _check_labels(
    path: Path, weights: Mapping[str, FloatArray], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise `ArtifactError` where a classifier has another number of rows than there are labels."""
    name = "classifier.weight"
    found, wanted = weights.get(name, np.empty(0)).shape, expected.get(name, ())
    if len(found) == len(wanted) == 2 and found[0] != wanted[0]:
        raise ArtifactError(
            f"{path}: {name} is for {found[0]:,} labels, config.json names {wanted[0]:,}",
            hint="correct id2label in config.json",
        )


def _check_shapes(
    path: Path, weights: Mapping[str, FloatArray], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise `ArtifactError` unless the tensors are exactly the expected ones."""
    hint = "check that config.json and the weights belong together"
    odd = sorted(weights.keys() ^ expected.keys())
    if odd:
        problem = "lacks" if odd[0] in expected else "has an unknown tensor"
        raise ArtifactError(f"{path} {problem} {odd[0]}, expected a BERT of this shape", hint=hint)
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ArtifactError(
                f"{path}: {name} has shape {weights[name].shape}, expected {shape}", hint=hint
            )
