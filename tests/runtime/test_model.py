"""Questions that cannot be answered, and how that is said."""

import pytest

import bert_mobile
from bert_mobile.errors import InputError
from bert_mobile.runtime import model as module


@pytest.fixture(scope="module")
def model(tiny_quantized):
    return bert_mobile.load(str(tiny_quantized))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the way", r"the text has no \[MASK\]"),
        ("", "the text is empty"),
        ("\ud800 [MASK]", "lone surrogate at character 0"),
        (3, "expected a string"),
    ],
)
def test_bad_texts(model, text, message):
    with pytest.raises(InputError, match=message) as caught:
        model.fill_mask(text)
    with pytest.raises(InputError):
        model.fill_mask([text, text])
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_bad_targets(model):
    with pytest.raises(InputError, match="a target is of type int, expected a string"):
        model.fill_mask("[MASK]", targets=[3])
    with pytest.raises(InputError, match="a target has a lone surrogate at character 1"):
        model.fill_mask("[MASK]", targets=["a\udfff"])


def test_bad_options(model):
    with pytest.raises(InputError, match="top_k is 0, expected at least 1"):
        model.fill_mask("[MASK]", top_k=0)
    with pytest.raises(InputError, match="batch size is 0"):
        model.embed("the", batch_size=0)


@pytest.mark.parametrize(("a", "b"), [("the", ["we"]), (["the"], "we"), (["the", "we"], ["the"])])
def test_next_sentence_wants_pairs(model, a, b):
    with pytest.raises(InputError, match="expected pairs"):
        model.next_sentence(a, b)


def test_many_masks_are_answered_a_part_at_a_time(model, monkeypatch):
    texts = ["[MASK] " * 20, "the [MASK] [MASK]"]
    whole = model.fill_mask(texts)
    monkeypatch.setattr(module, "_MAX_ROWS", 3)
    parts = model.fill_mask(texts)
    assert [len(answer) for answer in parts] == [20, 2]
    for a, b in zip(whole, parts, strict=True):
        assert [[p["token"] for p in gap] for gap in a] == [[p["token"] for p in gap] for gap in b]


def test_the_model_tells_what_it_is(model, tiny_quantized, tiny_config):
    assert model.folder == tiny_quantized
    assert model.config == tiny_config
    assert model.tokenizer.get_vocab_size() == tiny_config.vocab_size
