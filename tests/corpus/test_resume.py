"""Whatever breaks a build off, nothing finished is lost, and going on makes the same bytes."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bert_mobile.corpus import build_corpus, plan, stages, tokenize_corpus
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.files import write_json

from .conftest import prose
from .test_build import same_folders

TASK_BYTES = 12_000
COMMAND = (
    "import sys; from bert_mobile.corpus import plan; from bert_mobile.cli import main\n"
    f"plan.TASK_BYTES = {TASK_BYTES}\n"
    "main(sys.argv[1:])"
)


@pytest.fixture
def source(json_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of some forty tasks."""
    monkeypatch.setattr(plan, "TASK_BYTES", TASK_BYTES)
    return json_lines(prose(seed) for seed in range(400))


@pytest.fixture
def whole(source: Path, tmp_path: Path, tokenizer: Path) -> Path:
    """Return the corpus that an undisturbed build makes."""
    build_corpus([source], tmp_path / "whole", tokenizer=tokenizer, shard_bytes=80_000)
    return tmp_path / "whole"


def wait_for_marks(out: Path, count: int) -> None:
    """Return when so many tasks of the longest stage are finished."""
    marks = out.with_name(f".{out.name}.part") / "engine" / "prepare" / "completions"
    end = time.monotonic() + 60
    while len(list(marks.glob("*"))) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_worker_is_named_and_the_rest_is_kept(
    source: Path, whole: Path, tmp_path: Path, tokenizer: Path
) -> None:
    out = tmp_path / "c"

    def build(*, resume: bool = False) -> Any:
        return build_corpus(
            [source], out, tokenizer=tokenizer, workers=2, shard_bytes=80_000, resume=resume
        )

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(build)
        wait_for_marks(out, 3)
        victim = multiprocessing.active_children()[0].pid
        assert victim
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(RunError, match="worker process ended unexpectedly") as raised:
            running.result()
    assert "--resume auto" in raised.value.hint
    assert not out.exists()
    report = build(resume=True)
    assert report.tasks_kept >= 3
    assert report.documents < 400
    same_folders(out, whole)
    assert not (tmp_path / ".c.part").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_command(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    """Its workers end with it; the same command with --resume auto makes the same bytes."""
    out, whole = tmp_path / "c", tmp_path / "whole"
    words = [sys.executable, "-c", COMMAND, "corpus", "build", str(source), "--json"]
    words += ["--tokenizer", str(tokenizer), "--workers", "2", "--out"]
    with subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL) as running:
        wait_for_marks(out, 3)
        workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.kill()
    assert len(workers) >= 2
    end = time.monotonic() + 20
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not out.exists()
    done = subprocess.run(
        [*words, str(out), "--resume", "auto"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["tasks_kept"] >= 3
    assert done.stderr == ""
    build_corpus([source], whole, tokenizer=tokenizer)
    same_folders(out, whole)


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("stage", ["prepare", "DuplicateIndex", "encode_shard"])
def test_interrupt(
    source: Path,
    whole: Path,
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def build(*, resume: bool) -> Any:
        return build_corpus(
            [source], tmp_path / "c", tokenizer=tokenizer, shard_bytes=80_000, resume=resume
        )

    with monkeypatch.context() as patch:
        patch.setattr(stages, stage, interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(resume=False)
    report = build(resume=True)
    assert (report.tasks_kept > 0) == (stage != "prepare")
    assert (report.documents == 0) == (stage != "prepare")
    same_folders(tmp_path / "c", whole)


def broken_off(
    source: Path, out: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "encode_shard", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_corpus([source], out, tokenizer=tokenizer, **options)


def test_others_work_is_not_gone_on_with(
    source: Path, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    broken_off(source, out, tokenizer, monkeypatch)
    with pytest.raises(InputError, match=r"unfinished build of .*c was begun with other settings"):
        build_corpus([source], out, tokenizer=tokenizer, held_out=0.2, resume=True)
    vocabulary = tmp_path / "tokenizer.json"
    vocabulary.write_text((tokenizer / "tokenizer.json").read_text() + "\n")
    with pytest.raises(InputError, match="begun with other tokenizer"):
        build_corpus([source], out, tokenizer=vocabulary, resume=True)
    with source.open("a") as file:
        file.write(json.dumps({"text": prose(2000)}) + "\n")
    with pytest.raises(InputError, match="begun with other sources") as raised:
        build_corpus([source], out, tokenizer=tokenizer, resume=True)
    assert "leave out --resume" in raised.value.hint
    assert (tmp_path / ".c.part").is_dir()
    with pytest.warns(UserWarning, match="is discarded"):
        report = build_corpus([source], out, tokenizer=tokenizer)
    assert (report.tasks_kept, report.documents) == (0, 401)


def test_resume_of_nothing_begins(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    part = tmp_path / ".c.part"
    part.mkdir()
    report = build_corpus([source], tmp_path / "c", tokenizer=tokenizer, resume=True)
    assert report.tasks_kept == 0
    (part / "corpus").mkdir(parents=True)
    write_json(part / "other.json", {})
    build_corpus([source], tmp_path / "c", tokenizer=tokenizer, resume=True)
    assert not part.exists()


def test_a_refusal_in_a_worker_is_one_error(
    source: Path, tmp_path: Path, tokenizer: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It names the line of the whole file, though a worker reads a piece of it."""
    lines = source.read_text().splitlines(keepends=True)
    lines[350] = '{"text": 3}\n'
    source.write_text("".join(lines))
    with pytest.raises(InputError, match="line 351: found int, expected a string"):
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer, workers=2)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.part", source.name]


@pytest.mark.slow
def test_workers_are_quiet(
    source: Path, whole: Path, tmp_path: Path, tokenizer: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_corpus([source], tmp_path / "c", tokenizer=tokenizer, workers=3, shard_bytes=80_000)
    assert capfd.readouterr() == ("", "")
    same_folders(tmp_path / "c", whole)


def test_damaged_text_is_not_encoded_anew(whole: Path, tokenizer: Path) -> None:
    path = whole / "train-00001.jsonl.zst"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = {p.name: p.read_bytes() for p in whole.iterdir()}
    with pytest.raises(ArtifactError, match=r"train-00001\.jsonl\.zst is missing or damaged"):
        tokenize_corpus(whole, tokenizer)
    assert {p.name: p.read_bytes() for p in whole.iterdir()} == before
