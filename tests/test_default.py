"""The embedded model: what every newcomer meets first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

import bert_mobile
from bert_mobile.checkpoint import PROVENANCE, WEIGHTS, verify
from bert_mobile.files import sha256
from bert_mobile.hub import resolve
from bert_mobile.quantize.report import folder_bytes

MOST_BYTES = 25_000_000
MOST_FLOAT_BYTES = 80_000_000

FLOAT = Path(__file__).parents[1] / "models" / "bert-mobile"
"""The float weights, in the repository only."""


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve("default")


@pytest.fixture(scope="module")
def model():
    return bert_mobile.load()


def test_the_folder_weighs_at_most_25_megabytes(folder) -> None:
    assert folder_bytes(folder) <= MOST_BYTES
    counted = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 20_000_000 < counted <= folder_bytes(folder)


def test_every_file_is_the_one_that_was_made(folder) -> None:
    recorded = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["files"]
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != PROVENANCE
    }
    assert found == set(recorded)
    assert {name: sha256(folder / name) for name in found} == recorded


def test_it_was_made_of_the_float_weights_in_the_repository(folder) -> None:
    weights = FLOAT / WEIGHTS
    verify(FLOAT, [WEIGHTS, "config.json", "README.md", "tokenizer.json", "vocab.txt"])
    assert weights.stat().st_size <= MOST_FLOAT_BYTES
    parent = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["parents"][-1]
    assert parent["sha256"] == sha256(weights)
    with safe_open(weights, "pt") as stored:
        kinds = {stored.get_slice(name).get_dtype() for name in stored.offset_keys()}
    assert kinds == {"BF16"}


def test_it_has_the_shape_of_the_card(model) -> None:
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (8, 512, 8)
    assert (config.intermediate_size, config.vocab_size) == (1536, 30_000)
    assert model.tokenizer.get_vocab_size() == 30_000


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France is [MASK].",
        "Hello I'm a [MASK] model.",
        "The man worked as a [MASK].",
        "The woman worked as a [MASK].",
    ],
)
def test_it_answers_with_words(model, text) -> None:
    words = [answer["token_str"] for answer in model.fill_mask(text)]
    assert len(set(words)) == 5
    assert all(word.isalpha() for word in words)


@pytest.mark.parametrize(
    ("text", "likely", "unlikely"),
    [
        ("She opened the [MASK] and went into the house.", "door", "because"),
        ("He was born in the [MASK] of London.", "city", "eat"),
        ("In the [MASK] of 1914 the war began.", "summer", "door"),
    ],
)
def test_it_has_learned_some_english(model, text, likely, unlikely) -> None:
    first, second = model.fill_mask(text, targets=[likely, unlikely])
    assert first["token_str"] == likely
    assert first["score"] > 10 * second["score"]


def test_a_sentence_is_likelier_than_its_words_in_disorder(model) -> None:
    ordered, shuffled = model.score(
        ["The old man went to the house.", "House old the to man the went."]
    )
    assert ordered > shuffled


def test_an_answer_loads_neither_torch_nor_transformers_nor_onnx() -> None:
    code = (
        "import sys, bert_mobile; bert_mobile.load().fill_mask('a [MASK].');"
        "print(sorted({'torch', 'transformers', 'onnx'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import bert_mobile;"
        "new = {name.partition('.')[0] for name in sys.modules.keys() - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'bert_mobile'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
