"""Calibration text: what is asked about it, and what is said of text in another language."""

import warnings

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.hub import resolve
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


FOREIGN = {
    "German": "Die Katze sitzt auf dem Tisch und trinkt ihre Milch, während der Hund draußen im "
    "Garten schläft. Heute morgen haben wir gemeinsam gefrühstückt.",
    "French": "Le chat est assis sur la table et boit son lait pendant que le chien dort dehors "
    "dans le jardin. Ce matin nous avons pris le petit déjeuner ensemble.",
    "Spanish": "El gato está sentado en la mesa y bebe su leche mientras el perro duerme afuera. "
    "Esta mañana desayunamos juntos y hablamos del viaje.",
    "Finnish": "Kissa istuu pöydällä ja juo maitoaan, kun koira nukkuu ulkona puutarhassa.",
    "Polish": "Kot siedzi na stole i pije mleko, podczas gdy pies śpi na zewnątrz w ogrodzie.",
    "Vietnamese": "Con mèo ngồi trên bàn và uống sữa trong khi con chó ngủ ngoài vườn.",
    "Russian": "Кошка сидит на столе и пьёт молоко, пока собака спит в саду.",
    "Hindi": "बिल्ली मेज पर बैठी है और दूध पी रही है",
    "Chinese": "猫坐在桌子上喝牛奶",
}
IN_ENGLISH = {
    "prose": "The cat sits on the table and drinks its milk while the dog sleeps outside.",
    "tweets": "gonna b soooo late 2 work cuz of the bus ugh fml 😭😭 http://t.co/x8Kfd\n"
    "RT @nytimes: BREAKING: Dow falls 300 pts #stocks $AAPL\ncant wait 4 the concert 2nite",
    "names": "Christopher Johnson, Maria Garcia, Thi Nguyen, Siobhan O'Brien, Dmitri Petrov",
    "formulae": "let \\epsilon > 0 and choose \\delta such that |x - a| < \\delta\nx^2 + y^2 = z^2",
    "code": "for (int i = 0; i < n; i++) { x[i] = y[i] * 2.0; }",
    "questions": "how do i reset my pin\nplay some jazz from spotify",
    "numbers": "1,2,3,4,0,1,1,0",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_text_in_another_language_is_told_and_what_was_measured(tmp_path, language):
    with pytest.warns(UserWarning, match=r"\d% of the words are whole in the vocabulary") as seen:
        text = read(tmp_path / "t", load_tokenizer(resolve("default")), FOREIGN[language])
    print(f"{language}: {text.whole:.0%} of the words are whole")
    assert "measured on it all the same: 1 lines of" in str(seen[0].message)
    assert text.facts()["whole_words"] == round(text.whole, 3) < 0.6


@pytest.mark.parametrize("kind", IN_ENGLISH)
def test_no_kind_of_english_is_taken_for_another_language(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = read(tmp_path / "t", load_tokenizer(resolve("default")), IN_ENGLISH[kind])
    print(f"{kind}: {text.whole:.0%} of the words are whole")


def test_what_a_small_vocabulary_has_whole_is_its_own_language(tmp_path, tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "t", tokenizer, ENGLISH).whole == 1


def test_of_an_endless_line_only_the_beginning_is_read(tmp_path, tokenizer):
    text = read(tmp_path / "t", tokenizer, "the old man " * 50_000)
    assert text.tokens == 64
    assert [len(line) for line in lines_of(tmp_path / "t")] == [MAX_CHARACTERS]
