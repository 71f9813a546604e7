"""The page's tokenizer, in node, beside the library `tokenizers`."""

import importlib.util
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from bert_mobile.tokenizer import load_tokenizer

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "page_tokenizer.py"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_pieces_and_places_are_the_librarys():
    spec = importlib.util.spec_from_file_location("page_tokenizer", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    with as_file(files("bert_mobile") / "default" / "tokenizer.json") as path:
        pieces = sorted(load_tokenizer(path).get_vocab())
        texts = ["", " ", "[MASK][MASK]", *benchmark.strings(2000, 3, pieces)]
        ids, places = benchmark.differences(texts, path, NODE)
    assert ids == []
    assert len(places) <= 2  # marks in another order than the canonical one: a place beside it
