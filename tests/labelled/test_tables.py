"""CSV, TSV, JSON Lines and JSON: what is read, and what is guessed of it."""

import json
from pathlib import Path

import pytest

from bert_mobile.labelled import Columns, LabelledText, label_counts, open_labelled

ROWS = [("good film", "pos"), ("bad film", "neg"), ("so, so", "neg"), ('a "gem"', "pos")]


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.txt", "a.tab"])
def test_tabs_part_fields_and_quotes_are_part_of_them(tmp_path: Path, name: str) -> None:
    text = "\ufefftext\tlabel\r\n" + "".join(f"{a}\t{b}\r\n" for a, b in ROWS)
    file = open_labelled(written(tmp_path, name, text), "classify")
    assert file.columns == Columns(("text",), "label")
    assert [(e.texts, e.labels) for e in file] == [((a,), (b,)) for a, b in ROWS]
    assert [e.line for e in file] == [2, 3, 4, 5]
    assert file.describe() == (
        f"{name}: tab-separated with a header, 2 columns; text: 'text' (guessed by name); "
        "label: 'label' (guessed by name)"
    )


def test_json_lines_and_json_are_the_same(tmp_path: Path) -> None:
    records = [{"stars": i % 2, "said": f"so many words {i}"} for i in range(6)]
    lines = "\n".join(map(json.dumps, records))
    splits = json.dumps({"train": records, "dev": records[:1]})
    found = [
        list(open_labelled(written(tmp_path, "a.jsonl", lines), "classify")),
        list(open_labelled(written(tmp_path, "a.json", json.dumps(records)), "classify")),
        list(open_labelled(written(tmp_path, "b.json", splits), "classify", split="train")),
    ]
    assert found[0] == found[1] == found[2]
    assert found[0][1] == LabelledText(2, ("so many words 1",), ("1",), None)


def test_a_file_is_read_in_every_pass(tmp_path: Path) -> None:
    file = open_labelled(written(tmp_path, "a.csv", "x,y\nm n o,1\np q r,0\ns t,1\n"), "classify")
    assert label_counts(file) == label_counts(file) == {"0": 1, "1": 2}
