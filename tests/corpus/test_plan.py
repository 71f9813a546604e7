"""However the sources are cut into tasks, every record is read once and the corpus is the same."""

import bz2
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_mobile.corpus import build_corpus, plan, records, stages
from bert_mobile.corpus.records import Reading, read_records
from bert_mobile.corpus.sources import find_files
from bert_mobile.files import read_json

from .conftest import prose
from .test_build import same_folders
from .test_wikipedia import DUMP


@pytest.mark.parametrize("size", [1, 7, 40, 41, 42, 100, 1000, 10**6])
def test_every_line_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Lines of many lengths, one of them too long, blank ones, a mark at the beginning."""
    monkeypatch.setattr(plan, "TASK_BYTES", size)
    monkeypatch.setattr(records, "LONGEST_RECORD", 300)
    texts = ["x" * (7 * i % 60) for i in range(40)]
    lines = [json.dumps({"text": text}) for text in texts]
    lines[20:20] = ["", json.dumps({"text": "y" * 1000}), "  "]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    (file,) = find_files([tmp_path / "a.jsonl"], Counter())
    reading = Reading()
    pieces = plan.cut(file)
    assert pieces
    assert len(pieces) == -(-file.bytes // size)
    assert [record.text for record in read_records(pieces, reading, "text")] == texts
    assert reading.dropped == {"record: too long": 1}
    assert reading.plain_bytes == file.bytes


def test_small_files_share_a_task(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    for number in range(50):
        (tmp_path / "books" / f"{number}.txt").write_text("A line.\n" * 50)
    files = find_files([tmp_path / "books"], Counter())
    pieces = [piece for file in files for piece in plan.cut(file) or []]
    assert [len(group) for group in plan.grouped(pieces)] == [50]
    assert plan.grouped([]) == []


def test_an_empty_file_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (file,) = find_files([tmp_path / "a.jsonl"], Counter())
    assert list(read_records(plan.cut(file) or [], Reading(), "text")) == []


def test_compressed_files_are_spooled(
    tmp_path: Path,
    tokenizer: Path,
    json_lines: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that is read from its beginning only makes the corpus that the plain one makes."""
    texts = [*(prose(seed) for seed in range(100)), "Lone \ud800 surrogate. " + prose(100)]
    plain = json_lines(texts)
    dump = tmp_path / "wiki.xml.bz2"
    dump.write_bytes(bz2.compress(DUMP.encode()))
    packed = tmp_path / "packed" / "texts.jsonl.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    one = build_corpus([plain, dump], tmp_path / "one", tokenizer=tokenizer)
    monkeypatch.setattr(plan, "TASK_BYTES", 500)
    monkeypatch.setattr(stages, "SPOOL_CHARACTERS", 10_000)
    two = build_corpus([packed, dump], tmp_path / "two", tokenizer=tokenizer, workers=2)
    assert (one.documents, one.megabytes) == (two.documents, two.megabytes)
    for folder in ("one", "two"):
        path = tmp_path / folder / "manifest.json"
        manifest = read_json(path, "")
        path.write_text(json.dumps({k: v for k, v in manifest.items() if k != "sources"}))
    same_folders(tmp_path / "one", tmp_path / "two")
