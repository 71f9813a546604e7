"""The page about the recipes: what it lists is there, and its arithmetic is what is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
PLANS = re.findall(r"<!-- printed by: python (.*?) -->\n(.*?)\n\n", PAGE, re.DOTALL)


def test_all_recipes_are_listed_and_there() -> None:
    rows = "\n".join(re.findall(r"^\| \[.*$", PAGE, re.MULTILINE))
    listed = set(re.findall(r"\[.*?\]\((.*?)\)", rows))
    there = {path.name for path in (ROOT / "recipes").iterdir()} - {"README.md"}
    assert listed == there


@pytest.mark.parametrize(("command", "table"), PLANS)
def test_the_plans_are_what_is_printed(command, table) -> None:
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert table in done.stdout


def test_there_are_plans() -> None:
    assert len(PLANS) == 2


@pytest.mark.skipif(os.name == "nt", reason="the runbook is for Linux machines")
def test_the_runbook_can_be_rehearsed(tiny_corpus) -> None:
    """Parts, a killed piece, lost and damaged parts, and going on elsewhere from weights alone."""
    done = subprocess.run(
        ["recipes/default.sh", "rehearse", tiny_corpus],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines()[-1] == "--- rehearsed: everything went as it should"
    assert done.stderr.count("a part in there/weights-parts is missing or damaged") == 2
    assert "was begun with another recipe" in done.stderr
    assert "was begun with another corpus" in done.stderr
    assert "resumed from step" in done.stdout
