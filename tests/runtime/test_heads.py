"""Questions to fine-tuned models: what is refused, long texts, vanished words, entity schemes."""

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bert_mobile
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize import quantize
from bert_mobile.runtime.heads import _parts
from bert_mobile.runtime.predict import Candidates, entity_spans, has_entities
from bert_mobile.runtime.text import TextEncoder, TruncationWarning


@pytest.fixture(scope="module")
def models(tiny_task):
    return {kind: bert_mobile.load(tiny_task(kind)) for kind in (SEQUENCES, TOKENS, ANSWERS)}


def ask(model, text):
    """Put a text to a model whatever its head."""
    kind = model.config.architecture
    if kind == ANSWERS:
        return model.answer(question="who?", context=text)
    return model.classify(text) if kind == SEQUENCES else model.tag(text)


@pytest.mark.parametrize("kind", [SEQUENCES, TOKENS, ANSWERS])
@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("\u200b", "is empty"), ("a\ud800", "lone surrogate at character 1")],
)
def test_bad_texts(models, kind, text, message):
    with pytest.raises(InputError, match=message) as caught:
        ask(models[kind], text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("made", "question", "command"),
    [
        (TOKENS, lambda m: m.classify("the"), "finetune classify"),
        (SEQUENCES, lambda m: m.tag("the"), "finetune tag"),
        (SEQUENCES, lambda m: m.answer(question="who", context="the"), "finetune answer"),
        (SEQUENCES, lambda m: m.fill_mask("the [MASK]"), "such as the default"),
        (ANSWERS, lambda m: m.score("the"), "such as the default"),
        (TOKENS, lambda m: m.next_sentence("the", "we"), "such as the default"),
    ],
)
def test_another_head_is_named_with_what_makes_it(models, made, question, command):
    with pytest.raises(InputError, match=f"is a {made}, expected a BertFor") as caught:
        question(models[made])
    assert command in caught.value.hint


def test_a_fine_tuned_model_still_embeds(models):
    for model in models.values():
        assert model.embed(["the way", "we"]).shape == (2, 64)


def test_bad_options(models):
    with pytest.raises(InputError, match="top_k is 0"):
        models[SEQUENCES].classify("the", top_k=0)
    with pytest.raises(InputError, match="1 first and 2 second texts, expected pairs"):
        models[SEQUENCES].classify(["the"], ["we", "it"])
    with pytest.raises(InputError, match="2 questions and 3 contexts"):
        models[ANSWERS].answer(question=["a", "b"], context=["the"] * 3)
    with pytest.raises(InputError, match="longest is 0"):
        models[ANSWERS].answer(question="who", context="the", longest=0)
    with pytest.raises(InputError, match="the stride is 62, expected 0 to 61"):
        models[TOKENS].tag("the way", stride=62)
    with pytest.raises(InputError, match="the text is empty"):
        models[TOKENS].tag([[]])


def test_nothing_gives_nothing(models):
    assert models[SEQUENCES].classify([]) == []
    assert models[TOKENS].tag([]) == []
    assert models[ANSWERS].answer(question=[], context="the") == []


def test_threshold_keeps_all_labels_above_it(tiny_task):
    model = bert_mobile.load(tiny_task(SEQUENCES, problem_type="multi_label_classification"))
    every = model.classify("the old man", top_k=None)
    between = (every[0]["score"] + every[1]["score"]) / 2
    assert model.classify("the old man", threshold=between) == every[:1]
    assert model.classify(["the old man"], threshold=1.0) == [[]]


