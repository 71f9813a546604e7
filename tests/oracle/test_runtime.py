"""The runtime against transformers' own pipeline and torch, on the float checkpoint."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertModel,
    pipeline,
)

import bert_mobile

ONE = "The old [MASK], and that's how we see it!"
TWO = "the [MASK] of the [MASK]."
PLAIN = ["the way we go", "an Old man, and the state of the wörld.", "we"]


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return bert_mobile.load(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def oracle(tiny_checkpoint):
    return pipeline("fill-mask", model=str(tiny_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


def assert_same(ours, theirs):
    """Same nesting, same tokens and texts, scores to 1e-4."""
    assert type(ours) is type(theirs)
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
        return
    assert ours.keys() == theirs.keys()
    assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
    for key in ("token", "token_str", "sequence"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize(
    "texts",
    [
        ONE,
        TWO,
        "[MASK]",
        "[MASK] [MASK] [MASK]",
        "th\x00e [MASK] is [UNK] i ' m here , [SEP] we don't",
        [ONE],
        [TWO],
        [ONE, TWO],
        [TWO, "[MASK] is", "we see the [MASK] and the [MASK] of many years.", ONE],
    ],
)
@pytest.mark.parametrize("top_k", [1, 5])
def test_fill_mask(model, oracle, texts, top_k):
    assert_same(model.fill_mask(texts, top_k=top_k), oracle(texts, top_k=top_k))


def test_fill_mask_in_small_batches(model, oracle):
    texts = [f"{'the ' * n}[MASK] is {'old ' * (9 - n)}" for n in range(10)]
    assert_same(model.fill_mask(texts, batch_size=3), oracle(texts))


def test_fill_mask_over_the_whole_vocabulary(model, oracle, tiny_config):
    whole = tiny_config.vocab_size
    assert_same(model.fill_mask(ONE, top_k=whole), oracle(ONE, top_k=whole))
    # transformers raises here; ours gives what there is.
    assert model.fill_mask(ONE, top_k=10 * whole) == model.fill_mask(ONE, top_k=whole)


@pytest.mark.parametrize("targets", ["man", ["man"], ["man", "world", "state", "man"]])
@pytest.mark.parametrize("texts", [ONE, TWO, [ONE, TWO]])
def test_fill_mask_with_targets(model, oracle, texts, targets):
    assert_same(model.fill_mask(texts, targets=targets), oracle(texts, targets=targets))


def test_targets_outside_the_vocabulary(model, oracle):
    targets = ["worldly", "man", "Zebra"]
    with pytest.warns(UserWarning, match="'worldly' is not in the vocabulary: 'world' is used"):
        ours = model.fill_mask(ONE, targets=targets)
    assert_same(ours, oracle(ONE, targets=targets))
    with pytest.warns(UserWarning, match="'' is not in the vocabulary: is left out"):
        ours = model.fill_mask(ONE, targets=["", "man"])
    assert_same(ours, oracle(ONE, targets=["", "man"]))
    with (
        pytest.warns(UserWarning, match="is left out"),
        pytest.raises(bert_mobile.errors.InputError, match="none of the targets"),
    ):
        model.fill_mask(ONE, targets=[""])


def test_a_long_text_is_cut_as_transformers_cuts_it_when_the_mask_is_early(model, oracle):
    text = "the [MASK] " + "of the world " * 100
    with pytest.warns(bert_mobile.runtime.text.TruncationWarning):
        ours = model.fill_mask(text)
    cut = {"truncation": True, "max_length": 64}
    assert_same(ours, oracle(text, tokenizer_kwargs=cut))


def test_next_sentence(model, tokenizer, tiny_checkpoint):
    oracle = BertForNextSentencePrediction.from_pretrained(tiny_checkpoint).eval()
    firsts, seconds = PLAIN, ["it is here.", "we", "the old man and the state of the world"]
    with torch.no_grad():
        logits = [
            oracle(**tokenizer(a, b, return_tensors="pt")).logits
            for a, b in zip(firsts, seconds, strict=True)
        ]
    expected = torch.cat(logits).softmax(dim=-1)[:, 0].numpy()
    assert model.next_sentence(firsts, seconds, batch_size=2) == pytest.approx(expected, abs=1e-5)
    single = model.next_sentence(firsts[0], seconds[0])
    assert isinstance(single, float)
    assert single == pytest.approx(expected[0], abs=1e-5)


def test_embed(model, tokenizer, tiny_checkpoint):
    oracle = BertModel.from_pretrained(tiny_checkpoint).eval()
    inputs = tokenizer(PLAIN, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = oracle(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    expected = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    for batch_size in (1, 2, 32):
        ours = model.embed(PLAIN, batch_size=batch_size)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=2e-5)
    np.testing.assert_allclose(model.embed(PLAIN[1]), expected[1:2], atol=2e-5)


def test_score(model, tokenizer, tiny_checkpoint):
    oracle = BertForMaskedLM.from_pretrained(tiny_checkpoint).eval()
    expected = []
    for text in PLAIN:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        total = 0.0
        for place in range(1, ids.shape[1] - 1):
            masked = ids.clone()
            masked[0, place] = tokenizer.mask_token_id
            with torch.no_grad():
                row = oracle(masked).logits[0, place].double().log_softmax(-1)
            total += row[ids[0, place]].item()
        expected.append(total)
    for batch_size in (1, 4, 64):
        ours = model.score(PLAIN, batch_size=batch_size)
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_nothing_gives_nothing(model):
    assert model.fill_mask([]) == []
    assert model.next_sentence([], []) == []
    assert model.embed([]).shape == (0, 64)
    assert model.score([]).shape == (0,)
