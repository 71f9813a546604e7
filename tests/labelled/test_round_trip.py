"""Whatever is written as CSV, TSV or JSON Lines is read back, character by character."""

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_mobile.labelled import LabelledText, open_labelled

UNUSUAL = "\u2028\u2029\x85\x0b\x0c\x1c\xa0\u3000\u200b\ufeff\"',;|#\\ "
PLAIN = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t")
CHARACTERS = PLAIN | st.sampled_from(UNUSUAL)


def is_seen(text: str) -> bool:
    """Tell a text from one of spaces and control characters."""
    return any(letter.isprintable() and not letter.isspace() for letter in text)


LINE = st.text(CHARACTERS, min_size=1, max_size=20).filter(is_seen)
BLOCK = st.text(CHARACTERS | st.sampled_from("\r\n\t"), min_size=1, max_size=20).filter(is_seen)
LABEL = st.sampled_from(["a", "b b", "é", "#1", '"q"', "1"])


def rows(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    return st.lists(st.tuples(text, LABEL), min_size=1, max_size=6)


def read_back(folder: Path, name: str, data: bytes) -> list[tuple[str, str]]:
    path = folder / name
    path.write_bytes(data)
    file = open_labelled(path, "classify", text=["text"], label="label")
    return [(example.texts[0], example.labels[0]) for example in file]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round")


@settings(max_examples=60, deadline=None)
@given(found=rows(BLOCK), end=st.sampled_from(["\n", "\r\n"]), separator=st.sampled_from(",;"))
def test_csv(folder: Path, found: list[tuple[str, str]], end: str, separator: str) -> None:
    out = io.StringIO(newline="")
    # With "\n" for an end, Python's writer leaves a "\r" in a text unquoted.
    quoting = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(out, lineterminator=end, delimiter=separator, quoting=quoting)
    writer.writerows([("text", "label"), *found])
    assert read_back(folder, "a.csv", out.getvalue().encode()) == found


@settings(max_examples=60, deadline=None)
@given(found=rows(LINE), end=st.sampled_from(["\n", "\r\n"]))
def test_tsv(folder: Path, found: list[tuple[str, str]], end: str) -> None:
    lines = "".join(f"{text}\t{label}{end}" for text, label in [("text", "label"), *found])
    assert read_back(folder, "a.tsv", lines.encode()) == found


@settings(max_examples=60, deadline=None)
@given(found=rows(BLOCK), escaped=st.booleans())
def test_json_lines(folder: Path, found: list[tuple[str, str]], escaped: bool) -> None:
    records = [{"text": text, "label": label} for text, label in found]
    lines = "\n".join(json.dumps(record, ensure_ascii=escaped) for record in records)
    assert read_back(folder, "a.jsonl", lines.encode()) == found
    assert read_back(folder, "a.json", json.dumps(records).encode()) == found


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed(tmp_path: Path, suffix: str) -> None:
    compress = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }[suffix]
    data = {
        "a.csv": b"text,label\nx y,a\nx z,b\n",
        "a.tsv": b"text\tlabel\nx y\ta\nx z\tb\n",
        "a.jsonl": b'\n{"text": "x y", "label": "a"}\n{"text": "x z", "label": "b"}\n',
    }
    for name, plain in data.items():
        path = tmp_path / (name + suffix)
        path.write_bytes(compress(plain))
        expected = [
            LabelledText(2, ("x y",), ("a",), None),
            LabelledText(3, ("x z",), ("b",), None),
        ]
        assert list(open_labelled(path, "classify")) == expected
