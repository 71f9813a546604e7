"""CoNLL and CoNLL-U: sentences of words, one a line."""

from pathlib import Path

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import LabelledFile, TaggedSentence, open_labelled

EU = TaggedSentence(3, ("EU", "rejects"), ("B-ORG", "O"))
NO = TaggedSentence(7, ("No", "."), ("O", "O"))


def opened(folder: Path, name: str, content: str, **options: object) -> LabelledFile:
    (folder / name).write_bytes(content.encode())
    return open_labelled(folder / name, "tag", **options)


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.tsv", "a.bio"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [" ", "\t", "  "])
def test_conll(tmp_path: Path, name: str, end: str, separator: str) -> None:
    rows = ["-DOCSTART- O", "", "EU B-ORG", "rejects O", "", "", "No O", ". O"]
    text = end.join(row.replace(" ", separator) for row in rows)
    for last in ("", end, end + end):
        assert list(opened(tmp_path, name, text + last)) == [EU, NO]


def test_a_header_is_no_word(tmp_path: Path) -> None:
    (sentence,) = opened(tmp_path, "a.conll", "Word\tTag\nEU\tB-ORG\n")
    assert (sentence.line, sentence.words) == (2, ("EU",))


def test_four_columns(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    for label, tags in [(None, ("B-ORG", "O")), ("pos", ("NNP", "VBZ")), ("#3", ("B-NP", "B-VP"))]:
        (sentence,) = opened(tmp_path, "a.conll", text, label=label)
        assert (sentence.words, sentence.tags) == (("EU", "rejects"), tags)
    (sentence,) = opened(tmp_path, "a.conll", text, text=["#2"], label="ner")
    assert sentence.words == ("NNP", "VBZ")
    with pytest.raises(InputError, match="no column 'upos', found word, pos, chunk, ner"):
        opened(tmp_path, "a.conll", text, label="upos")


def test_comments_and_unusual_words(tmp_path: Path) -> None:
    text = "# id 7\tdomain=en\n# O\n#id B-ID\nNew\u00a0York B-LOC\n\u2028 O\n"
    (sentence,) = opened(tmp_path, "a.conll", text.replace("\u2028 O\n", "10\u2028000 O\n"))
    assert sentence.words == ("#", "New\u00a0York", "10\u2028000")
    assert sentence.line == 2


def test_words_of_several_parts_between_tabs(tmp_path: Path) -> None:
    (sentence,) = opened(tmp_path, "a.conll", "New York\tB-LOC\nis big\tO\n")
    assert sentence.words == ("New York", "is big")


UNIVERSAL = """# newdoc id = a
# text = I don't
1\tI\tI\tPRON\tPRP\t_\t0\troot\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t1\tx\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
3\tn't\tnot\tPART\tRB\t_\t1\tx\t_\t_

# text = 10 000 #
1\t10 000\t10 000\tNUM\tCD\t_\t0\troot\t_\t_
2\t#\t#\tSYM\t$\t_\t1\tx\t_\t_
"""


def test_conllu(tmp_path: Path) -> None:
    assert list(opened(tmp_path, "a.conllu", UNIVERSAL)) == [
        TaggedSentence(3, ("I", "do", "n't"), ("PRON", "AUX", "PART")),
        TaggedSentence(10, ("10 000", "#"), ("NUM", "SYM")),
    ]
    file = opened(tmp_path, "a.conllu", UNIVERSAL, text=["lemma"], label="xpos")
    assert next(iter(file)).tags == ("PRP", "VBP", "RB")
    assert next(iter(file)).words == ("I", "do", "not")
    assert file.describe() == "a.conllu: CoNLL-U; words: 'lemma'; tags: 'xpos'"


def test_sentences_without_tags(tmp_path: Path) -> None:
    bare = UNIVERSAL.replace("PRON", "_").replace("AUX", "_").replace("PART", "_")
    first, second = opened(tmp_path, "a.conllu", bare, needs_labels=False)
    assert (first.tags, second.tags) == (None, ("NUM", "SYM"))
    (sentence,) = opened(tmp_path, "a.conll", "Eve\nran\n", needs_labels=False)
    assert (sentence.words, sentence.tags) == (("Eve", "ran"), None)


@pytest.mark.parametrize(
    ("words", "tags", "found"),
    [
        ("['EU', 'rejects']", "['B-ORG', 'O']", ("B-ORG", "O")),
        ('["EU","rejects"]', "B O", ("B", "O")),
        ("EU rejects", "['B','O']", ("B", "O")),
        ("EU rejects", "[3, 0]", ("3", "0")),
    ],
)
def test_lists_as_pandas_writes_them(
    tmp_path: Path, words: str, tags: str, found: tuple[str, str]
) -> None:
    text = "tokens\ttags\n" + f"{words}\t{tags}\n" * 2
    sentence, _ = opened(tmp_path, "a.tsv", text, form="tsv")
    assert (sentence.words, sentence.tags) == (("EU", "rejects"), found)


def test_a_word_in_brackets_is_no_list(tmp_path: Path) -> None:
    (sentence,) = opened(tmp_path, "a.tsv", "tokens\ttags\n[1]\tO\n", form="tsv")
    assert sentence.words == ("[1]",)
