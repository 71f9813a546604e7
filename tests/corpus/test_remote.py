"""Parquet, and sources that are elsewhere: a stand-in of the Hub, its cache, other file systems."""

import io
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_mobile.corpus import build_corpus, plan, records, remote
from bert_mobile.corpus.records import Piece, Reading, Record, read_records
from bert_mobile.corpus.sources import find_files
from bert_mobile.errors import InputError, RunError

from .conftest import prose
from .test_build import texts_of

TITLES = [f"t{i}" for i in range(90)]
TEXTS = [prose(i) for i in range(90)]
COLUMNS = {"id": list(range(90)), "url": ["u"] * 90, "title": TITLES, "text": TEXTS}


def parquet(columns: dict[str, list[Any]] = COLUMNS, rows: int = 20) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data, row_group_size=rows)
    return data.getvalue()


def read(*sources: Path | str) -> list[Record]:
    reading = Reading()
    found = [plan.cut(file) for file in find_files(sources, reading.dropped)]
    return [r for pieces in found for r in read_records(pieces or [], reading, "text")]


def test_parquet_is_read_by_row_groups(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet())
    (file,) = find_files([tmp_path / "a.parquet"], Counter())
    pieces = plan.cut(file)
    assert pieces
    assert [(piece.start, piece.end) for piece in pieces] == [(i, i + 1) for i in range(5)]
    assert all(piece.bytes > 10_000 for piece in pieces)
    reading = Reading()
    records = list(read_records(pieces, reading, "text"))
    assert records == [Record("a", *pair) for pair in zip(TITLES, TEXTS, strict=True)]
    assert reading.plain_bytes >= sum(map(len, TEXTS))
    assert list(read_records([Piece(file)], Reading(), "text")) == records


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1 no PAR1", r"a\.parquet cannot be read, expected a whole \.parquet file"),
        (parquet()[:-30], r"a\.parquet cannot be read, expected a whole \.parquet file"),
        (parquet({"body": ["x"]}), r"a\.parquet: found columns body, expected 'text'"),
        (parquet({"text": [1, 3]}, 1), r"a\.parquet, row 1: found int, expected a string"),
        (
            parquet({"text": ["plain", "WRONG"]}).replace(b"WRONG", b"\xff\xfe\xfd\xfc\xfb"),
            r"a\.parquet cannot be read, expected a whole \.parquet file: .*utf-8",
        ),
    ],
)
def test_damaged_parquet_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.parquet")


def test_rows_without_text_or_with_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    (tmp_path / "a.parquet").write_bytes(parquet({"text": ["x", None, "x" * 1001, "y"]}))
    reading = Reading()
    (file,) = find_files([tmp_path / "a.parquet"], Counter())
    found = [record.text for record in read_records([Piece(file)], reading, "text")]
    assert found == ["x", "y"]
    assert reading.dropped == {"record: no text": 1, "record: too long": 1}


def test_parquet_with_damage_inside(tmp_path: Path) -> None:
    data = bytearray(parquet())
    data[40:4000] = bytes(3960)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read, expected a whole \.parquet"):
        read(tmp_path / "a.parquet")


def test_large_row_groups_are_spooled(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(rows=90))
    build_corpus([tmp_path / "a.parquet"], tmp_path / "one", tokenizer=tokenizer)
    monkeypatch.setattr(plan, "LARGEST_ROW_GROUP", 1000)
    report = build_corpus([tmp_path / "a.parquet"], tmp_path / "two", tokenizer=tokenizer)
    assert report.documents == 90
    assert texts_of(tmp_path / "one", "train") == texts_of(tmp_path / "two", "train")


@pytest.fixture
def memory() -> Iterator[str]:
    """Return an address of fsspec's file system in memory with files of several kinds."""
    root = "memory://shelf"
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    for name, data in {
        "a.jsonl": lines.encode(),
        "deep/b.parquet": parquet(),
        "deep/c.txt": b"One line.\nTwo lines.",
        "README.md": b"#",
        ".hidden/d.txt": b"Not read.",
    }.items():
        with fsspec.open(f"{root}/{name}", "wb") as file:
            file.write(data)
    yield root
    fsspec.filesystem("memory").rm("/shelf", recursive=True)


