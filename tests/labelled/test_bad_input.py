"""What is wrong in a file is refused by name, line and column, before anything is learned of it."""

import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import (
    label_counts,
    label_names,
    lines,
    open_labelled,
    refuse_one_class,
)
from bert_mobile.labelled.labels import alike_remark, unseen_label

GOOD = "text,label\n" + "".join(f"some words number {i},{'ab'[i % 2]}\n" for i in range(8))
CONTEXT = "Rollo came from Norway. He was a Viking."


def question(**changes: Any) -> dict[str, Any]:
    answers = [{"text": "Norway", "answer_start": 16}]
    return {"question": "Whence?", "context": CONTEXT, "answers": answers} | changes


def refusal(path: Path, data: str | bytes, kind: str, **options: Any) -> InputError:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(InputError) as raised:
        list(open_labelled(path, kind, **options))
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message
    assert raised.value.hint
    return raised.value


TEXTS = [
    ("a.csv", "", {}, "is empty, expected labelled examples"),
    ("a.csv", "\n\n", {}, "is empty, expected"),
    ("a.csv", "text,label\n", {}, r"columns \(text, label\) and no rows"),
    ("a.csv", GOOD, {"label": "stars"}, "no column 'stars', found text, label"),
    ("a.csv", GOOD, {"label": "#3"}, "no column '#3', found text, label"),
    ("a.csv", GOOD, {"text": ["label"], "label": "text"}, "expected it the other way round"),
    ("a.csv", "text,label\nx y,a\n  ,b\n", {}, "line 3, column 'text': an empty text"),
    ("a.csv", "text,label\nx y,a\nz,\n", {}, "line 3, column 'label': no label"),
    ("a.csv", "text,label\nx y,a\nz,NaN\n", {}, "line 3, column 'label': 'NaN' for a label"),
    ("a.csv", "text,label\nx y,a\nz\n", {}, "line 3, column 'label': 1 fields, expected 2"),
    ("a.csv", GOOD + GOOD, {}, "line 10: the header again, expected a row"),
    ("a.csv", "text,label\nx, y,a\n", {}, "line 2: 3 fields, expected 2"),
    ("a.csv", 'text,label\nx,a\n"y,b\n', {}, "line 3: no valid CSV"),
    ("a.csv", 'text,label\n"x" y,a\n', {}, "line 2: no valid CSV"),
    ("a.csv", "text,label\rx,a\r,b\r", {}, "line 3, column 'text': an empty text"),
    ("a.csv", "text,label\nx,a\ry,b\n", {}, "line 2: no valid CSV"),
    ("a.csv", GOOD.encode("utf-16"), {}, "line 1: no UTF-8 text: byte 0xff at its beginning"),
    ("a.csv", GOOD + "x\0y,a\n", {}, "line 10: a NUL byte, expected text"),
    ("a.csv", GOOD.encode() + b"caf\xe9 x,a\n", {}, "line 10: no UTF-8 text: byte 0xe9 after 'caf"),
    ("a.csv", "text,text\nx,a\n", {}, "line 1, column 'text': columns 1 and 2 have the same name"),
    ("a.csv", "u,v,w\na b,c d,e f\ng h,i j,k l\n", {}, "columns u, v, w, none clearly the label"),
    ("a.csv", "u,label,w\na b,0,e f\ng h,1,k l\n", {}, "the text could be in 'u' or 'w'"),
    ("a.csv", "text,q,category,intent\na b,1,u,v\n", {}, "could be in 'category' or 'intent'"),
    ("a.csv.gz", gzip.compress(GOOD.encode())[:-9], {}, "is cut off"),
    ("a.csv.xz", lzma.compress(GOOD.encode())[:-9], {}, "is cut off"),
    ("a.csv.gz", GOOD, {}, "cannot be read, expected a whole .gz file"),
    ("a.csv.xz", "", {}, "is cut off"),
    ("a.tsv", "text\tlabel\nx\ty\ta\n", {}, "line 2: 3 fields, expected 2"),
    ("a.tsv", "x y z\ta\nx z\tb\ty\nu v\ta\nz z\tb\n", {}, "line 2: 3 fields, expected 2"),
    ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y"}\n', {}, "line 2, column 'label': no"),
    ("a.jsonl", '{"text": "x", "label": 1}\n{"label": 1}\n', {}, "line 2, column 'text': found"),
    ("a.jsonl", '{"text": "x", "label": 1}\n{"text": 5, "label": 1}\n', {}, "'text': int, exp"),
    ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y"', {}, "line 2: no valid JSON"),
    ("a.jsonl", '{"text": "x", "text": "y", "label": 1}\n', {}, "line 1: .* key 'text' twice"),
    ("a.jsonl", '{"text": "x", "label": NaN}\n', {}, "line 1, column 'label': nan for a label"),
    ("a.jsonl", '{"text": "x", "label": ["u", "v"]}\n', {}, "a JSON list, expected one label"),
    ("a.jsonl", "7\n", {}, "line 1: a JSON int, expected one record"),
    ("a.jsonl", '[{"text": "x", "label": 1}]', {}, "line 1: a JSON list of objects, expected one"),
    ("a.jsonl", r'{"text": "x\u0000", "label": 1}', {}, "line 1, column 'text': a NUL"),
    ("a.jsonl", r'{"text": "x", "label": "\ud800"}', {}, "column 'label': half a surrogate pair"),
    ("a.jsonl", '{"text": "x", "label": 1e999}', {}, "line 1, column 'label': inf for a label"),
    ("a.csv", "text,label\n\u200b,a\n", {}, "line 2, column 'text': an empty text"),
    ("a.json", "{}", {}, "a JSON dict, expected a list of records"),
    ("a.json", '[{"text": "x", "label": 1}', {}, "no valid JSON"),
    ("a.json", '{"u": [["x", 1]], "v": [["y", 1]]}', {}, "several splits, expected one of u, v"),
    ("a.json", '{"u": [["x", 1]]}', {"split": "dev"}, "no split 'dev', expected one of u"),
    ("a.json", b'[{"text": "\xe9", "label": 1}]', {}, "line 1: no UTF-8 text: byte 0xe9"),
    ("a.parquet", "PAR1", {}, "cannot be read, expected a whole Parquet file"),
    ("a.doc", "x", {}, "is of no known kind, expected .csv, .tsv"),
    ("a.conll", "x O\n", {}, "has a word a line, expected texts for classify"),
    ("a.csv", GOOD, {"split": "train"}, "is one split by itself, and split 'train'"),
]


