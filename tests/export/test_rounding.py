"""Plain widths, for all targets alike: rows that no block divides, what float16 cannot hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bert_mobile
from bert_mobile.checkpoint import expected_shapes, write_checkpoint
from bert_mobile.errors import InputError
from bert_mobile.export import TARGETS, export
from bert_mobile.export.rounding import is_rounded
from bert_mobile.quantize.interface import HIDDEN
from tests.export.packed import batch

FFN = "bert.encoder.layer.0.intermediate.dense.weight"
NORM = "bert.embeddings.LayerNorm.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_config, tiny_tokenizer):
    """Return a function that makes a checkpoint of a shape."""

    def checkpoint(hidden: int, inner: int, **weights) -> Path:
        config = replace(
            tiny_config, num_hidden_layers=1, hidden_size=hidden, intermediate_size=inner
        )
        rng = np.random.default_rng(7)
        values = {
            name: (rng.normal(0, 0.2, shape) + ("LayerNorm.weight" in name)).astype(np.float32)
            for name, shape in expected_shapes(config).items()
        }
        for name, largest in weights.items():
            values[name].reshape(-1)[3] = largest
        folder = tmp_path_factory.mktemp("model")
        write_checkpoint(folder, config, values, tiny_tokenizer, {"parents": [], "recipe": "tiny"})
        return folder

    return checkpoint


@pytest.fixture(scope="module")
def odd(made):
    return made(40, 72)


def needs(target):
    missing = TARGETS[target].missing
    return pytest.mark.skipif(missing is not None, reason=f"needs {missing}")


def some_targets(*names):
    return [pytest.param(name, marks=needs(name)) for name in names]


BLOCKWISE = some_targets("onnx", "web", "litert", "executorch", "openvino", "coreml")


@pytest.mark.parametrize("target", BLOCKWISE)
def test_rows_that_no_block_divides_are_rounded_to_8_bits(target, odd, tmp_path):
    sizes = {}
    for width in ("int8", "int4"):
        if (target, width) == ("executorch", "int8"):
            continue  # lowering takes long
        wrote = export(odd, target, tmp_path / width, width=width)
        sizes[width] = wrote.model_bytes
    [note] = [note for note in wrote.notes if note.startswith("8 bits")]
    assert note.startswith("8 bits, not 4: 10 matrices, whose rows of 40 or 72 weights no block of")
    if target == "coreml":
        return  # its operators are computed in `test_coreml`, and the sizes in the next test
    ours, theirs = (bert_mobile.load(folder).session for folder in (tmp_path / "int4", odd))
    some = batch(bert_mobile.load(odd).config, 2, 9)
    found, expected = (session.run(HIDDEN, some) for session in (ours, theirs))
    away = np.abs(found - expected)[some.mask == 1].max()
    print(target, sizes, away)
    assert 0 < away < 0.2


@pytest.mark.parametrize("target", some_targets("onnx", "web", "litert", "openvino", "coreml"))
@pytest.mark.parametrize("shape", [(40, 72), (48, 96), (64, 96)])
def test_narrower_widths_are_smaller(target, shape, made, tmp_path):
    folder = made(*shape)
    sizes = {
        width: export(folder, target, tmp_path / width, width=width).model_bytes
        for width in ("float32", "int8", "int4")
    }
    matrices = sum(
        int(np.prod(weight)) for weight in expected_shapes(bert_mobile.load(folder).config).values()
    )
    print(target, shape, sizes, matrices)
    assert sizes["float32"] - sizes["int8"] > 1.5 * matrices
    assert sizes["int4"] < 1.01 * sizes["int8"]  # more operators and names


@needs("openvino")
@pytest.mark.parametrize("hidden", [32, 96])
def test_openvino_takes_smaller_groups_for_narrower_rows(hidden, made, tmp_path):
    folder = made(hidden, 4 * hidden)
    assert export(folder, "openvino", tmp_path / "out", width="int4").notes == ()


LARGE = [
    ("onnx", "float16", FFN, 1e5),
    ("web", "float16", NORM, -1e5),
    ("litert", "float16", FFN, 1e5),
    ("openvino", "float16", NORM, 1e5),
    ("openvino", "int8", FFN, 1e9),
    ("openvino", "int4", FFN, 1e7),
    ("coreml", "float16", FFN, 1e5),
    ("coreml", "int8", NORM, 1e5),
    ("coreml", "int4", NORM, 1e5),
    ("gguf", "float16", FFN, 1e5),
    ("gguf", "int8", FFN, 1e9),
    ("gguf", "int4", FFN, 1e7),
]


@pytest.mark.parametrize(
    ("target", "width", "name", "largest"),
    [pytest.param(*row, marks=needs(row[0])) for row in LARGE],
)
def test_what_float16_cannot_hold_is_refused(target, width, name, largest, made, tmp_path):
    folder = made(64, 128, **{name: largest})
    with pytest.raises(InputError, match=rf"{name} has a weight of \S+, expected at most"):
        export(folder, target, tmp_path / "out", width=width)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", some_targets("gguf", "litert", "coreml"))
def test_what_float32_holds_is_written(target, made, tmp_path, recwarn):
    folder = made(64, 128, **{FFN: 1e5, NORM: 1e5})
    export(folder, target, tmp_path / "out", width="float32")
    assert not [warning for warning in recwarn if "overflow" in str(warning.message)]


def test_small_matrices_are_not_worth_rounding():
    assert not is_rounded(np.ones((32, 64), np.float32))
    assert is_rounded(np.ones((33, 64), np.float32))
