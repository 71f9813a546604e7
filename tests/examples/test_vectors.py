"""The tokenizers of all examples give what examples/tokenizer-vectors.json says."""

import base64
import json
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

import bert_mobile
from bert_mobile.hub import resolve
from bert_mobile.quantize.interface import LOGITS
from bert_mobile.runtime.batches import pad
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.tokenizer import load_tokenizer
from tests.examples import kotlin as kotlin_compiler
from tests.examples.conftest import EXAMPLES, ROOT, module

VECTORS = EXAMPLES / "tokenizer-vectors.json"
KOTLIN = EXAMPLES / "android/app/src/main/kotlin/com/example/bertmobile"
HERE = Path(__file__).parent
NODE = shutil.which("node")
GAP = "The capital of France is [MASK]."
LONG = f"{'He went out. ' * 200} Then she opened the [MASK]. {'It was raining. ' * 200}"


def test_the_file_is_what_the_embedded_tokenizer_gives_today():
    made = module(ROOT / "benchmarks" / "tokenizer_vectors.py").embedded()
    assert VECTORS.read_text(encoding="ascii") == made, "run benchmarks/tokenizer_vectors.py"


def test_pythons_plain_tokenizer_gives_them(vectors):
    tokenizer = load_tokenizer(resolve("default") / "tokenizer.json")
    for row in vectors["texts"]:
        assert tokenizer.encode(row["text"]).ids == row["ids"], row["text"]
    for row in vectors["pairs"]:
        found = tokenizer.encode(*row["texts"])
        assert (found.ids, found.type_ids) == (row["ids"], row["types"]), row["texts"]
    assert len(vectors["texts"]) > 250
    assert len(vectors["pairs"]) > 10


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_pages_tokenizer_gives_them_in_node(vectors):
    with as_file(files("bert_mobile").joinpath("page", "site", "page")) as page:
        given = [str(page), str(resolve("default") / "tokenizer.json"), str(VECTORS)]
        command = [NODE, str(HERE / "vectors.mjs"), *given]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for kind in ("texts", "pairs"):
        for row, ours in zip(vectors[kind], found[kind], strict=True):
            assert ours["ids"] == row["ids"], row
            assert ours["types"] == row.get("types", [0] * len(row["ids"])), row


@pytest.fixture(scope="module")
def kotlin(tmp_path_factory):
    """A function that runs the Android example's plain Kotlin, compiled by Kotlin's compiler."""
    if kotlin_compiler.MISSING:
        pytest.skip("no Kotlin compiler: see tests/examples/kotlin.py")
    sources = [KOTLIN / "WordPiece.kt", KOTLIN / "FillMask.kt", HERE / "Vectors.kt"]
    classes = kotlin_compiler.compiled(sources, tmp_path_factory.mktemp("kotlin") / "vectors")
    vocabulary = resolve("default") / "vocab.txt"
    main = [kotlin_compiler.JAVA, "-cp", classes, "VectorsKt", str(vocabulary)]

    def run(lines, *arguments):
        coded = ("\t".join(base64.b64encode(t.encode()).decode() for t in line) for line in lines)
        given = "".join(f"{line}\n" for line in coded)
        done = subprocess.run(
            [*main, *arguments], input=given, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    return run


def test_the_android_examples_tokenizer_gives_them(kotlin, vectors):
    rows = [*vectors["texts"], *vectors["pairs"]]
    found = kotlin([row.get("texts") or [row["text"]] for row in rows])
    for row, line in zip(rows, found, strict=True):
        assert [int(number) for number in line.split()] == row["ids"], row


@pytest.mark.filterwarnings("ignore::bert_mobile.runtime.text.TruncationWarning")
@pytest.mark.parametrize("text", [GAP, LONG])
def test_the_android_example_fills_gaps_as_the_package_does(kotlin, text, tmp_path):
    model = bert_mobile.load()
    folder = resolve("default")
    (tokens,) = TextEncoder(folder, model.config).encode_masked([text])
    place = tokens.ids.index(model.tokenizer.token_to_id("[MASK]"))
    logits = model.session.run(LOGITS, pad([tokens], 0), np.array([place]))  # 1 V
    (tmp_path / "logits").write_bytes(logits.astype("<f4").tobytes())
    asked, *proposals = kotlin([[text]], str(tmp_path / "logits"))
    assert [int(number) for number in asked.split()] == [place, *tokens.ids]
    expected = model.fill_mask(text)
    assert [line.split()[1] for line in proposals] == [each["token_str"] for each in expected]
    assert [float(line.split()[0]) for line in proposals] == pytest.approx(
        [each["score"] for each in expected], abs=1e-6
    )