@pytest.mark.parametrize(("name", "data", "options", "message"), TEXTS)
def test_texts(tmp_path: Path, name: str, data: str | bytes, options: dict, message: str) -> None:
    assert refusal(tmp_path / name, data, "classify", **options)
    with pytest.raises(InputError, match=message):
        list(open_labelled(tmp_path / name, "classify", **options))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([1, 0, 0], "[1, 0, 0], expected the names or numbers of its labels"),
        ([0.0, 1.0, 0.0], "[0.0, 1.0, 0.0], expected the names"),
        ([True, False, True], "[True, False, True], expected the names"),
        ("[0, 0]", "[0, 0], expected the names"),
        ("['a' 'b']", "['a' 'b'], expected labels"),
        ("[3 0]", "[3 0], expected labels"),
        ("[a]", "[a], expected labels"),
    ],
)
def test_several_labels(tmp_path: Path, labels: Any, found: str) -> None:
    text = json.dumps({"text": "x y", "labels": labels})
    message = refusal(tmp_path / "a.jsonl", text, "classify", several=True).message
    assert f"a.jsonl, line 1, column 'labels': {found}" in message


@pytest.mark.parametrize(
    ("value", "found"),
    [("nan", "'nan'"), ("inf", "'inf'"), ("-1e999", "'-1e999'"), ("high", "'high'"), ("", "no")],
)
def test_numbers(tmp_path: Path, value: str, found: str) -> None:
    text = f"sentence1,sentence2,score\nx y,z,2\nx z,y,{value}\n"
    message = refusal(tmp_path / "a.csv", text, "regress").message
    assert f"a.csv, line 3, column 'score': {found}" in message


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.conll", "", "is empty"),
        ("a.conll", "EU B-ORG\nrejects\n", "line 2: 1 fields (rejects), expected 2"),
        ("a.conll", "EU\nrejects\n", "line 1: the word 'EU' alone, expected a word and its tag"),
        ("a.conll", "EU\tB-ORG\nNew\t\n", "line 2, column '#2': no tag for 'New'"),
        ("a.conll", "EU\tB-ORG\n\tO\n", "line 2, column '#1': no word"),
        ("a.csv", "word,tag\nEU,B-ORG\nrejects,O\n", "column 'word' holds a word a row"),
        ("a.conll", "EU O\n" * 10_001, "line 1: 10,000 words without a blank line"),
        ("a.conllu", "1\tEU\tEU\tPROPN\n", "line 1: 4 fields (1 EU EU PROPN), expected 10"),
        ("a.conllu", "1\tEU" + "\t_" * 8 + "\n", "line 1, column 'upos': the sentence has no tags"),
        ("a.tsv", "tokens\ttags\nNew York\tB\n", "line 2, column 'tags': 1 tags for 2 words"),
        ("a.jsonl", '{"tokens": ["a", ""], "tags": ["O", "O"]}', "'tokens': word 2 is ''"),
        ("a.jsonl", '{"tokens": [], "tags": []}', "line 1, column 'tokens': no words"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [null]}', "'tags': tag 1 is None"),
        ("a.jsonl", '{"tokens": ["a"], "tags": 1}', "line 1, column 'tags': int, expected tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O"]}', "1 tags for 2 words (a b), expected one"),
        ("a.jsonl", r'{"tokens": ["a"], "tags": ["\ud800"]}', "column 'tags': half a surrogate"),
        ("a.tsv", "tokens\ttags\na b\t['O' 'B-X']\n", "column 'tags': ['O' 'B-X'], expected"),
        ("a.tsv", "tokens\ttags\na b\t[3 0]\n", "line 2, column 'tags': [3 0], expected tags"),
    ],
)
def test_tags(tmp_path: Path, name: str, data: str, message: str) -> None:
    assert message in refusal(tmp_path / name, data, "tag").message


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        (
            {"answers": [{"text": "Norway", "answer_start": 15}]},
            "the answer 'Norway' is not at character 15 of its context: there is ' Norwa'",
            "it begins at character 16",
        ),
        (
            {"answers": [{"text": "viking", "answer_start": -1}]},
            "the answer 'viking' is not at character -1",
            "at character 33 it is 'Viking'",
        ),
        (
            {"answers": [{"text": "Danes", "answer_start": 16}]},
            "the answer 'Danes' is not at character 16",
            "the context does not hold it",
        ),
        ({"answers": [{"text": "", "answer_start": 0}]}, "an answer without text", "empty list"),
        ({"answers": ["Norway"]}, "the answer Norway, expected {", "write it so"),
        ({"answers": "Norway"}, "Norway, expected a list of answers", "answer_start"),
        ({"answers": None}, "no answers", "empty list"),
        ({"is_impossible": True}, "'Norway' to a question that is marked as impossible", "correct"),
        ({"context": " "}, "column 'context': an empty text", "delete"),
    ],
)
def test_answers(tmp_path: Path, changes: dict[str, Any], message: str, hint: str) -> None:
    text = json.dumps(question()) + "\n" + json.dumps(question(**changes))
    error = refusal(tmp_path / "a.jsonl", text, "answer")
    assert "a.jsonl, line 2, column" in error.message
    assert message in error.message
    assert hint in error.hint
    paragraph = {"context": CONTEXT, "qas": [question(id="1"), question(**changes)]}
    if "context" not in changes:
        squad = json.dumps({"data": [{"paragraphs": [paragraph]}]})
        found = refusal(tmp_path / "a.json", squad, "answer").message
        assert "a.json, question 2, column 'answers'" in found
        assert message in found


