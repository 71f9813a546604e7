"""The README's blocks are run as they stand; so nobody can read there what does not work.

All but the first fine-tuning start from a tiny network here, for one epoch: see `MICRO`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

TAUGHT_FIRST = "bert-mobile finetune classify --train reviews.csv --out runs/reviews"
"""The page's main promise: run to the letter, from the embedded model."""
MICRO = {
    "bert-mobile finetune": "--model tiny --epochs 1",
    "bert-mobile glue": "--model tiny --epochs 1 --seeds 1",
}
"""What is added to lines that begin so; of options given twice, the last counts."""


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, story_texts, labelled_files, tiny_checkpoint) -> Path:
    """A working folder with the recipes, texts and labelled files, as the README supposes."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(labelled_files, folder, dirs_exist_ok=True)
    shutil.copytree(tiny_checkpoint, folder / "tiny")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    (folder / "texts").mkdir()
    for number, text in enumerate(story_texts):
        (folder / "texts" / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return folder


def run(desk: Path, *command: str) -> str:
    scripts = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def quickly(line: str) -> str:
    """Return a line of the page with what makes it quick."""
    if line == TAUGHT_FIRST:
        return line
    if "--qat" in line:  # from a model that an earlier line has made
        return f"{line} --epochs 1"
    added = (more for beginning, more in MICRO.items() if line.startswith(beginning))
    return " ".join([line, *added])


def test_every_block_is_of_a_known_kind() -> None:
    assert {kind for kind, _ in BLOCKS} == {"sh", "bash", "python", "text"}


@pytest.mark.timeout(600)
def test_commands_and_code_run_in_the_order_of_the_page(desk) -> None:
    ran = 0
    for kind, text in BLOCKS:
        if kind == "bash":
            for line in text.splitlines():
                run(desk, "bash", "-c", quickly(line))
                ran += 1
        elif kind == "python":
            run(desk, sys.executable, "-c", text)
            ran += 1
    assert ran >= 30
    assert TAUGHT_FIRST in README
    made = {path.name for path in (desk / "runs/reviews").iterdir()}
    assert {"model.safetensors", "curve.png", "reports"} <= made
    made = {path.name for path in (desk / "runs/glue").iterdir()}
    assert {"table.md", "record.json", "submission.zip"} <= made


def test_the_shown_answers_are_what_is_printed(desk) -> None:
    found = re.findall(r"<!-- printed by: (.*?) -->\n```text\n(.*?)^```", README, re.M | re.S)
    assert len(found) == 2
    for command, block in found:
        texts = block, run(desk, "bash", "-c", command)
        shown, now = ([line.split()[-1] for line in text.splitlines()] for text in texts)
        # 8-bit activations round differently on different processors: near-ties may change places.
        assert shown[:2] == now[:2]
        assert len(set(shown) & set(now)) >= len(set(shown)) - 1


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^make (\w+)$", "\n".join(blocks("sh")), re.M))
    rules = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert targets
    assert targets <= rules


def test_the_tree_names_what_is_there() -> None:
    tree = next(text for text in blocks("text") if "src/bert_mobile/" in text)
    inside = False
    for line in tree.splitlines():
        name = line.split()[0]
        inside = inside or name == "src/bert_mobile/"
        place = ROOT / "src/bert_mobile" if line.startswith("  ") else ROOT
        assert (place / name).exists(), name
    assert inside
    listed = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    rooms = {p.name for p in (ROOT / "src/bert_mobile").iterdir() if not p.name.startswith("__py")}
    assert rooms - {"py.typed"} == listed
    top = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    assert {f"{name}/" for name in top - {"runs", "dist", "build", "src"}} <= set(tree.split())


def test_commands_on_the_page_are_all_there_are() -> None:
    from bert_mobile.cli import COMMANDS

    shown = " ".join(text for kind, text in BLOCKS if kind == "bash") + README
    assert [c.name for c in COMMANDS if f"bert-mobile {c.name}" not in shown] == []
