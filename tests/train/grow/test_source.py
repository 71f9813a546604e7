"""What can be grown from, and what is refused with a reason."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.model.config import BertConfig
from bert_mobile.tokenizer import SPECIAL_TOKENS
from bert_mobile.train.grow import grow

WORD_ROWS = "bert.embeddings.word_embeddings.weight"


def edit(name, change):
    """Return what spoils a JSON file of a source."""

    def spoil(folder):
        record = json.loads((folder / name).read_text())
        change(record)
        (folder / name).write_text(json.dumps(record))

    return spoil


def weigh(name, value):
    """Return what puts a number into a tensor of a source."""

    def spoil(folder):
        tensors = load_file(folder / "model.safetensors")
        tensors[name].view(-1)[7:9] = value
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def without_tokenizer(folder):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()


def without_unknown(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n[MASK]\nthe\n")


def byte_pairs(folder):
    pieces = {piece: i for i, piece in enumerate(SPECIAL_TOKENS)}
    Tokenizer(models.BPE(pieces, [])).save(str(folder / "tokenizer.json"))


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def quantized(folder):
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model_quantized.onnx").touch()


SPOILED = {
    "no BERT": (edit("config.json", lambda c: c.update(model_type="roberta")), "'roberta'"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json does not exist"),
    "few rows": (edit("config.json", lambda c: c.update(vocab_size=99)), "206 pieces, .* for 99"),
    "no tokenizer": (without_tokenizer, "expected a tokenizer"),
    "no [UNK]": (without_unknown, r"vocab\.txt lacks \[UNK\], expected a BERT tokenizer"),
    "BPE": (byte_pairs, "a tokenizer of the kind BPE, expected WordPiece"),
    "NaN": (weigh(WORD_ROWS, torch.nan), f"{WORD_ROWS} has 2 numbers that are NaN or infinite"),
    "infinity": (weigh("cls.predictions.bias", torch.inf), r"cls\.predictions\.bias has 2 num"),
    "pickle": (pickled, r"holds pytorch_model\.bin, expected model\.safetensors"),
    "quantized": (quantized, r"holds onnx/model_quantized\.onnx, expected model\.safetensors"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_a_source_that_cannot_be_grown(
    written, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path, spoil, message
):
    source = shutil.copytree(written(), tmp_path / "source")
    spoil(source)
    with pytest.raises(ArtifactError, match=message) as caught:
        grow(
            source,
            tmp_path / "g",
            config=tiny_config,
            tokenizer=tiny_tokenizer,
            corpus=tiny_corpus,
        )
    assert caught.value.hint
    assert not (tmp_path / "g").exists()


def test_numbers_that_overflow(written, tiny_config, tiny_corpus, tmp_path):
    source = shutil.copytree(written(), tmp_path / "source")
    weigh("bert.encoder.layer.0.output.LayerNorm.weight", 3e38)(source)
    with pytest.raises(RunError, match="overflow float32"):
        grow(source, tmp_path / "g", config=tiny_config, tokenizer=source, corpus=tiny_corpus)


def test_too_few_positions_and_too_little_text(written, tiny_config, tiny_corpus, tmp_path):
    out, source = tmp_path / "g", written(max_position_embeddings=7)
    with pytest.raises(InputError, match="the source has 7 positions, expected at least 8"):
        grow(source, out, config=tiny_config, tokenizer=source, corpus=tiny_corpus)
    config = BertConfig(**{**vars(tiny_config), "max_position_embeddings": 7})
    with pytest.raises(InputError, match="the target has 7 positions"):
        grow(written(), out, config=config, tokenizer=source, corpus=tiny_corpus)
    (tmp_path / "a.txt").write_text("We see the old man. It is the way of the world, and no more.")
    with pytest.raises(InputError, match=r"pieces of text, expected at least 29 to calibrate with"):
        grow(written(), out, config=tiny_config, tokenizer=source, corpus=tmp_path / "a.txt")
