"""The command `demo`, in a process of its own, until Ctrl-C."""

import json
import signal
import subprocess
import sys
import webbrowser
from urllib.request import urlopen

import pytest

from bert_mobile.cli import main
from bert_mobile.model.config import SEQUENCES
from bert_mobile.page import PageServer, gather
from bert_mobile.quantize import quantize


@pytest.fixture
def heeded():
    """Let Ctrl-C be heeded by what is started, also where nohup would have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_it_serves_its_models_until_it_is_stopped(tiny_task, tmp_path):
    quantize(tiny_task(SEQUENCES), tmp_path / "reviews", max_bytes=200_000)
    command = ["demo", "--no-open", "--port", "0", "--sentiment", str(tmp_path / "reviews")]
    with subprocess.Popen(
        [sys.executable, "-m", "bert_mobile", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            url = running.stdout.readline().strip()
            with urlopen(url) as page, urlopen(f"{url}models.json") as models:
                assert b"<title>" in page.read()
                assert set(json.load(models)) == {"default", "sentiment"}
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=20) == 0
            assert running.stderr.read().splitlines() == ["Ctrl-C stops it", "stopped"]
        finally:
            running.kill()


def test_the_browser_is_opened_unless_it_is_not_wanted(monkeypatch):
    visited = []
    monkeypatch.setattr(webbrowser, "open", visited.append)
    monkeypatch.setattr(PageServer, "serve_forever", lambda _: None)
    for options in ([], ["--no-open"]):
        with pytest.raises(SystemExit) as done:
            main(["demo", "--port", "0", *options])
        assert not done.value.code
    assert len(visited) == 1
    assert visited[0].startswith("http://127.0.0.1:")


def test_a_taken_port_and_a_wrong_role_are_one_line(tiny_task):
    folder = tiny_task(SEQUENCES)
    with PageServer(gather({})) as taken:
        busy = said("--port", str(taken.server_port))
    assert busy.startswith(f"error: port {taken.server_port} cannot be listened to")
    assert said("--entities", str(folder)).startswith(f"error: {folder} is a {SEQUENCES}")


def said(*options):
    """Return what a refused `demo` says, but for the hint."""
    command = [sys.executable, "-m", "bert_mobile", "demo", "--no-open", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert hint.startswith("hint: ")
    return error
