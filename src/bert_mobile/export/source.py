"""What is exported: a float checkpoint, or a quantized folder with the decisions in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bert_mobile.checkpoint import WEIGHTS, read_weights, verify
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import read_json
from bert_mobile.model.config import SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize.interface import QUANTIZED
from bert_mobile.quantize.pack import FloatArray, PackedMatrix, PackedRows, unpack_matrix
from bert_mobile.tokenizer import TOKENIZER_FILES, load_tokenizer


@dataclass(frozen=True)
class Source:
    """A model to export."""

    folder: Path
    """Where it lies, tokenizer and card included."""
    config: BertConfig
    weights: Mapping[str, FloatArray]
    """float32 by Hugging Face name; of a quantized folder what its codes stand for."""
    packed: Mapping[str, PackedMatrix | PackedRows]
    """The matrices as `quantize` packed them, by the same names; empty for a float checkpoint."""

    @property
    def file(self) -> str:
        """The file of its weights, within the folder."""
        return QUANTIZED if self.packed else WEIGHTS


def read_source(folder: Path) -> Source:
    """Read a float checkpoint, or a folder that `quantize` wrote.

    Raises `ArtifactError` where the folder holds neither, or is damaged; `InputError` where it was
    fine-tuned for classes and nothing says what they are called.
    """
    verify(folder, ["config.json", *TOKENIZER_FILES])
    config = BertConfig.read(folder)
    _refuse_nameless(folder, config)
    load_tokenizer(folder, config.vocab_size)  # which refuses one that does not fit
    if (folder / QUANTIZED).is_file():
        return _read_quantized(folder, config)
    if (folder / WEIGHTS).is_file():
        weights = read_weights(folder, config, skip_foreign_heads=True)
        return Source(folder, config, weights, {})
    raise ArtifactError(
        f"{folder} holds nothing to export, expected {WEIGHTS} or {QUANTIZED}",
        hint="name a folder that `pretrain`, `finetune`, `quantize` or transformers wrote",
    )


def _read_quantized(folder: Path, config: BertConfig) -> Source:
    from bert_mobile.quantize.reading import read_packed

    weights: dict[str, FloatArray] = {}
    packed: dict[str, PackedMatrix | PackedRows] = {}
    for name, stored in read_packed(folder).items():
        if isinstance(stored, PackedMatrix | PackedRows):
            packed[name], weights[name] = stored, unpack_matrix(stored)
        else:
            weights[name] = stored
    return Source(folder, config, weights, packed)


def _refuse_nameless(folder: Path, config: BertConfig) -> None:
    """Raise `InputError` where classes have no names: no client could say what it found."""
    if config.architecture not in (SEQUENCES, TOKENS):
        return
    raw = read_json(folder / "config.json", "the config.json of a BERT checkpoint")
    if "id2label" not in raw:
        raise InputError(
            f"{folder / 'config.json'} has no id2label, expected the names of the classes of a "
            f"{config.architecture}",
            hint='add them: {"id2label": {"0": "first label", "1": "second label"}}',
        )
