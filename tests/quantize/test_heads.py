"""Quantizing what was fine-tuned: the head stays exact where it is small, and answers go on."""

import json
import shutil

import numpy as np
import pytest

import bert_mobile
from bert_mobile.checkpoint import convert_checkpoint, read_weights, write_tensors
from bert_mobile.errors import ArtifactError
from bert_mobile.model.config import ANSWERS, SEQUENCES, TASKS, TOKENS, BertConfig
from bert_mobile.quantize import dequantize, quantize, unpack_checkpoint

HEADS = {
    SEQUENCES: "classifier.weight",
    TOKENS: "classifier.weight",
    ANSWERS: "qa_outputs.weight",
}
PIPELINES = {
    SEQUENCES: "text-classification",
    TOKENS: "token-classification",
    ANSWERS: "question-answering",
}
TEXT = "the old man and the state we see"


def said(folder, architecture):
    """Return all scores that a model gives for something."""
    model = bert_mobile.load(folder)
    if architecture == SEQUENCES:
        labels = model.classify(TEXT, top_k=None)
        return [each["score"] for each in sorted(labels, key=lambda each: each["label"])]
    if architecture == TOKENS:
        return [each["score"] for each in model.tag(TEXT, per_word=True)]
    return [model.answer(question="who?", context=TEXT)["score"]]


@pytest.mark.parametrize("architecture", TASKS)
def test_there_and_back(architecture, tiny_task, tmp_path):
    source = tiny_task(architecture)
    text = tmp_path / "text.txt"
    text.write_text("the old man\twe see\nthe state of the world\n", encoding="utf-8")
    report = quantize(source, tmp_path / "small", max_bytes=10**6, calibration=text)
    config = BertConfig.read(source)
    assert BertConfig.read(tmp_path / "small") == config
    bits = {tensor.name: tensor.bits for tensor in report.tensors}
    assert bits[HEADS[architecture]] == 32
    assert ("bert.pooler.dense.weight" in bits) is (architecture == SEQUENCES)
    assert said(tmp_path / "small", architecture) == pytest.approx(
        said(source, architecture), abs=0.05
    )
    unpack_checkpoint(tmp_path / "small", tmp_path / "float")
    weights = read_weights(tmp_path / "float", config)
    exact, rounded = read_weights(source, config), dequantize(tmp_path / "small")
    assert weights.keys() == exact.keys() == rounded.keys()
    np.testing.assert_array_equal(weights[HEADS[architecture]], exact[HEADS[architecture]])
    convert_checkpoint(source, tmp_path / "half", bfloat16=True)
    assert BertConfig.read(tmp_path / "half") == config


def test_a_head_of_many_labels_is_packed(tiny_task, tmp_path):
    source = tiny_task(SEQUENCES, labels=tuple(f"intent {i}" for i in range(150)))
    report = quantize(source, tmp_path / "small", max_bytes=150_000)
    assert {t.name: t.bits for t in report.tensors}["classifier.weight"] in (4, 8)
    found = dequantize(tmp_path / "small")["classifier.weight"]
    exact = read_weights(source, BertConfig.read(source))["classifier.weight"]
    assert found.shape == exact.shape
    assert 0 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.12
    assert len(bert_mobile.load(tmp_path / "small").classify(TEXT, top_k=None)) == 150
    card = (tmp_path / "small" / "README.md").read_text(encoding="utf-8")
    assert "one of 150 labels: `intent 0`, `intent 1`" in card
    assert "and 130 more (`config.json`)" in card


@pytest.mark.parametrize("architecture", TASKS)
@pytest.mark.parametrize(
    "parent", ["", "---\nlicense: mit\npipeline_tag: fill-mask\n---\n# Parent\n"]
)
def test_the_card_says_what_is_answered(architecture, parent, tiny_task, tmp_path):
    source = tmp_path / "source"
    convert_checkpoint(tiny_task(architecture), source)
    (source / "README.md").write_text(parent, encoding="utf-8")
    quantize(source, tmp_path / "small", max_bytes=10**6)
    card = (tmp_path / "small" / "README.md").read_text(encoding="utf-8")
    head, _, text = card[4:].partition("\n---\n")
    tags = [line for line in head.splitlines() if line.startswith("pipeline_tag")]
    assert tags == [f"pipeline_tag: {PIPELINES[architecture]}"]
    assert ("license: mit" in head) is bool(parent)
    use = {SEQUENCES: ").classify(", TOKENS: ").tag(", ANSWERS: ").answer(question="}
    assert use[architecture] in text
    for label in BertConfig.read(source).labels:
        assert f"`{label}`" in text


@pytest.mark.parametrize(
    ("kept", "pipeline", "use"),
    [
        ("bert.", "feature-extraction", ").embed("),
        ("cls.predictions.", "fill-mask", ").fill_mask("),
    ],
)
def test_of_a_model_without_all_heads(kept, pipeline, use, tiny_checkpoint, tmp_path):
    """The card goes by the heads that are there, and the way back names the model itself."""
    source, small = tmp_path / "float", tmp_path / "small"
    shutil.copytree(tiny_checkpoint, source)
    (source / "provenance.json").unlink()
    weights = read_weights(source, BertConfig.read(source))
    some = {name: w for name, w in weights.items() if name.startswith(("bert.", kept))}
    write_tensors(source / "model.safetensors", some)
    quantize(source, small, max_bytes=10**6)
    card = (small / "README.md").read_text(encoding="utf-8")
    assert f"\npipeline_tag: {pipeline}\n" in card
    assert use in card
    with pytest.raises(ArtifactError, match=rf"^{small} lacks .*, expected a BertForPreTraining"):
        unpack_checkpoint(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"problem_type": "multi_label_classification"}, "any of 3 labels: `neg`"),
        ({"problem_type": "regression", "labels": ("stars",)}, "a number: `stars`."),
        ({"problem_type": None, "labels": ("stars",)}, "a number: `stars`."),
        (
            {"problem_type": "multi_label_classification", "labels": ("spam",)},
            "any of 1 labels: `spam`.",
        ),
    ],
)
def test_the_card_of_other_problems(changes, said, tiny_task, tmp_path):
    quantize(tiny_task(SEQUENCES, **changes), tmp_path / "small", max_bytes=10**6)
    assert said in (tmp_path / "small" / "README.md").read_text(encoding="utf-8")
    raw = json.loads((tmp_path / "small" / "config.json").read_text())
    assert raw.get("problem_type") == changes["problem_type"]
