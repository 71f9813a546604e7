"""Core ML packages: their structure and weights here, their answers where macOS runs them.

What the operators compute is checked here as well, by coremltools' own NumPy: it evaluates whatever
is known while a program is built, and here the inputs are.
"""

import sys

import numpy as np
import pytest

import bert_mobile
from bert_mobile.checkpoint import read_weights
from bert_mobile.errors import ArtifactError
from bert_mobile.export import export
from bert_mobile.export.proof import Proving
from bert_mobile.export.rounding import undivided
from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize.graph import build_graph
from bert_mobile.quantize.interface import INPUTS, WORDS
from bert_mobile.quantize.pack import PackedRows, unpack_codes, unpack_zeros
from bert_mobile.runtime.sessions import OnnxSession
from tests.export.packed import batch, packed_weights

coremltools = pytest.importorskip("coremltools", reason="needs the extra [coreml]")
target = pytest.importorskip("bert_mobile.export.coreml")
Builder = target.Builder

OUTPUTS = {
    PRETRAINING: {"logits", "last_hidden_state", "seq_relationship_logits"},
    SEQUENCES: {"logits", "last_hidden_state"},
    TOKENS: {"logits", "last_hidden_state"},
    ANSWERS: {"start_logits", "end_logits", "last_hidden_state"},
}
on_macos = pytest.mark.skipif(
    sys.platform != "darwin", reason="Core ML runs on macOS only: its answers are unproven here"
)


def task(architecture, tiny_checkpoint, tiny_task):
    folder = tiny_checkpoint if architecture == PRETRAINING else tiny_task(architecture)
    config = BertConfig.read(folder)
    return folder, config, read_weights(folder, config)


def oracle(config, weights):
    model = build_graph(config, weights).SerializeToString()
    return OnnxSession(model, "oracle", threads=1)


def evaluated(config, weights, some, kind):
    """Return what coremltools' NumPy computes for one sequence, by name."""
    found = {}

    @Builder.program(input_specs=[], opset_version=coremltools.target.iOS18)
    def program():
        arrays = zip(INPUTS, (some.ids, some.mask, some.types), strict=True)
        inputs = [Builder.const(val=array.astype(np.int32), name=name) for name, array in arrays]
        outputs = target._Graph(config, weights, kind).outputs(*inputs)
        found.update({output.name: output.val for output in outputs})
        return outputs

    return found


@pytest.mark.parametrize("architecture", OUTPUTS)
def test_the_operators_compute_what_the_onnx_file_does(architecture, tiny_checkpoint, tiny_task):
    _, config, weights = task(architecture, tiny_checkpoint, tiny_task)
    expected = oracle(config, weights)
    some = batch(config, 1, 23)
    real = some.mask[0] == 1
    for kind, limit in ((np.float32, 5e-5), (np.float16, 0.1)):
        found = evaluated(config, weights, some, kind)
        assert found.keys() == OUTPUTS[architecture] == expected.outputs
        for name, value in found.items():
            wanted = expected.run(name, some)
            assert value.shape == wanted.shape
            assert value.dtype == np.float32
            by_token = wanted.shape[:2] == some.mask.shape
            away = np.abs(value - wanted)[:, real] if by_token else np.abs(value - wanted)
            assert away.max() < limit, name


def test_rows_that_no_block_divides_have_a_scale_each(tmp_path, tiny_config, tiny_weights):
    program = target.build_program(
        tiny_config, tiny_weights, np.float16, by_row=undivided(tiny_weights, ())
    )
    found = {
        op.name: op
        for op in program.functions["main"].operations
        if op.op_type == "constexpr_blockwise_shift_scale"
    }
    for name in undivided(tiny_weights, ()):
        op, weight = found.pop(name), tiny_weights[name]
        assert op.scale.val.shape == (len(weight), 1)
        away = np.abs(op.data.val * op.scale.val.astype(np.float32) - weight)
        assert (away <= 0.6 * op.scale.val).all()  # half a step, and what float16 makes of it
    assert not found


