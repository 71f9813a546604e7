"""What else happens while a corpus is built: another build, a change of a source, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_mobile.corpus import build_corpus, stages, tokenize_corpus
from bert_mobile.errors import InputError, RunError
from bert_mobile.files import held_aside

from .conftest import prose

HOLD = (
    "import sys; from pathlib import Path; from bert_mobile.files import held_aside\n"
    "with held_aside(Path(sys.argv[1])):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def source(json_lines: Callable[..., Path]) -> Path:
    return json_lines(prose(seed) for seed in range(20))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Keep another program busy with the corpus `c` until its input ends."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "c")]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "held\n"
        yield running


def test_two_builds_of_one_corpus(
    source: Path, tmp_path: Path, tokenizer: Path, holder: subprocess.Popen[str]
) -> None:
    out = tmp_path / "c"
    theirs = tmp_path / ".c.part" / "theirs"
    theirs.mkdir(parents=True)
    for resume in (False, True):
        with pytest.raises(InputError, match=r"another program is writing to .*c at this moment"):
            build_corpus([source], out, tokenizer=tokenizer, resume=resume)
    assert theirs.is_dir()
    holder.communicate()
    build_corpus([source], out, tokenizer=tokenizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", source.name]


def test_encoding_anew_beside_a_build(
    source: Path, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    build_corpus([source], out, tokenizer=tokenizer)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "encode_shard", stop)
        with pytest.raises(KeyboardInterrupt, match="--resume auto"):
            build_corpus([source], out, tokenizer=tokenizer)
    with pytest.raises(InputError, match="holds an unfinished build") as raised:
        tokenize_corpus(out, tokenizer)
    assert "--resume auto" in raised.value.hint
    with pytest.warns(UserWarning, match=r"unfinished build in .*\.c\.part is discarded"):
        build_corpus([source], out, tokenizer=tokenizer)
    tokenize_corpus(out, tokenizer)


def test_encoding_anew_is_alone_too(
    source: Path, tmp_path: Path, tokenizer: Path, holder: subprocess.Popen[str]
) -> None:
    build_corpus([source], tmp_path / "other", tokenizer=tokenizer)
    (tmp_path / "other").rename(tmp_path / "c")
    with pytest.raises(InputError, match="another program is writing"):
        tokenize_corpus(tmp_path / "c", tokenizer)


def test_a_lock_that_was_removed_guards_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removed it between our opening and our locking it."""
    fcntl = pytest.importorskip("fcntl")

    def removing(*_: object) -> None:
        (tmp_path / ".c.lock").unlink()

    monkeypatch.setattr(fcntl, "lockf", removing)
    with pytest.raises(InputError, match="another program"), held_aside(tmp_path / "c"):
        pass


def test_a_source_that_changes(
    source: Path, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages.read_records

    def shrinking(*words: Any) -> Iterator[Any]:
        source.write_text(json.dumps({"text": prose(0)}) + "\n")
        return whole(*words)

    monkeypatch.setattr(stages, "read_records", shrinking)
    with pytest.raises(RunError, match=r"texts\.jsonl changed while it was read") as raised:
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer)
    assert "--resume" not in raised.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_folder_that_cannot_be_made(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written") as raised:
        build_corpus([source], tmp_path / "file" / "c", tokenizer=tokenizer)
    assert "--resume" not in raised.value.hint


def test_memory_of_workers_that_ran(
    source: Path, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task takes no worker, however many are asked for."""
    one = build_corpus([source], tmp_path / "c", tokenizer=tokenizer)
    many = build_corpus([source], tmp_path / "c", tokenizer=tokenizer, workers=64)
    assert many.peak_megabytes < 1.5 * one.peak_megabytes


def test_all_held_out(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    source.write_text(json.dumps({"text": prose(0)}) + "\n")
    with pytest.raises(InputError, match=r"left \(1\) are held out, none is for training"):
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer, held_out=0.9999)


SLOW = (
    "import signal, sys, time\n"
    "from pathlib import Path\n"
    "from bert_mobile.corpus import plan, stages\n"
    "from bert_mobile.cli import main\n"
    "plan.TASK_BYTES = 5_000\n"
    "def slow(folder, task):\n"
    "    Path(folder, 'running').touch()\n"
    "    time.sleep(60)\n"
    "if __name__ == '__main__':\n"
    "    stages.prepare_pieces = slow\n"
    "    # a shell's job in the background is born deaf to Ctrl-C\n"
    "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "    main(sys.argv[1:])\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_running_tasks(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    words = [sys.executable, str(script), "corpus", "build", str(source), "--workers", "2"]
    words += ["--tokenizer", str(tokenizer), "--out", str(tmp_path / "c")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 60
        while not (tmp_path / ".c.part" / "running").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGINT)
        said = running.communicate(timeout=15)[1]
    assert running.returncode == 130
    assert "error: interrupted" in said
    assert "--resume auto" in said
