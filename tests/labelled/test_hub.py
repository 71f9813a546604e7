"""Data sets of the Hub: which files are meant, at a stand-in of the Hub and in its cache."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_mobile.corpus import remote
from bert_mobile.errors import InputError
from bert_mobile.labelled import hub
from tests.corpus.test_remote import Hub


def parquet(texts: list[str]) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": [text[0] for text in texts]}), data)
    return data.getvalue()


def chosen(
    monkeypatch: pytest.MonkeyPatch, names: list[str], source: str, split: str | None = None
) -> list[str]:
    """Return which of a data set's files are read."""

    def listed(address: str) -> list[remote.RemoteFile]:
        found = [
            remote.RemoteFile(f"{address}/{name}", f"{address}/{name}", 1, "") for name in names
        ]
        if address.endswith(hub.CONVERTED):
            return [
                remote.RemoteFile(
                    f"{address}/c/test/0000.parquet", f"{address}/c/test/0000.parquet", 1, ""
                )
            ]
        return found

    monkeypatch.setattr(remote, "list_files", listed)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found = hub.data_set_files(source, split, (".parquet", ".jsonl", ".csv"))
    root = "hf://datasets/o/n"
    return [file.path.removeprefix(root).lstrip("/") for file in found]


PLAIN = [
    "README.md",
    "data/test-00000-of-00001.parquet",
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/validation-00000-of-00001.parquet",
    "train.csv",
]
CONFIGS = [
    "cola/test-00000-of-00001.parquet",
    "cola/train-00000-of-00001.parquet",
    "mnli/train-00000-of-00001.parquet",
    "mnli/validation_matched-00000-of-00001.parquet",
]


@pytest.mark.parametrize(
    ("names", "source", "split", "expected"),
    [
        (PLAIN, "o/n", "train", PLAIN[2:4]),
        (PLAIN, "o/n:train", None, PLAIN[2:4]),
        (PLAIN, "o/n:dev", None, PLAIN[4:5]),
        (PLAIN, "o/n:default:test", None, PLAIN[1:2]),
        (PLAIN, "o/n", "validation", PLAIN[4:5]),
        (CONFIGS, "o/n:cola", "train", CONFIGS[1:2]),
        (CONFIGS, "o/n:mnli:validation_matched", None, CONFIGS[3:]),
        (["imdb_train.jsonl", "imdb_dev.jsonl"], "o/n", "dev", ["imdb_dev.jsonl"]),
        (["all.csv"], "o/n", None, ["all.csv"]),
        (["script.py"], "o/n", None, [f"{hub.CONVERTED}/c/test/0000.parquet"]),
        (["script.py"], "o/n:c:test", None, [f"{hub.CONVERTED}/c/test/0000.parquet"]),
        (PLAIN, "hf://datasets/o/n", "test", PLAIN[1:2]),
    ],
)
def test_which_files(
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    source: str,
    split: str | None,
    expected: list[str],
) -> None:
    assert chosen(monkeypatch, names, source, split) == expected


@pytest.mark.parametrize(
    ("names", "source", "split", "message"),
    [
        (PLAIN, "o/n", None, "has several splits, expected one of test, train, validation"),
        (PLAIN, "o/n:extra", None, "has no split 'extra', expected one of test, train"),
        (CONFIGS, "o/n", "train", "has several configs, expected one of cola, mnli"),
        (CONFIGS, "o/n:rte:train", None, "has no config 'rte', expected one of cola, mnli"),
        (CONFIGS, "o/n:cola:train", "test", "names the split 'train', and split is 'test'"),
        ([], "hf://datasets/o/n/x", None, "holds no file of a kind that we read"),
    ],
)
def test_unclear_files(
    monkeypatch: pytest.MonkeyPatch, names: list[str], source: str, split: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        chosen(monkeypatch, names, source, split)
    assert raised.value.hint


READ = """import json, sys
from bert_mobile.errors import BertMobileError
from bert_mobile.labelled import open_labelled
try:
    file = open_labelled(sys.argv[1], "classify", split=sys.argv[2] if sys.argv[2:] else None)
    print(json.dumps([[e.line, *e.texts, *e.labels] for e in file]))
except BertMobileError as error:
    sys.exit(f"{error.message} | {error.hint}")
"""


def read(tmp_path: Path, *words: str, **switches: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READ, *words],
        env=os.environ | {"HF_HOME": str(tmp_path / "home")} | switches,
        capture_output=True,
        check=False,
        text=True,
    )


FILES = {
    "data/train-00000-of-00002.parquet": parquet(["a b", "b c"]),
    "data/train-00001-of-00002.parquet": parquet(["a d"]),
    "data/test-00000-of-00001.parquet": parquet(["b e"]),
    "README.md": b"#",
}


class WholeTree(Hub):
    """A stand-in that lists all files of the data set at once."""

    def tree(self, below: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "oid": "1" * 40, "size": len(data)}
            for name, data in FILES.items()
            if name.startswith(below)
        ]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("tests.corpus.test_remote.FILES", FILES)
    server = ThreadingHTTPServer(("127.0.0.1", 0), WholeTree)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_data_set_of_the_hub(stand_in: str, tmp_path: Path) -> None:
    switches = {"HF_ENDPOINT": stand_in, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    done = read(tmp_path, "owner/wiki", "train", **switches)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, "a b", "a"], [2, "b c", "b"], [1, "a d", "a"]]


@pytest.mark.slow
def test_a_data_set_in_the_hubs_cache(tmp_path: Path) -> None:
    cache = tmp_path / "home" / "hub" / "datasets--owner--reviews"
    for name, data in FILES.items():
        file = cache / "snapshots" / ("0" * 40) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    done = read(tmp_path, "owner/reviews:test", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, "b e", "b"]]