@pytest.mark.parametrize("architecture", OUTPUTS)
def test_inputs_outputs_and_lengths(architecture, tiny_checkpoint, tiny_task, tmp_path):
    folder, config, _ = task(architecture, tiny_checkpoint, tiny_task)
    made = export(folder, "coreml", tmp_path / "out", width="float16")
    assert any("unproven" in note for note in made.notes)
    model = coremltools.models.MLModel(str(tmp_path / "out" / made.place), skip_model_load=True)
    description = model.get_spec().description
    assert {output.name for output in description.output} == OUTPUTS[architecture]
    assert [value.name for value in description.input] == list(INPUTS)
    for value in description.input:
        batches, tokens = value.type.multiArrayType.shapeRange.sizeRanges
        assert (batches.lowerBound, batches.upperBound) == (1, 1)
        assert (tokens.lowerBound, tokens.upperBound) == (1, config.max_position_embeddings)


def test_it_is_written_without_a_proof_and_says_so(tiny_checkpoint, tmp_path):
    made = export(tiny_checkpoint, "coreml", tmp_path / "out", proving=Proving(tiny_checkpoint))
    assert made.proof is None
    assert target.UNPROVEN in (tmp_path / "out" / "provenance.json").read_text()


def test_it_is_not_said_to_answer_here(tiny_checkpoint, tmp_path):
    made = export(tiny_checkpoint, "coreml", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing in `bert_mobile` answers" in card
    assert "bert_mobile.load" not in card.partition("unproven")[0]
    with pytest.raises(ArtifactError, match=f"holds {made.place} only, which applications on mac"):
        bert_mobile.load(tmp_path / "out")
    export(tiny_checkpoint, "onnx", tmp_path / "other")
    assert "bert_mobile.load(" in (tmp_path / "other" / "README.md").read_text()


def stored(path):
    """Return the program in a package, weights and all."""
    from coremltools.converters.mil.frontend.milproto import load

    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    return load.load(spec, spec.specificationVersion, str(model.weights_dir))


def test_codes_scales_and_zero_points_are_ours_bit_for_bit(tmp_path, tiny_config, tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    target.write(Source(tmp_path, tiny_config, rounded, packed), "mix", tmp_path)
    program = stored(tmp_path / target.PLACE)
    found = {
        op.name: op
        for op in program.functions["main"].operations
        if op.op_type == "constexpr_blockwise_shift_scale"
    }
    parts = {
        (f"{name}_{number}" if isinstance(matrix, PackedRows) else name).replace(".", "_"): part
        for name, matrix in packed.items()
        for number, part in enumerate(getattr(matrix, "parts", [matrix]))
    }
    assert found.keys() == parts.keys()
    for name, part in parts.items():
        codes = unpack_codes(part.codes, part.layout.bits, part.shape[1])
        np.testing.assert_array_equal(found[name].data.val.astype(np.uint8), codes)
        np.testing.assert_array_equal(found[name].scale.val, part.scales)
        np.testing.assert_array_equal(found[name].offset.val.astype(np.uint8), unpack_zeros(part))


@pytest.mark.parametrize(("width", "kind"), [("int8", np.uint8), ("int4", None)])
def test_the_embedding_is_rounded_and_stored_once(tiny_checkpoint, tmp_path, width, kind):
    export(tiny_checkpoint, "coreml", tmp_path / "out", width=width)
    found = [
        op
        for op in stored(tmp_path / "out" / target.PLACE).functions["main"].operations
        if op.op_type == "constexpr_blockwise_shift_scale" and "word_embeddings" in op.name
    ]
    assert [op.name for op in found] == [WORDS.replace(".", "_")]
    users = sorted(op.op_type for op in found[0].outputs[0].child_ops)
    assert users == ["gather", "linear"]


@on_macos
@pytest.mark.parametrize("width", ["float32", "float16", "mix"])
def test_its_answers_are_those_of_the_onnx_file(tmp_path, tiny_config, tiny_weights, width):
    packed, rounded = packed_weights(tiny_weights)
    target.write(Source(tmp_path, tiny_config, rounded, packed), width, tmp_path)
    model = coremltools.models.MLModel(str(tmp_path / target.PLACE))
    expected = oracle(tiny_config, rounded)
    for tokens in (1, 9, 64):
        some = batch(tiny_config, 1, tokens)
        arrays = zip(INPUTS, (some.ids, some.mask, some.types), strict=True)
        found = model.predict({name: array.astype(np.int32) for name, array in arrays})
        for name in expected.outputs:
            np.testing.assert_allclose(found[name], expected.run(name, some), atol=0.2)
