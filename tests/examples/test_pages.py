"""The examples' own pages: all are listed, and what they name is there."""

import re

import pytest

from tests.examples.conftest import EXAMPLES, ROOT

FOLDERS = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
PAGES = [EXAMPLES / "README.md", *(EXAMPLES / name / "README.md" for name in sorted(FOLDERS))]


def test_every_example_is_a_row():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\) \|", text, re.MULTILINE)
    assert {name for name, _ in rows} == {place for _, place in rows} == FOLDERS


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    files = set(re.findall(r"([\w-]+\.(?:py|mjs|kt|swift|json))\b", text))
    rooms = EXAMPLES, ROOT / "benchmarks", ROOT / "tests" / "examples"
    assert files - {path.name for room in rooms for path in room.rglob("*")} == set()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
