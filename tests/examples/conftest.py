"""The examples' folder, its vectors, and a micro model exported for the browser."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def module(path):
    """Import a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="session")
def vectors():
    """What examples/tokenizer-vectors.json holds."""
    return json.loads((EXAMPLES / "tokenizer-vectors.json").read_text(encoding="ascii"))


@pytest.fixture(scope="session")
def site(tiny_checkpoint, tmp_path_factory):
    """A `web` export of a micro model in float32, whose answers are the same everywhere."""
    export = pytest.importorskip("bert_mobile.export", reason="needs the extra export").export
    folder = tmp_path_factory.mktemp("examples") / "site"
    export(tiny_checkpoint, "web", folder)
    return folder
