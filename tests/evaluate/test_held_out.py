"""Held-out text in groups: each kind's own documents, and raw text of any sort."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.held_out import (
    ALL,
    CHARACTERS_PER_QUESTION,
    MOST_KINDS,
    Excerpt,
    kind_of,
    open_held_out,
)
from bert_mobile.examples import Corpus
from bert_mobile.files import sha256
from bert_mobile.tokenizer import load_tokenizer
from tests.conftest import document

NO_PIECES = "\u0301\u0301"
"""Accents alone, of which the tokenizer leaves nothing."""


def opened(data, *, pairs=8, sentences=10, **options):
    counts = {"pairs": pairs, "sentences": sentences}
    (found,) = open_held_out([data], **counts, text_field="text", **options)
    return found


def groups_of(data, tokenizer, **options):
    return {group.kind: group for group in opened(data, **options).groups(tokenizer)}


def words_of(group, tokenizer):
    """Return every piece of a group's documents, as words, one list a document."""
    pieces = group.pieces
    ends = pieces.sentences[pieces.documents]
    loaded = load_tokenizer(tokenizer)
    return [
        [loaded.id_to_token(i) for i in pieces.tokens(np.arange(start, end)).tolist()]
        for start, end in pairwise(ends)
    ]


def of_word(source, word, sentences=3, length=6):
    return source, [" ".join([word] * length)] * sentences


def write_lines(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


# --- kinds of a built corpus ----------------------------------------------------------------------


def test_each_kind_has_its_own_documents(write_corpus, tiny_tokenizer):
    """Documents without pieces are in the text shards only, and must move no other."""
    nothing = ("news/0", [NO_PIECES, NO_PIECES])
    partly = ("news/1", [NO_PIECES, "the of " * 4, NO_PIECES, "new " * 8])
    corpus = write_corpus(
        [nothing, of_word("wiki/1", "was"), nothing, of_word("book/1", "his", 7), partly],
        [of_word("wiki/2", "was"), nothing, of_word("news/2", "new", 2)],
        [nothing],
        [of_word("book/2", "his", 2), of_word("wiki/3", "was", 4, 9)],
    )
    groups = groups_of(corpus, tiny_tokenizer)
    assert list(groups) == [ALL, "wiki", "book", "news"]
    assert words_of(groups["wiki"], tiny_tokenizer) == [["was"] * n for n in (18, 18, 36)]
    assert words_of(groups["book"], tiny_tokenizer) == [["his"] * n for n in (42, 12)]
    news = [["the", "of"] * 4 + ["new"] * 8, ["new"] * 12]
    assert words_of(groups["news"], tiny_tokenizer) == news
    assert isinstance(groups[ALL].pieces, Corpus)
    assert len(words_of(groups[ALL], tiny_tokenizer)) == 7
    assert set(groups["wiki"].sentences) == {"was " * 5 + "was", "was " * 8 + "was"}
    assert {s.split()[0] for s in groups["news"].sentences} == {"the", "new"}
    assert len(groups["news"].sentences) == 4
    assert len(groups[ALL].sentences) == 10


def test_an_excerpt_reads_across_documents(tiny_corpus):
    corpus = Corpus(tiny_corpus, "held_out")
    some = np.array([1, 4, 5])
    excerpt = Excerpt(corpus, some, "some")
    ends = corpus.sentences[corpus.documents]
    expected = np.concatenate([corpus.tokens(np.arange(ends[d], ends[d + 1])) for d in some])
    shuffled = np.random.default_rng(0).permutation(len(expected)).reshape(2, -1)
    assert (excerpt.tokens(shuffled) == expected[shuffled]).all()
    assert excerpt.sentences[-1] == len(expected)
    assert excerpt.documents[-1] == len(excerpt.sentences) - 1


def test_drawn_sentences_are_the_same_each_time_and_of_fit_length(tiny_corpus, tiny_tokenizer):
    first, again = (groups_of(tiny_corpus, tiny_tokenizer)[ALL].sentences for _ in range(2))
    assert first == again
    assert len(set(first)) == 10
    lengths = [len(e.ids) - 2 for e in load_tokenizer(tiny_tokenizer).encode_batch(first)]
    assert min(lengths) >= 5
    assert max(lengths) <= 60
    assert not groups_of(tiny_corpus, tiny_tokenizer, sentences=0)[ALL].sentences


def test_kinds_that_are_not_judged_are_named_in_one_line(write_corpus, tiny_tokenizer):
    many = [of_word(f"kind{n:02}/{m}", "the") for n in range(30) for m in range(1 + n % 2)]
    corpus = write_corpus(many)
    with pytest.warns(UserWarning, match="judged within 'all' only") as caught:
        groups = groups_of(corpus, tiny_tokenizer)
    assert list(groups) == [ALL, *(f"kind{n:02}" for n in range(1, 2 * MOST_KINDS, 2))]
    (warning,) = caught
    assert str(warning.message).endswith("kind25 (2) and 17 more kinds")


def test_without_kinds_all_is_the_same_and_nothing_is_said(write_corpus, tiny_tokenizer):
    corpus = write_corpus([of_word(f"kind{n}/1", "the") for n in range(3)])
    with pytest.warns(UserWarning, match="judged within"):
        [whole] = groups_of(corpus, tiny_tokenizer).values()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [alone] = groups_of(corpus, tiny_tokenizer, by_kind=False).values()
    assert (alone.kind, alone.sentences) == (ALL, whole.sentences)


@pytest.mark.parametrize("sources", [["a/1", "a/2"], ["a", "a", "a"]])
def test_one_kind_only_is_all(write_corpus, tiny_tokenizer, sources):
    corpus = write_corpus([of_word(source, "the") for source in sources])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(groups_of(corpus, tiny_tokenizer)) == [ALL]


def test_kind_of():
    found = [kind_of(s) for s in ("enwiki/2025/x", "texts", "/home/books", "")]
    assert found == ["enwiki", "texts", "home", "unnamed"]


def test_shards_that_do_not_belong_together_are_refused(write_corpus, tiny_tokenizer):
    corpus = write_corpus([of_word("a/1", "the"), of_word("a/2", "the")], [of_word("b/1", "was")])
    one, two = (corpus / f"held_out-0000{n}.jsonl.zst" for n in (0, 1))
    one.write_bytes(two.read_bytes())
    with pytest.raises(ArtifactError, match="is missing or damaged"):
        opened(corpus)
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["files"][one.name] = sha256(one)
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="the text shards hold other documents"):
        opened(corpus).groups(tiny_tokenizer)


