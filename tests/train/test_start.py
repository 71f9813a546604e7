"""Any BERT's folder is a start for fine-tuning; what does not fit is refused by name."""

import numpy as np
import pytest
import torch
import transformers

from bert_mobile.checkpoint import write_checkpoint
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.model.config import ANSWERS, SEQUENCES, TASKS, TOKENS
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize import dequantize, quantize
from bert_mobile.train.start import load_encoder

LABELS = ("a", "b")
QUERY = "bert.encoder.layer.0.attention.self.query.weight"
POOLER = "bert.pooler.dense.weight"


def network(config, architecture=SEQUENCES, **changes):
    labels = () if architecture == ANSWERS else LABELS
    torch.manual_seed(1)
    return BertForTask(config.with_task(architecture, **{"labels": labels, **changes}))


@pytest.fixture
def fine_tuned(tiny_config, tiny_tokenizer, tmp_path):
    """A folder of a classifier, and its weights."""
    torch.manual_seed(2)
    config = tiny_config.with_task(SEQUENCES, labels=LABELS)
    weights = BertForTask(config).to_huggingface()
    folder = tmp_path / "tuned"
    folder.mkdir()
    write_checkpoint(folder, config, weights, tiny_tokenizer, {})
    return folder, weights


@pytest.mark.parametrize("architecture", TASKS)
def test_our_pretrained_checkpoint(architecture, tiny_config, tiny_checkpoint, tiny_weights):
    model = network(tiny_config, architecture)
    before = model.to_huggingface()
    assert load_encoder(model, tiny_checkpoint) == ("head",)
    for name, array in model.to_huggingface().items():
        expected = tiny_weights if name.startswith("bert.") else before
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("pooled", [True, False])
def test_a_bare_encoder_of_transformers(pooled, tiny_config, tmp_path):
    raw = transformers.BertConfig(**tiny_config.to_json())
    theirs = transformers.BertModel(raw, add_pooling_layer=pooled)
    theirs.save_pretrained(tmp_path)
    model = network(tiny_config)
    fresh = model.to_huggingface()[POOLER]
    assert load_encoder(model, tmp_path) == (("head",) if pooled else ("pooler", "head"))
    found = model.to_huggingface()
    np.testing.assert_array_equal(found[QUERY], theirs.state_dict()[QUERY[5:]].numpy())
    assert np.array_equal(found[POOLER], fresh) is not pooled


def test_a_fine_tuned_model_and_its_head(fine_tuned, tiny_config):
    folder, weights = fine_tuned
    model = network(tiny_config)
    assert load_encoder(model, folder) == ("head",)
    assert not np.array_equal(
        model.to_huggingface()["classifier.weight"], weights["classifier.weight"]
    )
    assert load_encoder(model, folder, reuse_head=True) == ()
    for name, array in model.to_huggingface().items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)
    tagger = network(tiny_config, TOKENS)
    assert load_encoder(tagger, folder) == ("head",)
    np.testing.assert_array_equal(tagger.to_huggingface()[QUERY], weights[QUERY])


def test_a_quantized_model(tiny_checkpoint, tiny_config, tmp_path):
    quantize(tiny_checkpoint, tmp_path / "small", max_bytes=130_000)
    model = network(tiny_config)
    assert load_encoder(model, tmp_path / "small") == ("head",)
    found, expected = model.to_huggingface(), dequantize(tmp_path / "small")
    np.testing.assert_array_equal(found[QUERY], expected[QUERY])
    np.testing.assert_array_equal(found[POOLER], expected[POOLER])


def test_an_encoder_of_another_shape_is_refused(tiny_config, tiny_checkpoint):
    from dataclasses import replace

    model = network(replace(tiny_config, intermediate_size=64))
    with pytest.raises(InputError, match="has intermediate_size 128, the network to fine-tune has"):
        load_encoder(model, tiny_checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("b", "a")}, "has the labels a, b, the data b, a"),
        ({"architecture": TOKENS}, f"is a {SEQUENCES}, expected {TOKENS}"),
        ({"problem_type": "multi_label_classification"}, "has the problem_type None, the data"),
    ],
)
def test_another_head_is_not_reused(fine_tuned, tiny_config, changes, message):
    model = network(tiny_config, **changes)
    with pytest.raises(InputError, match=message):
        load_encoder(model, fine_tuned[0], reuse_head=True)


def test_a_folder_without_a_model_is_refused(tiny_config, tiny_checkpoint, tmp_path):
    (tmp_path / "config.json").write_bytes((tiny_checkpoint / "config.json").read_bytes())
    with pytest.raises(ArtifactError, match="holds no model"):
        load_encoder(network(tiny_config), tmp_path)
