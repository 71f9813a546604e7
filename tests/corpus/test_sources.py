"""Every kind of file and compression is read; every kind of damage is named."""

import bz2
import errno
import gzip
import json
import lzma
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from bert_mobile.corpus import records, sources
from bert_mobile.corpus.records import Piece, Reading, Record, join_hard_lines, read_records
from bert_mobile.corpus.sources import find_files
from bert_mobile.errors import InputError, RunError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}

LINES = "".join(
    json.dumps({"source": "s", "title": f"t{i}", "text": f"Text {i * 7919}."}) + "\n"
    for i in range(500)
).encode()


def read(*paths: Path, reading: Reading | None = None, text_field: str = "text") -> list[Record]:
    reading = reading or Reading()
    files = find_files(paths, reading.dropped)
    return list(read_records(map(Piece, files), reading, text_field))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_json_lines_in_every_compression(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](LINES))
    reading = Reading()
    found = read(path, reading=reading)
    assert len(found) == 500
    assert found[499] == Record("s", "t499", f"Text {499 * 7919}.")
    assert reading.plain_bytes == len(LINES)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_several_compressed_streams_in_one_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](LINES) * 2)
    assert len(read(path)) == 1000


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
@pytest.mark.parametrize("suffix", COMPRESS)
def test_cut_file_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    whole = COMPRESS[suffix](LINES)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.jsonl.*(cut off|mid-record)") as raised:
        read(path)
    assert "copy" in raised.value.hint


@pytest.mark.parametrize("suffix", [s for s in COMPRESS if s])
def test_wrong_suffix_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(LINES)
    with pytest.raises(InputError, match=rf"a\.jsonl\{suffix} cannot be read, expected a whole"):
        read(path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"text": "half', "line 2: no valid JSON"),
        (b'{"text": "NUL \x00"}', "line 2: no valid JSON"),
        (b'{"text": "\xff\xff"}', "line 2: no valid JSON"),
        (b"[" * 100_000, "line 2: no valid JSON"),
        ('{"text": "x"}'.encode("utf-16-le"), "line 2: no valid JSON"),
        (b'{"sentences": [3]}', "line 2: found keys sentences, expected a string"),
        (b'["text"]', "line 2: a JSON list, expected an object"),
        (b'{"body": "x", "id": 1}', "line 2: found keys body, id, expected a string under 'text'"),
        (b'{"text": 3}', "line 2: found int, expected a string under 'text'"),
        (b"{}", "line 2: found keys none"),
    ],
)
def test_broken_record_names_file_and_line(tmp_path: Path, line: bytes, found: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "good"}\n')
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}, {found}")
    assert raised.value.hint


def test_a_null_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null}\n{"text": "x"}\n{"text": null, "sentences": ["y", "z"]}\n')
    reading = Reading()
    assert [record.text for record in read(path, reading=reading)] == ["x", "y\nz"]
    assert reading.dropped == {"record: no text": 1}


@pytest.mark.parametrize("suffix", [s for s in COMPRESS if s])
def test_an_empty_compressed_file_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"is cut off, expected a whole .* file: it is empty"):
        read(path)


def test_what_the_system_cannot_read_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    files = find_files([path], Counter())
    path.unlink()
    with pytest.raises(RunError, match=r"a\.jsonl cannot be read: No such file"):
        list(read_records(map(Piece, files), Reading(), "text"))


def test_a_folder_with_a_link_to_itself(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("One.")
    for link in ("up", "deep/up"):
        (folder / link).symlink_to(folder, target_is_directory=True)
    (tmp_path / "again").symlink_to(folder, target_is_directory=True)
    dropped: Counter[str] = Counter()
    assert [file.name for file in find_files([folder], dropped)] == ["books/a.txt"]
    assert dropped == {"folder: link to itself": 2}
    assert len(find_files([tmp_path], dropped)) == 2  # twice, but not round and round


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "a.txt").write_text("One.")
    dropped: Counter[str] = Counter()
    assert len(find_files([tmp_path], dropped)) == 1
    assert dropped == {"file: not a regular file": 1}
    with pytest.raises(InputError, match=r"pipe\.txt is no regular file"):
        find_files([tmp_path / "pipe.txt"], dropped)


@pytest.mark.skipif(sys.platform != "linux", reason="such names exist on Linux")
def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("One.")
    with pytest.raises(InputError, match="is no UTF-8") as raised:
        find_files([tmp_path], Counter())
    assert "rename" in raised.value.hint


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"a\.txt cannot be read: No such file"):
        find_files([tmp_path], Counter())


def test_a_forbidden_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_files([tmp_path], Counter())


def test_other_field_blank_lines_mark_and_default_source(tmp_path: Path) -> None:
    path = tmp_path / "news.2020.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"body": "One."}\n\n  \n{"body": "Two.", "title": 3}')
    assert read(path, text_field="body") == [Record("news", "", "One."), Record("news", "", "Two.")]


def test_over_long_record_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": "x" * n}) for n in (10, 5000, 20)]
    path.write_text("\n".join(lines))
    reading = Reading()
    assert [len(record.text) for record in read(path, reading=reading)] == [10, 20]
    assert reading.dropped == {"record: too long": 1}


def test_folder_of_books(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.txt").write_text("One line\nbroken by hand.\n\nNext paragraph.\n")
    (folder / "deep" / "a.txt.gz").write_bytes(gzip.compress(b"Alone.\r\nSecond."))
    (folder / "cover.jpg").write_bytes(b"\xff")
    (folder / ".hidden.txt").write_text("Not read.")
    reading = Reading()
    assert read(folder, reading=reading) == [
        Record("books", "b", "One line broken by hand.\nNext paragraph."),
        Record("deep", "a", "Alone.\nSecond."),
    ]
    assert reading.dropped == {"file: unknown kind": 1}
    names = [file.name for file in find_files([folder], Counter())]
    assert names == ["books/b.txt", "books/deep/a.txt.gz"]


def test_over_long_book_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    path = tmp_path / "long.txt"
    path.write_text("".join(f"This is line {i} of the book.\n" for i in range(100)))
    found = read(path)
    assert [record.title for record in found][:2] == ["long", "long, part 2"]
    assert "".join(record.text for record in found) == path.read_text()
    assert all(record.text.endswith("book.\n") for record in found)


def test_latin_1_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match=r"old\.txt is no UTF-8 text: .*0xe9") as raised:
        read(path)
    assert "iconv" in raised.value.hint


def test_lines_are_joined_only_where_broken_by_hand() -> None:
    long = "word " * 30
    assert join_hard_lines("a\nb\n \nc") == "a b\nc"
    assert join_hard_lines("a\nb\nc") == "a\nb\nc"
    assert join_hard_lines(f"{long}\n{long}\n\nc") == f"{long}\n{long}\nc"


def test_unknown_and_missing_sources(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.pdf is of no known kind, expected \.jsonl, "):
        find_files([tmp_path / "a.pdf"], Counter())
    with pytest.raises(InputError, match="holds no file of a known kind"):
        find_files([tmp_path], Counter())
    with pytest.raises(InputError, match="does not exist"):
        find_files([tmp_path / "none"], Counter())


def test_foreign_manifest_is_no_corpus(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[1]")
    assert not sources.is_corpus(tmp_path)
