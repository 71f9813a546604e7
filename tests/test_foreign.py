"""Packages of others: they ask nobody for anything, and say nothing of their own."""

import logging
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from bert_mobile.foreign import hidden, muted

# It prints, as their senders swallow what is raised.
SEALED = """
import socket, sys
from pathlib import Path

def refused(*address, **options):
    print("looked up", address[:2], flush=True)
    raise OSError("no network here")

socket.getaddrinfo = refused
import bert_mobile
from bert_mobile.export import export
"""
EXPORT = "export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), width=sys.argv[4])"
LOAD = "bert_mobile.load(sys.argv[1]).fill_mask('the [MASK]')"


def said(code, home, *arguments):
    """Run code in a process of its own (under pytest NNCF is silent); return all that it said."""
    environment = {"HOME": str(home), "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SEALED + code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_openvino_tells_nobody_that_it_is_used(tiny_checkpoint, tmp_path):
    for package in ("openvino", "nncf"):
        if find_spec(package) is None:
            pytest.skip("needs the extra [openvino]")
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    assert "looked up" not in said(EXPORT, home, tiny_checkpoint, "openvino", out, "int8")
    assert "looked up" not in said(LOAD, home, out)
    assert not (home / "intel").exists()  # where it keeps a number for this user


@pytest.mark.parametrize(("target", "package"), [("coreml", "coremltools"), ("executorch",) * 2])
def test_writers_say_nothing_of_their_own(target, package, tiny_checkpoint, tmp_path):
    if find_spec(package) is None:
        pytest.skip(f"needs the extra [{target}]")
    out = tmp_path / "out"
    assert said(EXPORT, tmp_path, tiny_checkpoint, target, out, "float32") == ""
    if target == "executorch":
        assert "torch" not in said(
            LOAD, tmp_path, out
        )  # its C++ tells which processors it looks for


def test_core_ml_does_without_torch(tiny_checkpoint, tmp_path):
    if find_spec("coremltools") is None:
        pytest.skip("needs the extra [coreml]")
    code = EXPORT + "; print('torch' in sys.modules)"
    assert said(code, tmp_path, tiny_checkpoint, "coreml", tmp_path / "out", "float32") == "False\n"


def test_what_is_hidden_is_there_again_afterwards():
    with hidden("json", "not_installed"):
        with pytest.raises(ImportError):
            import json
        with pytest.raises(ImportError):
            import_module("not_installed")
    import json

    assert sys.modules["json"] is json
    assert "not_installed" not in sys.modules


def test_muted_loggers_say_errors_only(caplog):
    logger = logging.getLogger("someone.else")
    with caplog.at_level(logging.WARNING, "someone.else"):  # others raise that of all loggers
        with muted("someone.else"):
            logger.warning("of little use")
            logger.error("broken")
        logger.warning("later")
    assert [record.message for record in caplog.records] == ["broken", "later"]