def test_a_damaged_corpus_is_not_read_as_raw_text(write_corpus):
    corpus = write_corpus([of_word("a/1", "the"), of_word("a/2", "the")])
    (corpus / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        opened(corpus)


# --- raw text -------------------------------------------------------------------------------------


def test_raw_text_is_one_group(tiny_tokenizer, tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(document(number))
    group = groups_of(folder, tiny_tokenizer)[ALL]
    assert group.data == "books"
    assert len(group.pieces.documents) - 1 == 3
    loaded = load_tokenizer(tiny_tokenizer)
    expected = [loaded.encode(document(n), add_special_tokens=False).tokens for n in range(3)]
    assert words_of(group, tiny_tokenizer) == expected
    assert all(any(s in document(n) for n in range(3)) for s in group.sentences)


def test_reading_ends_where_there_is_plenty(tiny_tokenizer, tmp_path):
    long = write_lines(tmp_path / "t.jsonl", ({"body": document(n, 100)} for n in range(100)))
    raw = {"pairs": 1, "sentences": 1, "text_field": "body"}
    (found,) = open_held_out([long], **raw)
    (group,) = found.groups(tiny_tokenizer)
    read = len(group.pieces.documents) - 1
    size = len(document(0, 100))
    assert 2 * CHARACTERS_PER_QUESTION / size - 1 < read < 2 * CHARACTERS_PER_QUESTION / size + 2


def test_same_names_are_told_apart(tiny_tokenizer, tmp_path):
    paths = [tmp_path / folder / "t.jsonl" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        write_lines(path, [{"text": document(1)}, {"text": document(2)}])
    found = open_held_out([*paths], pairs=1, sentences=1, text_field="text")
    names = [group.data for text in found for group in text.groups(tiny_tokenizer)]
    assert names == [str(path) for path in paths]


CYRILLIC = "Это первое предложение. Это второе предложение."


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], r"has 0 document\(s\) of English prose"),
        ([""], r"has 0 document\(s\).*left out: 1 × document: under 2 sentences"),
        ([document(1)], r"has 1 document\(s\)"),
        ([CYRILLIC, CYRILLIC], r"has 0 document\(s\).*left out: 2 × document: under 60% letters"),
    ],
)
def test_too_little_text(tmp_path, texts, message):
    path = write_lines(tmp_path / "t.jsonl", [{"text": text} for text in texts])
    with pytest.raises(InputError, match=message) as caught:
        opened(path)
    assert "one document each" in caught.value.hint


@pytest.mark.parametrize("name", ["nowhere", "empty", "odd.pdf"])
def test_what_holds_no_text(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.pdf").write_text("x")
    with pytest.raises(InputError, match=r"does not exist|of a known kind|of no known kind"):
        opened(tmp_path / name)
