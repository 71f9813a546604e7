"""Slurm and Ray make the same bytes as this machine. Slurm is a stand-in that runs the scripts."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_mobile.cli.corpora import corpus
from bert_mobile.corpus import build_corpus, plan
from bert_mobile.corpus.clusters import RayEngine, SlurmEngine
from bert_mobile.corpus.engine import Stage, failure
from bert_mobile.errors import InputError, MissingExtraError, RunError
from bert_mobile.files import write_json
from bert_mobile.progress import progress

from .conftest import prose
from .test_build import same_folders

# Runs each index of the array after sbatch returned, as Slurm does.
SBATCH = f"""#!{sys.executable}
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
folder = os.environ["FAKE_SLURM"]
job = str(len(os.listdir(folder)) + 1)
open(os.path.join(folder, job), "w").write(text)
last = int(re.search(r"--array=0-(\\d+)", text)[1])
for option in sys.argv[1:-1]:
    if option.startswith("--export=ALL,"):
        name, value = option.removeprefix("--export=ALL,").split("=")
        os.environ[name] = value
os.environ |= {{"SLURM_JOB_ID": job, "SLURM_NODELIST": "here"}}
print("Submitted batch job", job, flush=True)
log = open(re.search(r"--output=(.*)", text)[1].replace("%A_%a", job), "w")
if os.fork() == 0:
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    for index in range(last + 1):
        os.environ["SLURM_ARRAY_TASK_ID"] = str(index)
        subprocess.run(["bash", "-c", text])
    os.rename(os.path.join(folder, job), os.path.join(folder, job + ".done"))
"""
SQUEUE = '#!/bin/bash\n[ -e "$FAKE_SLURM/${@: -1}" ] && echo running; true\n'
SCONTROL = '#!/bin/bash\necho "${@: -1}"\n'


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-in on the PATH; return the folder of its jobs, named by their numbers."""
    commands, jobs = tmp_path / "bin", tmp_path / "jobs"
    commands.mkdir()
    jobs.mkdir()
    scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "scancel": SCONTROL}
    for name, text in scripts.items():
        (commands / name).write_text(text)
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(jobs))
    return jobs


@pytest.fixture
def source(json_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of four tasks."""
    monkeypatch.setattr(plan, "TASK_BYTES", 30_000)
    return json_lines(prose(seed) for seed in range(120))


@pytest.mark.slow
def test_slurm(source: Path, slurm: Path, tmp_path: Path, tokenizer: Path) -> None:
    engine = SlurmEngine(2, "small", "1:00:00", {"account": "mine"}, poll_seconds=0.1)
    build_corpus([source], tmp_path / "here", tokenizer=tokenizer, shard_bytes=60_000)
    out = tmp_path / "there"
    build_corpus([source], out, tokenizer=tokenizer, shard_bytes=60_000, workers=2, engine=engine)
    same_folders(tmp_path / "here", out)
    first = (slurm / "1.done").read_text()
    options = ("array=0-3%2", "partition=small", "time=1:00:00", "account=mine")
    assert all(f"#SBATCH --{option}\n" in first for option in options)


@pytest.mark.slow
def test_a_refusal_on_slurm(source: Path, slurm: Path, tmp_path: Path, tokenizer: Path) -> None:
    engine = SlurmEngine(1, "small", poll_seconds=0.1)
    source.write_text(source.read_text() + json.dumps({"body": "x"}) + "\n")
    with pytest.raises(InputError, match="line 121: found keys body, expected a string"):
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer, engine=engine)


@pytest.mark.slow
def test_a_lost_slurm_job(
    source: Path, slurm: Path, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bert_mobile.corpus.clusters.SLOWEST_FOLDER", 0.3)
    (slurm.parent / "bin" / "scontrol").write_text("#!/bin/bash\nkill -9 $PPID\n")
    engine = SlurmEngine(1, "small", poll_seconds=0.1)
    with pytest.raises(RunError, match="4 of 4 tasks ended without a result") as raised:
        build_corpus([source], tmp_path / "c", tokenizer=tokenizer, engine=engine)
    assert "--resume auto" in raised.value.hint
    assert str(tmp_path / ".c.part" / "engine" / "prepare") in raised.value.hint


def test_a_failure_is_seen_while_other_tasks_run(slurm: Path, tmp_path: Path) -> None:
    stage = Stage("prepare", print, "clean and split", [1.0, 1.0])
    said = {"kind": "InputError", "message": "line 3: no valid JSON", "hint": "repair it"}
    write_json(failure(tmp_path, "prepare", 1), said)
    engine = SlurmEngine(1, "small", poll_seconds=100)
    with progress("test", 2, "MB", 0) as bar, pytest.raises(InputError, match="line 3"):
        engine._wait(stage, tmp_path, bar, lambda: True)


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="'sbatch' is not among this machine's commands"):
        SlurmEngine(1, "small")


def test_an_installation_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="'ray', which is not installed") as raised:
        RayEngine(1)
    assert raised.value.hint == 'pip install "bert-mobile[scale]"'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["slurm"], "--executor slurm needs a --partition"),
        (["slurm", "--partition", "p", "--sbatch", "account"], "--sbatch account has no value"),
    ],
)
def test_refused_options(tmp_path: Path, options: list[str], message: str) -> None:
    words = ["build", str(tmp_path), "--out", str(tmp_path / "c"), "--executor", *options]
    with pytest.raises(InputError, match=message):
        corpus.main(words, standalone_mode=False)


@pytest.mark.slow
def test_ray(source: Path, tmp_path: Path, tokenizer: Path) -> None:
    """On a Ray of this machine; needs the `scale` extra."""
    pytest.importorskip("ray")
    out = tmp_path / "there"
    build_corpus([source], tmp_path / "here", tokenizer=tokenizer)
    build_corpus([source], out, tokenizer=tokenizer, workers=2, engine=RayEngine(2))
    same_folders(tmp_path / "here", out)
