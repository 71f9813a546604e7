"""Texts to tokens: frames, limits, and texts that nobody wants to read."""

import json
import warnings

import pytest
from tokenizers import Tokenizer

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.runtime.text import TextEncoder, TruncationWarning


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint, tiny_config):
    return TextEncoder(tiny_checkpoint, tiny_config)


def spelled(encoder, tokens):
    return " ".join(encoder.tokenizer.id_to_token(i) for i in tokens.ids)


def test_frames(encoder):
    (single,) = encoder.encode(["The WAY"])
    assert spelled(encoder, single) == "[CLS] the way [SEP]"
    assert single.types == [0, 0, 0, 0]
    (pair,) = encoder.encode_pairs(["the way"], ["we go"])
    assert spelled(encoder, pair) == "[CLS] the way [SEP] we go [SEP]"
    assert pair.types == [0, 0, 0, 0, 1, 1, 1]


def test_a_hundred_thousand_words_are_cut_with_a_warning(encoder):
    with pytest.warns(TruncationWarning, match=r"the text has 100,000 pieces and was cut to 62"):
        (tokens,) = encoder.encode(["the " * 100_000])
    assert len(tokens.ids) == 64


@pytest.mark.parametrize("before", [0, 10, 61, 62, 500, 99_999])
def test_the_mask_survives_the_cut_with_its_surroundings(encoder, before):
    text = "the " * before + "[MASK] " + "way " * (100_000 - before)
    with pytest.warns(TruncationWarning):
        (tokens,) = encoder.encode_masked([text])
    assert len(tokens.ids) == 64
    assert tokens.ids.count(encoder.mask_id) == 1
    place = tokens.ids.index(encoder.mask_id)
    assert place == before + 1 if before < 62 else place > 16


def test_masks_too_far_apart_are_kept_from_the_first_on(encoder):
    text = "the " * 100 + "[MASK] " + "way " * 30 + "[MASK] " + "the " * 300 + "[MASK]"
    with pytest.warns(TruncationWarning):
        (tokens,) = encoder.encode_masked([text])
    assert tokens.ids.index(encoder.mask_id) == 1
    assert tokens.ids.count(encoder.mask_id) == 2


@pytest.mark.parametrize(
    ("a", "b", "kept"), [(5, 100, (5, 56)), (100, 5, (56, 5)), (99, 99, (30, 31))]
)
def test_the_longer_text_of_a_pair_is_cut(encoder, a, b, kept):
    with pytest.warns(TruncationWarning, match="a pair of texts"):
        (tokens,) = encoder.encode_pairs(["the " * a], ["way " * b])
    assert len(tokens.ids) == 64
    words = spelled(encoder, tokens).split()
    assert (words.count("the"), words.count("way")) == kept


def test_a_text_that_fits_is_not_warned_about(encoder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["the " * 62])


@pytest.mark.parametrize("text", ["", "   ", "\x00\x00", "\u200b"])
def test_empty_texts_are_refused(encoder, text):
    with pytest.raises(InputError, match="the text is empty"):
        encoder.encode([text])
    with pytest.raises(InputError, match="text 1, counted from 0, is empty"):
        encoder.encode(["the", text])


def test_lone_surrogates_are_refused_with_their_place(encoder):
    with pytest.raises(InputError, match="lone surrogate at character 4"):
        encoder.encode(["the \ud800 way"])


@pytest.mark.parametrize("text", [None, 3, b"the", ["the"]])
def test_what_is_no_text_is_refused(encoder, text):
    with pytest.raises(InputError, match="expected a string"):
        encoder.encode([text])


def test_a_text_without_mask_is_refused(encoder):
    with pytest.raises(InputError, match=r"text 1, counted from 0, has no \[MASK\]"):
        encoder.encode_masked(["[MASK]", "the way"])


def test_nul_bytes_vanish(encoder):
    assert encoder.encode(["th\x00e w\x00ay"]) == encoder.encode(["the way"])


def test_the_cut_that_a_tokenizer_file_asks_for_is_ignored(tiny_checkpoint, tiny_config, tmp_path):
    tokenizer = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tokens,) = TextEncoder(tmp_path, tiny_config).encode(["the way we go"])
    assert len(tokens.ids) == 6


def test_a_tokenizer_larger_than_the_network_is_refused(tiny_checkpoint, tiny_config, tmp_path):
    raw = json.loads((tiny_checkpoint / "tokenizer.json").read_text())
    size = len(raw["model"]["vocab"])
    raw["model"]["vocab"]["surplus"] = size
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=f"{size + 1} pieces, expected at most the {size} of"):
        TextEncoder(tmp_path, tiny_config)