def test_any_file_system(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", 5000)
    records = read(memory)
    assert [record.text for record in records] == [*TEXTS, *TEXTS, "One line.\nTwo lines."]
    assert {record.source for record in records} == {"a", "b", "deep"}
    dropped: Counter[str] = Counter()
    names = [file.name for file in find_files([memory], dropped)]
    assert names == [
        f"memory:///shelf/{name}" for name in ("a.jsonl", "deep/b.parquet", "deep/c.txt")
    ]
    assert dropped == {"file: unknown kind": 1}
    assert [file.name for file in find_files([f"{memory}/a.jsonl"], dropped)] == names[:1]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://none", "memory://none does not exist"),
        ("nosuch://a/b", "nosuch://a/b cannot be listed: Protocol not known"),
        ("zip://a.txt::memory://a.zip", "chains several addresses, expected one"),
        ("simplecache::s3://a/b", "chains several addresses, expected one"),
        ("hf://datasets/owner/name", "hf://datasets/owner/name is not in the cache .*OFFLINE"),
    ],
)
def test_unreachable_addresses(address: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        find_files([address], Counter())
    assert raised.value.hint


def test_hidden_names_above_the_address_do_not_matter(memory: str) -> None:
    names = [file.name for file in find_files([f"{memory}/.hidden"], Counter())]
    assert names == ["memory:///shelf/.hidden/d.txt"]
    upper = memory.replace("memory", "MEMORY")
    assert [f.name for f in find_files([f"{upper}/.hidden/d.txt"], Counter())] == names


def test_files_in_the_cache_are_listed_as_the_hub_lists_them(tmp_path: Path) -> None:
    start = tmp_path / ".cache" / "snapshot"
    for name in ("a/b.txt", "a-b.txt", "a/.hidden/c.txt", ".d.txt"):
        (start / name).parent.mkdir(parents=True, exist_ok=True)
        (start / name).write_text("x")
    found = [path.relative_to(start).as_posix() for path in remote._visible_files(start)]
    assert found == ["a-b.txt", "a/b.txt"]
    assert remote._visible_files(start / "a-b.txt") == [start / "a-b.txt"]


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(InputError, match="s3://a/b cannot be listed") as raised:
        find_files(["s3://a/b"], Counter())
    assert raised.value.hint == "pip install s3fs"


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_damage_in_a_file_elsewhere_is_damage(suffix: str) -> None:
    address = f"memory://shelf/a.jsonl{suffix}"
    with fsspec.open(address, "wb") as file:
        file.write(b"not compressed at all")
    with pytest.raises(InputError, match=rf"a\.jsonl\{suffix} cannot be read, expected a whole"):
        read_all(address)


def read_all(address: str) -> list[Record]:
    return list(read_records(map(Piece, find_files([address], Counter())), Reading(), "text"))


def test_an_address_of_this_machine_is_no_way_around_the_check(
    tmp_path: Path, tokenizer: Path
) -> None:
    with pytest.raises(InputError, match="lie inside each other"):
        build_corpus([f"file://{tmp_path}"], tmp_path / "c", tokenizer=tokenizer)


def test_a_broken_connection_can_be_resumed(
    memory: str, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = fsspec.filesystem("memory").open

    def broken(*words: Any, **options: Any) -> Any:
        raise ConnectionError("reset by peer")

    source = f"{memory}/a.jsonl"
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.open", broken)
    with pytest.raises(RunError, match=r"a\.jsonl cannot be read: reset by peer") as raised:
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer)
    assert "--resume auto" in raised.value.hint
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.open", staticmethod(opened))
    report = build_corpus([source], tmp_path / "c", tokenizer=tokenizer, resume=True)
    assert report.documents == 90


FILES = {"20231101.en/train-00000.parquet": parquet(), "README.md": b"#"}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as its client asks about one data set, owner/wiki."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        _, _, name = path.partition("/resolve/main/")
        if name in FILES:
            self.answer_file(FILES[name])
        elif path.startswith("/api/datasets/owner/wiki/tree/main"):
            below = path.removeprefix("/api/datasets/owner/wiki/tree/main").strip("/")
            self.answer_json(self.tree(below))
        elif path.startswith("/api/datasets/owner/wiki"):
            self.answer_json({"id": "owner/wiki", "sha": "0" * 40, "siblings": []})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - its base class calls it so

    def tree(self, below: str) -> list[dict[str, Any]]:
        """List one folder."""
        found: dict[str, dict[str, Any]] = {}
        for name, data in FILES.items():
            folder = name.rpartition("/")[0]
            if folder == below:
                found[name] = {"type": "file", "path": name, "oid": "1" * 40, "size": len(data)}
            elif not below:
                found[folder] = {"type": "directory", "path": folder, "oid": "2" * 40, "size": 0}
        return list(found.values())

    def answer_file(self, data: bytes) -> None:
        asked = self.headers.get("range", f"bytes=0-{len(data) - 1}").removeprefix("bytes=")
        first, last = map(int, asked.split("-"))
        part = data[first : last + 1]
        self.send_response(206)
        self.send_header("content-range", f"bytes {first}-{last}/{len(data)}")
        self.end_with(part)

    def answer_json(self, value: Any) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_with(json.dumps(value).encode())

    def end_with(self, data: bytes) -> None:
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    """Return the address of a stand-in of the Hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path, tokenizer: Path) -> Command:
    """Return a function that builds from the Hub in a process with switches of its own."""

    def run(address: str, out: str, **switches: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from bert_mobile.cli import main; main(sys.argv[1:])"
        words = ["corpus", "build", address, "--out", str(tmp_path / out), "--json"]
        return subprocess.run(
            [sys.executable, "-c", code, *words, "--tokenizer", str(tokenizer)],
            env=os.environ | {"HF_HOME": str(tmp_path / "home")} | switches,
            capture_output=True,
            check=False,
            text=True,
        )

    return run


@pytest.mark.slow
def test_the_hub(hub: str, command: Command, tmp_path: Path, tokenizer: Path) -> None:
    switches = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    done = command("hf://datasets/owner/wiki/20231101.en", "c", **switches)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    name = "hf://datasets/owner/wiki/20231101.en/train-00000.parquet"
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert [source["path"] for source in manifest["sources"]] == [name]
    (tmp_path / "a.parquet").write_bytes(parquet())
    build_corpus([tmp_path / "a.parquet"], tmp_path / "local", tokenizer=tokenizer)
    assert texts_of(tmp_path / "c", "train") == texts_of(tmp_path / "local", "train")
    gone = command("hf://datasets/owner/none", "d", **switches)
    assert gone.returncode == 2
    assert gone.stderr.startswith("error: hf://datasets/owner/none cannot be listed")
    assert len(gone.stderr.splitlines()) == 2


@pytest.mark.slow
def test_the_hubs_cache(command: Command, tmp_path: Path) -> None:
    """Offline, a data set that was downloaded before is read from under HF_HOME."""
    cache = tmp_path / "home" / "hub" / "datasets--owner--wiki"
    file = cache / "snapshots" / ("0" * 40) / "20231101.en" / "train-00000.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(parquet())
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    done = command("hf://datasets/owner/wiki/20231101.en", "c", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    name = "hf://datasets/owner/wiki/20231101.en/train-00000.parquet"
    assert [source["path"] for source in manifest["sources"]] == [name]
    gone = command("hf://datasets/owner/books", "d", HF_HUB_OFFLINE="1")
    assert gone.returncode == 2
    assert "is not in the cache" in gone.stderr
    assert "hint: unset HF_HUB_OFFLINE" in gone.stderr
