"""Calibration text: what is asked about it, and what is said of text in another language."""

import warnings

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.text import MAX_CHARACTERS, MAX_LINES, MAX_TOKENS, lines_of, read_lines
from bert_mobile.tokenizer import load_tokenizer

ENGLISH = "the old man and the state\n\nwe see the world of the great people\n"


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return load_tokenizer(tiny_tokenizer)


def read(path, tokenizer, content, **options):
    path.write_text(content, encoding="utf-8")
    return read_lines(path, tokenizer, **{"limit": 64, "masked": False, "halved": False, **options})


def test_blank_lines_do_not_count_and_there_is_an_end(tmp_path, tokenizer):
    text = read(tmp_path / "t", tokenizer, ENGLISH)
    assert len(text.lines) == 2
    assert text.tokens == sum(line.feed["input_ids"].size for line in text.lines)
    long = read(tmp_path / "t", tokenizer, "the man\n" * 300 + ENGLISH, limit=512)
    assert len(long.lines) == MAX_LINES
    (line,) = read(tmp_path / "t", tokenizer, "the old man " * 99, limit=512).lines
    assert line.feed["input_ids"].shape == (1, MAX_TOKENS)
    assert tokenizer.id_to_token(line.feed["input_ids"][0, -1]) == "[SEP]"


def test_a_tab_parts_two_texts_and_halves_are_made_on_demand(tmp_path, tokenizer):
    pair, single = read(tmp_path / "t", tokenizer, "the old\tman\nthe old man\n").lines
    assert pair.feed["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert single.feed["token_type_ids"].tolist() == [[0, 0, 0, 0, 0]]
    (halves,) = read(tmp_path / "t", tokenizer, "the old man and\n", halved=True).lines
    assert halves.feed["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]] or (
        halves.feed["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 1, 1]]
    )


def test_a_network_of_one_type_reads_no_pairs(tmp_path, tokenizer):
    content = "the old\tman and the state\n"
    (line,) = read(tmp_path / "t", tokenizer, content, halved=True, paired=False).lines
    assert not line.feed["token_type_ids"].any()


def test_positions_that_hold_no_text_are_refused(tmp_path, tokenizer):
    with pytest.raises(ArtifactError, match="positions for 4 tokens, expected at least 5"):
        read(tmp_path / "t", tokenizer, ENGLISH, limit=4)
    lines = read(tmp_path / "t", tokenizer, ENGLISH, limit=5, halved=True, masked=True).lines
    assert [line.feed["input_ids"].size for line in lines] == [5, 5]
    assert [len(line.positions) for line in lines] == [1, 1]


def test_pieces_are_hidden_where_they_are_asked_for_and_always_the_same(tmp_path, tokenizer):
    mask = tokenizer.token_to_id("[MASK]")
    content = "the old man and the state of the world in it\n" * 20
    first, again = (read(tmp_path / "t", tokenizer, content, masked=True) for _ in range(2))
    plain = read(tmp_path / "t", tokenizer, content)
    for line, same, shown in zip(first.lines, again.lines, plain.lines, strict=True):
        ids, seen = line.feed["input_ids"][0], shown.feed["input_ids"][0]
        assert np.flatnonzero(ids == mask).tolist() == line.positions.tolist()
        assert 1 <= len(line.positions) <= 2
        np.testing.assert_array_equal(ids, same.feed["input_ids"][0])
        np.testing.assert_array_equal(
            np.delete(ids, line.positions), np.delete(seen, line.positions)
        )
    assert len({tuple(line.positions) for line in first.lines}) > 5
    assert first.counts[mask] == 0


def test_text_in_another_language_is_told_and_what_was_measured(tmp_path, tokenizer):
    with pytest.warns(
        UserWarning, match=r"100% of the pieces are \[UNK\] or single characters"
    ) as seen:
        text = read(tmp_path / "t", tokenizer, "これは日本語の文章です\nещё один пример\n")
    assert "measured on it all the same: 2 lines of" in str(seen[0].message)
    assert text.facts()["foreign_pieces"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "t", tokenizer, ENGLISH).foreign < 0.2


def test_of_an_endless_line_only_the_beginning_is_read(tmp_path, tokenizer):
    text = read(tmp_path / "t", tokenizer, "the old man " * 50_000)
    assert text.tokens == 64
    assert [len(line) for line in lines_of(tmp_path / "t")] == [MAX_CHARACTERS]