def test_a_question_without_id_has_its_number(tmp_path: Path) -> None:
    lines = [json.dumps(question(**more)) for more in ({}, {"id": None}, {"id": 0}, {"id": "x"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = open_labelled(tmp_path / "a.jsonl", "answer")
    assert [each.id for each in found] == ["1", "2", "0", "x"]


def test_squad_of_another_form(tmp_path: Path) -> None:
    for text in ('{"data": [{"paragraphs": []}]}', '{"data": [{"paragraphs": [{"qas": []}]}]}'):
        assert "is empty" in refusal(tmp_path / "a.json", text, "answer").message
    text = json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": ["x"]}]}]})
    assert "question 1: another form" in refusal(tmp_path / "a.json", text, "answer").message
    text = json.dumps({"data": [{"paragraphs": [{"qas": [question()]}]}]})
    assert (
        "question 1: no 'context', expected SQuAD's form"
        in refusal(tmp_path / "a.json", text, "answer").message
    )


def test_paths(tmp_path: Path) -> None:
    for path, message in [(tmp_path, "is a folder"), (tmp_path / "none.csv", "does not exist")]:
        with pytest.raises(InputError, match=message):
            open_labelled(path, "classify")
    with pytest.raises(InputError, match="is not in the cache"):
        open_labelled("owner/name", "classify")


def test_options(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GOOD)
    for options, message in [
        ({"kind": "classified"}, "kind is 'classified', expected one of classify"),
        ({"kind": "tag", "several": True}, "several labels are asked for tag"),
        ({"encoding": "utf-9"}, "encoding is 'utf-9', expected a name"),
        ({"encoding": "base64"}, "encoding is 'base64', expected a name"),
        ({"encoding": "undefined"}, "encoding is 'undefined', expected a name"),
        ({"encoding": "\udcff"}, "expected a name"),
        ({"encoding": "punycode"}, "line 1: no PUNYCODE text: "),
        ({"form": "xls"}, "form is 'xls', expected one of csv"),
        ({"text": ["text", "label"]}, "2 text columns are named .* expected 1 for classify"),
        ({"text": ["text"], "label": "text"}, "column 'text' is named twice"),
        ({"label": "labl"}, "no column 'labl'"),
    ]:
        with pytest.raises(InputError, match=message):
            open_labelled(path, **({"kind": "classify"} | options))


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 2**20)
    text = json.dumps([{"text": "x" * 2**20, "label": 1}])
    assert (
        "line 1: over 1 MB in one line" in refusal(tmp_path / "a.jsonl", text, "classify").message
    )


def test_other_encodings_are_read_when_named(tmp_path: Path) -> None:
    for encoding in ("utf-16", "cp1252", "utf-8-sig", "UTF8"):
        (tmp_path / "a.csv").write_bytes("text,label\ncafé crème,a\n".encode(encoding))
        (example,) = open_labelled(tmp_path / "a.csv", "classify", encoding=encoding)
        assert (example.texts, example.line) == (("café crème",), 2)


def test_a_json_document_of_an_encoding_that_tells_no_byte(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.json", "[]", "classify", encoding="punycode").message
    assert "a.json, line 1: no PUNYCODE text: " in message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_lines_may_end_as_on_old_macs(tmp_path: Path, name: str) -> None:
    lines = {
        "a.csv": ["text,label", "he was,a", "she was,b"],
        "a.jsonl": ['{"text": "he was", "label": "a"}', "", '{"text": "she was", "label": "b"}'],
        "a.txt": ["label\ttext", "a\the was", "b\tshe was"],
    }
    (tmp_path / name).write_bytes("\r".join(lines[name]).encode("utf-8-sig"))
    found = list(open_labelled(tmp_path / name, "classify"))
    assert [(each.texts[0], each.labels[0], each.line) for each in found] == [
        ("he was", "a", 2 - (name == "a.jsonl")),
        ("she was", "b", 3),
    ]
    (tmp_path / "a.conll").write_bytes(b"he O\r\rwas B-X\r")
    sentences = list(open_labelled(tmp_path / "a.conll", "tag"))
    assert [(each.words, each.line) for each in sentences] == [(("he",), 1), (("was",), 3)]


def test_labels_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    train = open_labelled(tmp_path / "train.csv", "classify")
    refuse_one_class(train, label_names(train))
    (tmp_path / "one.csv").write_text("text,label\nx y,a\nx z,a\n")
    one = open_labelled(tmp_path / "one.csv", "classify")
    with pytest.raises(InputError, match=r"one\.csv, column 'label': the only label is 'a'"):
        refuse_one_class(one, label_counts(one))


def test_labels_that_look_alike() -> None:
    assert alike_remark(["good", "bad", "Good"]) == (
        "labels 'Good' and 'good' differ in case alone; are they one?"
    )
    for one, other in [
        ("very good", "very  Good"),
        ("caf\u00e9", "cafe\u0301"),
        ("a\u00a0b", "a b"),
    ]:
        remark = alike_remark([one, "bad", other])
        assert remark
        assert "look alike; are they one?" in remark
        assert ascii(one) in remark
        assert ascii(other) in remark
    assert alike_remark(["good", "goods", "1", "2", "1.0"]) is None


def test_an_unseen_label_is_shown_with_its_likeliest_spelling() -> None:
    near = unseen_label("dev.csv, line 3", "Good", ["good", "bad"])
    assert (near.message, near.hint) == (
        "dev.csv, line 3: label 'Good', expected one of the training file's: bad, good",
        "did you mean 'good'?",
    )
    assert unseen_label("dev.csv", "x", ["good"]).hint == (
        "train on examples of it, or delete the row"
    )


def test_files_that_are_read_together_need_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(GOOD)
    (tmp_path / "dev.csv").write_text("sentence,label\nx y,a\n")
    columns = open_labelled(tmp_path / "train.csv", "classify").columns
    with pytest.raises(InputError, match=r"dev\.csv: no column 'text', found") as raised:
        open_labelled(tmp_path / "dev.csv", "classify", columns_like=columns)
    assert raised.value.hint == "files that are read together need the same columns"


def test_a_place_in_several_files_names_the_right_one(tmp_path: Path) -> None:
    for name, label in (("a.csv", "x"), ("b.csv", "y"), ("c.csv", "z")):
        (tmp_path / name).write_text(f"text,label\nhe was,{label}\n")
    each = [open_labelled(tmp_path / f"{name}.csv", "classify") for name in "abc"]
    files = tuple(file for one in each for file in one.files)
    several = replace(each[0], files=files)
    for name, example in zip("abc", several, strict=True):
        assert several.place(example) == f"{tmp_path}/{name}.csv, line 2, column 'label'"


def test_a_split_of_a_json_file_is_named_behind_a_colon(tmp_path: Path) -> None:
    path = tmp_path / "intents.json"
    path.write_text(json.dumps({"train": [["he was", "a"]], "val": [["she was", "b"]]}))
    [example] = open_labelled(f"{path}:val", "classify")
    assert example.labels == ("b",)
    with pytest.raises(InputError, match="several splits, expected one of train, val") as raised:
        open_labelled(path, "classify")
    assert raised.value.hint == f"name it behind a colon: {path}:train"
    with pytest.raises(InputError, match="names the split 'val', and split is 'train'"):
        open_labelled(f"{path}:val", "classify", split="train")


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        ("O B-PER I-PER I-LOC", "there is I-LOC and no B-LOC"),
        ("O B-PER LOC", "'LOC' has none"),
        ("O I-PER I-LOC", None),
        ("B-PER O I-PER E-PER S-LOC", None),
        ("NOUN VERB -LRB- $", None),
    ],
)
def test_schemes_of_tags(tmp_path: Path, tags: str, remark: str | None) -> None:
    (tmp_path / "a.conll").write_text("".join(f"w {tag}\n" for tag in tags.split()))
    file = open_labelled(tmp_path / "a.conll", "tag")
    if remark:
        with pytest.warns(UserWarning, match=remark):
            label_names(file)
    else:
        label_names(file)