def test_no_torch_is_loaded(tiny_task, tmp_path):
    for kind in (SEQUENCES, TOKENS, ANSWERS):
        quantize(tiny_task(kind), tmp_path / kind, max_bytes=10**6)
    code = f"""
import sys, bert_mobile
root = {str(tmp_path)!r} + "/"
assert bert_mobile.load(root + {SEQUENCES!r}).classify(["great!"])
assert bert_mobile.load(root + {TOKENS!r}).tag("the man", per_word=True)
assert bert_mobile.load(root + {ANSWERS!r}).answer(question="who?", context="the man")
assert not {{"torch", "transformers", "onnx"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- long texts ---------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["the", "unknownish", "wörld"]), min_size=1, max_size=120))
def test_each_word_is_judged_once_where_most_surrounds_it(tiny_checkpoint, tiny_config, words):
    encoder = TextEncoder(tiny_checkpoint, tiny_config, limit=16)
    (found,) = encoder.read_words([words])
    parts = list(_parts(encoder, found, 6))
    judged = [number for _, places in parts for number in places]
    assert sorted(judged) == list(range(len(words)))
    for part, (tokens, places) in enumerate(parts):
        for number, place in places.items():
            start = found.starts[number]
            assert tokens.ids[place] == found.ids[start]
            assert place == start - 8 * part + 1
            before = part == 0 or place - 1 >= 3  # of the 6 shared, half on each side
            behind = part == len(parts) - 1 or 14 - place >= 2
            assert before
            assert behind


def test_long_texts_are_tagged_to_their_end(models):
    text = "the old man and the unknownish state " * 60
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = models[TOKENS].tag(text, per_word=True)
    assert [each["word"] for each in found] == text.split()
    assert text[found[-1]["start"] : found[-1]["end"]] == "state"


def test_words_that_vanish_keep_their_tag(models):
    found = models[TOKENS].tag([["the", "\u200b", "man"]], per_word=True)[0]
    assert [each["word"] for each in found] == ["the", "\u200b", "man"]
    assert [each["start"] for each in found] == [0, 4, 6]


@pytest.mark.slow
def test_a_context_of_a_hundred_thousand_words(models):
    context = "the man " * 50_000
    found = models[ANSWERS].answer(question="who?", context=context, stride=0)
    assert context[found["start"] : found["end"]] == found["answer"]


def test_a_question_longer_than_the_model_reads(models):
    with pytest.warns(TruncationWarning, match="the question has 500 pieces and was cut to 30"):
        found = models[ANSWERS].answer(question="who " * 500, context="the old man")
    assert found["answer"] in "the old man"


# --- schemes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-A I-A O", [("A", 1, 3)]),
        ("B-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
        ("I-A I-A I-B", [("A", 0, 2), ("B", 2, 3)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("I-A O I-A", [("A", 0, 1), ("A", 2, 3)]),
        ("S-A S-A B-A E-A I-A", [("A", 0, 1), ("A", 1, 2), ("A", 2, 4), ("A", 4, 5)]),
        ("A A O B B", [("A", 0, 2), ("B", 3, 5)]),
        ("E-mail E-mail O phone", [("E-mail", 0, 2), ("phone", 3, 4)]),
    ],
)
def test_entities(tags, expected):
    words = tags.split()
    assert entity_spans(words, sorted({*words, "O"})) == expected


def test_labels_with_and_without_entities():
    assert has_entities(["O", "B-A"])
    assert has_entities(["O", "A"])
    assert not has_entities(["NOUN", "VERB"])


@given(st.floats(-20, 0), st.floats(-20, 0), st.floats(-5, 5))
def test_none_is_said_where_it_is_likelier_by_the_threshold(none, best, threshold):
    (answer,) = Candidates([(0, 3, best)], none).answers("the man", 1, threshold)
    assert (answer["answer"] == "") is (none - best > threshold)
    (always,) = Candidates([(0, 3, best)], none).answers("the man", 1, None)
    assert always["answer"] == "the"


# --- config.json of others ----------------------------------------------------------------------


@pytest.fixture
def edited(tiny_task, tmp_path):
    """Return a function that writes a classifier's folder with a changed config.json."""

    def edited(**changes):
        folder = shutil.copytree(tiny_task(SEQUENCES), tmp_path / "edited")
        (folder / "provenance.json").unlink()
        config = {**json.loads((folder / "config.json").read_text()), **changes}
        config = {key: value for key, value in config.items() if value != "absent"}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return edited


