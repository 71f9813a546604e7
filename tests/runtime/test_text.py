"""Texts to tokens: frames, limits, and texts that nobody wants to read."""

import json
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


# --- words and windows --------------------------------------------------------------------------


def test_words_begin_where_their_first_piece_is(encoder):
    ((tokens, starts),) = encoder.encode_words([["The", "unknownish", "man", "'s"]])
    pieces = spelled(encoder, tokens).split()
    assert [pieces[start] for start in starts] == ["the", "u", "man", "'"]
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")


def test_a_word_that_vanishes_is_unknown(encoder):
    ((tokens, starts),) = encoder.encode_words([["\u200b", "man", "", "\x00"]])
    assert spelled(encoder, tokens) == "[CLS] [UNK] man [UNK] [UNK] [SEP]"
    assert starts == [1, 2, 3, 4]


def test_words_beyond_the_limit_have_no_place(encoder, tiny_checkpoint, tiny_config):
    with pytest.warns(TruncationWarning, match="the text has 100 pieces and was cut to 62"):
        ((tokens, starts),) = encoder.encode_words([["the", "way"] * 50])
    assert (len(tokens.ids), starts) == (64, list(range(1, 63)))
    short = TextEncoder(tiny_checkpoint, tiny_config, limit=8)
    with pytest.warns(TruncationWarning):
        ((tokens, starts),) = short.encode_words([["the", "unknownish", "way"]])
    assert (len(tokens.ids), starts) == (8, [1, 2])


def test_the_limit_is_the_fine_tunings_unless_another_is_asked_for(tiny_checkpoint, tiny_config):
    config = replace(tiny_config, max_length=16)
    assert TextEncoder(tiny_checkpoint, config).limit == 16
    assert TextEncoder(tiny_checkpoint, config, limit=32).limit == 32
    assert TextEncoder(tiny_checkpoint, tiny_config).limit == 64
    for limit in (7, 65):
        with pytest.raises(InputError, match=f"limit is {limit}, expected 8 to 64"):
            TextEncoder(tiny_checkpoint, config, limit=limit)


def test_a_string_is_split_as_berts_words_are(encoder):
    text = "Don't  \u00e9tat-way. \u4e2d\u6587 [MASK]!"
    (words,) = encoder.read_words([text])
    found = [text[start:end] for start, end in words.spans]
    assert found == [
        *"Don ' t".split(),
        "\u00e9tat",
        "-",
        "way",
        ".",
        *"\u4e2d\u6587",
        "[MASK]",
        "!",
    ]
    assert words.ids == encoder.encode([text])[0].ids[1:-1]
    (listed,) = encoder.read_words([found])
    assert (listed.ids, listed.starts) == (words.ids, words.starts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the text is empty"),
        (["the", "\ud800"], "word 1, counted from 0, of the text has a lone surrogate"),
        (["the", 3], "word 1, counted from 0, of the text is of type int"),
        (5, "the text is of type int, expected a string"),
        ("", "the text is empty"),
    ],
)
def test_bad_words(encoder, words, message):
    with pytest.raises(InputError, match=message):
        encoder.encode_words([words])


@given(
    st.lists(
        st.sampled_from(["the", "Way", "st\u00e4te", "zq", "\u4e2d", "\u200b", "don't"]), min_size=1
    ),
    st.integers(0, 20),
)
def test_windows_cover_the_context_and_overlap_by_the_stride(encoder, words, stride):
    question, context = "who is he", "  ".join(["man", *words])
    windows = encoder.encode_windows(question, context, stride)
    whole = encoder.tokenizer.encode(context, add_special_tokens=False)
    width, covered = 61 - 3, []
    for number, window in enumerate(windows):
        ids = window.tokens.ids
        part = ids[window.start : -1]
        assert window.start == 5
        assert spelled(encoder, window.tokens).startswith("[CLS] who is he [SEP] ")
        assert window.tokens.types == [0] * 5 + [1] * (len(part) + 1)
        first = number * (width - stride)
        assert part == whole.ids[first : first + width]
        assert window.offsets == whole.offsets[first : first + width]
        for (start, end), (before, behind) in zip(window.offsets, window.words, strict=True):
            assert before <= start <= end <= behind
            assert not context[before:behind].strip() or " " not in context[before:behind]
        covered += range(first, first + len(part))
    assert set(covered) == set(range(len(whole.ids)))
    assert len(covered) - len(set(covered)) == stride * (len(windows) - 1)


def test_a_question_longer_than_the_model_reads_is_cut(encoder):
    with pytest.warns(TruncationWarning, match="the question has 1,000 pieces and was cut to 30"):
        windows = encoder.encode_windows("who " * 1000, "the man " * 100)
    assert all(len(window.tokens.ids) <= 64 for window in windows)


@pytest.mark.parametrize(
    ("question", "context", "stride", "message"),
    [
        ("", "the man", None, "the question is empty"),
        ("who", "\u200b", None, "the context is empty"),
        ("who", "the \ud800", None, "the context has a lone surrogate at character 4"),
        (None, "the", None, "the question is of type NoneType"),
        ("who", "the man", 60, "the stride is 60, expected 0 to 59"),
        ("who", "the man", -1, "the stride is -1, expected 0 to 59"),
    ],
)
def test_bad_questions(encoder, question, context, stride, message):
    with pytest.raises(InputError, match=message):
        encoder.encode_windows(question, context, stride)
