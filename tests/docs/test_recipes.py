"""The page about the recipes: what it lists is there, and its arithmetic is what is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
PLANS = re.findall(r"<!-- printed by: python (.*?) -->\n(.*?)\n\n", PAGE, re.DOTALL)


def test_all_recipes_are_listed_and_there() -> None:
    listed = set(re.findall(r"^\| \[(.*?)\]\(", PAGE, re.MULTILINE))
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