def test_labels_without_names(edited):
    folder = edited(id2label="absent", num_labels=3)
    assert BertConfig.read(folder).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert bert_mobile.load(folder).classify("the")[0]["label"].startswith("LABEL_")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id2label": "absent"}, "is for 3 labels, config.json names 2"),
        ({"id2label": {"0": "a", "2": "b"}}, "label for the id '2' but none for 1"),
        ({"id2label": {"a": "a", "b": "b"}}, "label for the id 'a' but none for 0"),
        ({"id2label": {"9" * 5000: "a"}}, "label for the id '99999999999999999999' but none for 0"),
        ({"id2label": ["a", "b"]}, "an id2label of type list, expected an object"),
        ({"id2label": {}}, "there are 0 labels, expected 1 to 65,536"),
        ({"id2label": {"0": "a", "1": "a"}}, "two labels are called 'a'"),
        ({"id2label": {"0": 7, "1": "a"}}, "label 0 is 7, expected a name"),
        ({"id2label": {"0": "\ud800"}}, "label 0 is .* expected a name"),
        ({"id2label": "absent", "num_labels": 10**9}, "num_labels is 1000000000, expected 1 to"),
        ({"id2label": "absent", "num_labels": "3"}, "num_labels is '3', expected 1 to"),
        ({"id2label": {str(i): str(i) for i in range(70_000)}}, "there are 70,000 labels"),
        ({"problem_type": "guessing"}, "problem_type is 'guessing', expected multi_label"),
        ({"problem_type": ["regression"]}, "problem_type is .* expected multi_label"),
        (
            {"problem_type": "single_label_classification", "id2label": {"0": "a"}},
            "of 1 labels",
        ),
        (
            {"task_specific_params": {"bert-mobile": {"max_length": 65}}},
            "max_length is 65, expected 8 to 64",
        ),
        (
            {"task_specific_params": {"bert-mobile": {"no_answer_threshold": 0.5}}},
            "no_answer_threshold is 0.5, expected a number of nats, in a BertForQuestionAnswering",
        ),
    ],
)
def test_configs_that_contradict_themselves(edited, changes, message):
    folder = edited(**changes)
    with pytest.raises(ArtifactError, match=message):
        bert_mobile.load(folder)


@pytest.mark.parametrize("params", [None, [], {"text-generation": {}}, {"bert-mobile": 3}])
def test_parameters_of_others_are_passed_over(edited, params):
    assert BertConfig.read(edited(task_specific_params=params)).max_length is None


def test_labels_that_do_not_fit_an_onnx_file(tiny_task, edited, tmp_path):
    quantize(tiny_task(SEQUENCES), tmp_path / "small", max_bytes=10**6)
    folder = edited(id2label={"0": "a", "1": "b"})
    shutil.copytree(tmp_path / "small" / "onnx", folder / "onnx")
    with pytest.raises(ArtifactError, match=r"gives 3 numbers, config\.json names 2 labels"):
        bert_mobile.load(folder).classify("the")


def test_an_unused_pooler_of_older_files_is_left_out(tiny_task, tiny_weights, tmp_path):
    from bert_mobile.checkpoint import read_weights, write_tensors

    folder = shutil.copytree(tiny_task(TOKENS), tmp_path / "old")
    (folder / "provenance.json").unlink()
    config = BertConfig.read(folder)
    weights = read_weights(folder, config)
    pooler = {k: w for k, w in tiny_weights.items() if k.startswith("bert.pooler.")}
    write_tensors(folder / "model.safetensors", {**weights, **pooler})
    again = read_weights(folder, config)
    assert again.keys() == weights.keys()
    np.testing.assert_array_equal(again["classifier.weight"], weights["classifier.weight"])
