"""Passes over large files: little memory, and a bar that counts bytes."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from bert_mobile.labelled import file as labelled_file
from bert_mobile.labelled import label_counts, open_labelled
from bert_mobile.progress import Progress

ROWS = 20_000


@pytest.fixture(scope="module", params=["a.csv", "a.tsv", "a.jsonl", "a.conll", "a.csv.gz"])
def long_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 MB of labelled words."""
    form = {
        "a.csv": '"{}",{}\n',
        "a.tsv": "{}\t{}\n",
        "a.jsonl": '{{"u": "{}", "v": {}}}\n',
        "a.conll": "{} {}\n\n",
    }[request.param.removesuffix(".gz")]
    word = "-" if request.param == "a.conll" else " "
    text = "".join(form.format(word.join([f"word{i}"] * 30), i % 3) for i in range(ROWS))
    path = tmp_path_factory.mktemp("long") / request.param
    path.write_bytes(gzip.compress(text.encode(), 1) if path.suffix == ".gz" else text.encode())
    return path


def test_a_long_file_is_not_held_in_memory(long_file: Path) -> None:
    kind = "tag" if long_file.suffix == ".conll" else "classify"
    file = open_labelled(long_file, kind)
    tracemalloc.start()
    try:
        count = sum(1 for _ in file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == ROWS
    assert peak < 500_000


def test_a_long_pass_shows_its_progress(long_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[float] = []

    class Bar(Progress):
        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def advance(self, amount: float = 1, note: str = "") -> None:
            moved.append(amount)

    asked: list[object] = []
    monkeypatch.setattr(labelled_file, "progress", lambda *words: asked.append(words) or Bar())
    file = open_labelled(long_file, "tag" if long_file.suffix == ".conll" else "classify")
    label_counts(file)
    assert asked == []
    monkeypatch.setattr(labelled_file, "LONG_PASS", 1)
    label_counts(file)
    size = long_file.stat().st_size
    assert asked == [(f"read {long_file.name}", size, "B")]
    assert sum(moved) == size
    assert len(moved) > 10
