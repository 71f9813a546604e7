"""The folder between all stages: what goes in comes out, foreign ones are read, damage is named."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bert_mobile.checkpoint import (
    ancestry,
    convert_checkpoint,
    read_weights,
    verify,
    write_checkpoint,
)
from bert_mobile.errors import ArtifactError
from bert_mobile.files import sha256
from bert_mobile.model.config import BertConfig
from bert_mobile.model.names import TIED


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


@pytest.fixture
def unsigned(folder):
    """A copy without hashes, as other programs write it."""
    (folder / "provenance.json").unlink()
    return folder


@pytest.fixture
def unsigned_neighbour(tiny_checkpoint, tmp_path):
    """Somebody else's folder."""
    neighbour = shutil.copytree(tiny_checkpoint, tmp_path / "neighbour")
    (neighbour / "provenance.json").unlink()
    return neighbour


def rewrite(folder, change):
    """Let `change` edit the tensors of a checkpoint in place."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_float32_comes_back_bit_by_bit(tiny_checkpoint, tiny_config, tiny_weights):
    assert BertConfig.read(tiny_checkpoint) == tiny_config
    found = read_weights(tiny_checkpoint, tiny_config)
    assert found.keys() == tiny_weights.keys()
    for name, array in tiny_weights.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_bfloat16_is_rounded_to_nearest_even(tmp_path, tiny_config, tiny_weights, tiny_tokenizer):
    """Oracle: torch. Half-way values are put where truncation and rounding up would both show."""
    bits = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0xBF808000], np.uint32)
    weights = {name: array.copy() for name, array in tiny_weights.items()}
    weights["cls.predictions.bias"][: len(bits)] = bits.view(np.float32)
    write_checkpoint(tmp_path, tiny_config, weights, tiny_tokenizer, {}, bfloat16=True)
    stored = load_file(tmp_path / "model.safetensors")
    found = read_weights(tmp_path, tiny_config)
    for name, array in weights.items():
        expected = torch.from_numpy(array).bfloat16()
        assert torch.equal(stored[name], expected), name
        np.testing.assert_array_equal(found[name], expected.float().numpy(), err_msg=name)


def test_provenance_has_the_facts_and_every_files_hash(tiny_checkpoint):
    record = json.loads((tiny_checkpoint / "provenance.json").read_text())
    names = {path.name for path in tiny_checkpoint.iterdir()} - {"provenance.json"}
    assert names == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    assert record["files"] == {name: sha256(tiny_checkpoint / name) for name in names}
    assert record["recipe"] == "tiny"
    assert record["code"].startswith("bert-mobile ")


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_checkpoints_of_transformers_are_read(kind, tiny_config, tmp_path):
    torch.manual_seed(3)
    theirs = getattr(transformers, kind)(transformers.BertConfig(**tiny_config.to_json()))
    theirs.save_pretrained(tmp_path)
    config = BertConfig.read(tmp_path)
    found = read_weights(tmp_path, config)
    expected = {
        name if name.startswith(("bert.", "cls.")) else f"bert.{name}": tensor
        for name, tensor in theirs.state_dict().items()
        if name not in TIED and not name.endswith("position_ids")
    }
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), err_msg=name)
    shape = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    assert all(getattr(config, each) == getattr(tiny_config, each) for each in shape)


def test_names_of_old_checkpoints_are_read(unsigned, tiny_config, tiny_weights):
    """gamma and beta, the buffer of position numbers, second names of tied tensors, float16."""

    def age(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name).half()
        words = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.weight"] = words.clone()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
        tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]

    rewrite(unsigned, age)
    found = read_weights(unsigned, tiny_config)
    assert found.keys() == tiny_weights.keys()
    for name, array in tiny_weights.items():
        np.testing.assert_array_equal(found[name], array.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_caught_by_hash(folder, name, damage):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[-1] ^= damage == "flip"
    path.write_bytes(data[:-1] if damage == "truncate" else data)
    if damage == "remove":
        path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing or damaged") as caught:
        verify(folder, [name])
    assert "copy the folder again" in caught.value.hint


def test_reading_weights_checks_their_hash(folder, tiny_config):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="has another SHA-256"):
        read_weights(folder, tiny_config)


def test_a_truncated_file_without_hashes_is_refused(unsigned, tiny_config):
    path = unsigned / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="is no whole safetensors file"):
            read_weights(unsigned, tiny_config)


POOLER = "bert.pooler.dense.weight"
HOSTILE = {
    "lacks bert.pooler.dense.weight": lambda t: t.pop(POOLER),
    "has an unknown tensor bert.extra": lambda t: t.update({"bert.extra": torch.zeros(2)}),
    "has an unknown tensor classifier.weight": lambda t: t.update(
        {"classifier.weight": torch.zeros(2)}
    ),
    r"has shape \(64, 63\), expected \(64, 64\)": lambda t: t.update({POOLER: torch.zeros(64, 63)}),
    r"is stored as F64, expected F32, F16 or BF16": lambda t: t.update(
        {POOLER: torch.zeros(64, 64, dtype=torch.float64)}
    ),
    r"pooler\.dense\.weight has 2 numbers that are NaN or infinite": lambda t: t[POOLER][0].put_(
        torch.tensor([0, 5]), torch.tensor([torch.nan, -torch.inf])
    ),
    r"cls\.predictions\.decoder\.weight differs": lambda t: t.update(
        {"cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"] + 1}
    ),
}


@pytest.mark.parametrize(("message", "change"), HOSTILE.items(), ids=range(len(HOSTILE)))
def test_other_tensors_than_a_berts_are_refused(unsigned, tiny_config, message, change):
    rewrite(unsigned, change)
    with pytest.raises(ArtifactError, match=message):
        read_weights(unsigned, tiny_config)


def test_a_hint_tells_how_to_save_what_is_not_read(unsigned, tiny_config):
    rewrite(unsigned, lambda t: t.update({POOLER: t[POOLER].double()}))
    with pytest.raises(ArtifactError) as caught:
        read_weights(unsigned, tiny_config)
    assert caught.value.hint == "save it anew, model.float().save_pretrained(DIR)"
    rewrite(unsigned, lambda t: t.update({POOLER: t[POOLER].to(torch.int8)}))
    with pytest.raises(ArtifactError) as caught:
        read_weights(unsigned, tiny_config)
    assert caught.value.hint == "take the floating-point checkpoint that it was made from"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors.index.json", "its weights are in several files: save it anew, "),
        ("pytorch_model.bin", "its weights are in a pickle, which may run any program: save it "),
        ("notes.txt", "name the folder that `bert-mobile pretrain` or transformers wrote"),
    ],
)
def test_a_hint_tells_what_is_there_in_place_of_weights(unsigned, tiny_config, name, said):
    (unsigned / "model.safetensors").rename(unsigned / name)
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors") as caught:
        read_weights(unsigned, tiny_config)
    assert caught.value.hint.startswith(said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', expected 'bert'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu', expected 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "expected 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True, expected False"),
        ({"hidden_size": "64"}, "hidden_size is '64', expected a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, expected a whole number of at least 1"),
        ({"num_attention_heads": 7}, "hidden_size 64 is no multiple of num_attention_heads 7"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small', expected a number"),
    ],
)
def test_configs_of_other_networks_are_refused(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(ArtifactError, match=message):
        BertConfig.read(folder)


def test_a_config_without_a_shape_is_refused(folder):
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 64}')
    with pytest.raises(ArtifactError, match="lacks 'num_hidden_layers'"):
        BertConfig.read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json does not exist"):
        BertConfig.read(folder)


def test_a_pickle_is_never_read(unsigned, tiny_config):
    (unsigned / "model.safetensors").unlink()
    torch.save({"bert.pooler.dense.bias": torch.zeros(64)}, unsigned / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors") as caught:
        read_weights(unsigned, tiny_config)
    assert "pretrain" in caught.value.hint


def test_writing_refuses_what_is_no_whole_checkpoint(
    tmp_path, tiny_config, tiny_weights, tiny_tokenizer
):
    headless = {name: array for name, array in tiny_weights.items() if "pooler" not in name}
    with pytest.raises(ArtifactError, match=r"lacks bert\.pooler\.dense\.bias"):
        write_checkpoint(tmp_path, tiny_config, headless, tiny_tokenizer, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("parents", ["none", {"name": "a"}, ["a"], None])
def test_provenance_of_another_program_names_no_parents(unsigned, parents):
    record = {"parents": parents, "files": ["config.json"]}
    (unsigned / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="no provenance record of ours") as caught:
        verify(unsigned, ["config.json"])
    assert "delete it if it is not ours" in caught.value.hint
    assert [each["name"] for each in ancestry(unsigned)] == [unsigned.name]


def test_a_converted_checkpoint_is_half_as_large_and_keeps_its_history(folder, tmp_path):
    small = tmp_path / "small"
    (folder / "README.md").write_text("# a card", encoding="utf-8")
    convert_checkpoint(folder, small, bfloat16=True)
    assert (small / "README.md").read_text(encoding="utf-8") == "# a card"
    weights = load_file(small / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert torch.equal(weights[name], tensor.bfloat16()), name
    facts = json.loads((small / "provenance.json").read_text())
    assert facts["recipe"] == "tiny"
    assert facts["converted_from"] == {"sha256": sha256(folder / "model.safetensors")}
    convert_checkpoint(small, tmp_path / "large")
    back = load_file(tmp_path / "large" / "model.safetensors")
    assert all(torch.equal(back[name], weights[name].float()) for name in weights)


def test_a_checkpoint_without_a_head_is_not_converted(unsigned, tmp_path):
    rewrite(unsigned, lambda t: [t.pop(name) for name in list(t) if "seq_relationship" in name])
    with pytest.raises(ArtifactError, match=rf"^{unsigned} lacks cls\.seq_relationship\.bias"):
        convert_checkpoint(unsigned, tmp_path / "out")


def test_converting_replaces_what_it_made_and_nothing_else(folder, unsigned_neighbour, tmp_path):
    convert_checkpoint(folder, tmp_path / "out")
    convert_checkpoint(folder, tmp_path / "out", bfloat16=True)
    for other in (unsigned_neighbour, shutil.copytree(folder, tmp_path / "whole")):
        with pytest.raises(ArtifactError, match="was not written by this command"):
            convert_checkpoint(folder, other)
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="missing or damaged"):
        convert_checkpoint(folder, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 1000
