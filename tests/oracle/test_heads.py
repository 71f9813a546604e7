"""The heads of tasks against `transformers`, weights and folders in both directions."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from bert_mobile.checkpoint import expected_shapes, read_weights, write_checkpoint
from bert_mobile.model.config import ANSWERS, SEQUENCES, TASKS, TOKENS, BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.model.names import to_huggingface

LABELS = ("neg", "neutral", "pos")
AUTO = {
    SEQUENCES: transformers.AutoModelForSequenceClassification,
    TOKENS: transformers.AutoModelForTokenClassification,
    ANSWERS: transformers.AutoModelForQuestionAnswering,
}
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=TASKS)
def config(request, tiny_config) -> BertConfig:
    labels = () if request.param == ANSWERS else LABELS
    return tiny_config.with_task(request.param, labels=labels)


@pytest.fixture(scope="module")
def ours(config, theirs) -> BertForTask:
    model = BertForTask(config).eval()
    model.from_huggingface({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    return model


@torch.no_grad()
def logits(model, batch):
    """Return the logits of transformers' model, start and end side by side."""
    out = model(**batch)
    return torch.stack([out.start_logits, out.end_logits], -1) if "start_logits" in out else out[0]


@torch.no_grad()
def test_logits(ours, theirs, batch):
    mine, other = ours(**batch), logits(theirs, batch)
    assert mine.shape == other.shape
    difference = (mine - other).abs().max().item()
    print(f"largest difference {difference:.2e}")
    assert difference < TOLERANCE


def test_state_dicts_are_equal_as_sets(ours, theirs, config):
    named = to_huggingface(ours.state_dict(), config.num_hidden_layers, config.architecture)
    assert named.keys() == theirs.state_dict().keys() == expected_shapes(config).keys()
    for name, tensor in named.items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
        assert tuple(tensor.shape) == expected_shapes(config)[name]


def test_gradients_agree(config, theirs, batch):
    model = BertForTask(config).eval()
    model.from_huggingface({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    model(**batch).logsumexp(-1).sum().backward()
    with torch.enable_grad():
        out = theirs(**batch)
        both = (
            torch.stack([out.start_logits, out.end_logits], -1)
            if config.architecture == ANSWERS
            else out.logits
        )
        both.logsumexp(-1).sum().backward()
    mine = model.encoder.layers[0].attention.query.weight.grad
    other = theirs.bert.encoder.layer[0].attention.self.query.weight.grad
    theirs.zero_grad()
    assert (mine - other).abs().max() / other.abs().max() < TOLERANCE


def test_dropout_is_where_transformers_has_it(config, theirs):
    """Only answers have none before the head."""
    rates = [m.p for m in theirs.children() if isinstance(m, torch.nn.Dropout)]
    assert BertForTask(config).dropout.p == (rates[0] if rates else 0.0)


def test_our_folders_load_in_transformers(ours, config, theirs, batch, tiny_tokenizer, tmp_path):
    write_checkpoint(tmp_path, config, ours.to_huggingface(), tiny_tokenizer, {})
    loaded, notes = AUTO[config.architecture].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(loaded) is type(theirs)
    torch.testing.assert_close(logits(loaded.eval(), batch), logits(theirs, batch))
    if config.labels:
        assert loaded.config.id2label == dict(enumerate(LABELS))
        assert loaded.config.label2id == {label: i for i, label in enumerate(LABELS)}


def test_their_folders_load_here(config, theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    found = BertConfig.read(tmp_path)
    assert found == config
    weights = read_weights(tmp_path, found)
    assert weights.keys() == load_file(tmp_path / "model.safetensors").keys()
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(weights[name], tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression", None])
def test_problem_types_are_kept_both_ways(problem, tiny_config, tmp_path):
    config = tiny_config.with_task(SEQUENCES, labels=("score",), problem_type=problem)
    transformers.BertConfig(**config.to_json()).save_pretrained(tmp_path)
    again = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (again.problem_type, again.num_labels) == (problem, 1)
    assert BertConfig.read(tmp_path) == config


def test_two_labels_without_names_are_called_as_transformers_calls_them(tiny_config, tmp_path):
    raw = {**tiny_config.to_json(), "architectures": [SEQUENCES]}
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(**raw))
    theirs.save_pretrained(tmp_path)
    assert BertConfig.read(tmp_path).labels == tuple(theirs.config.id2label.values())
