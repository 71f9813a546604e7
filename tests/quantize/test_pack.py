"""Rounding to blocks: golden bytes, round trips, ONNX Runtime as the judge of the layout."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bert_mobile.errors import ArtifactError
from bert_mobile.quantize.pack import (
    Layout,
    PackedMatrix,
    PackedRows,
    blank_matrix,
    clipped_share,
    join_rows,
    pack_codes,
    pack_matrix,
    relative_error,
    unpack_codes,
    unpack_matrix,
)

LAYOUTS = [
    Layout(bits, block, symmetric)
    for bits in (2, 4, 8)
    for block in (16, 32, 64, 128)
    for symmetric in (True, False)
]


def random_matrix(rows=24, columns=128, seed=0):
    return np.random.default_rng(seed).standard_t(5, (rows, columns)).astype(np.float32)


def test_golden_bytes_of_four_bits():
    row = np.arange(16, dtype=np.float32)[None] - 6  # every code once: step 1, zero point 6
    packed = pack_matrix(row, Layout(4, 16))
    assert packed.codes.tobytes().hex() == "1032547698badcfe"
    assert packed.zero_points.tobytes().hex() == "06"
    assert packed.scales.tobytes().hex() == "003c"  # 1.0 in float16, little endian
    np.testing.assert_array_equal(unpack_matrix(packed), row)


def test_golden_bytes_of_eight_bits():
    row = np.array([[-127, 0, 1, 127, *range(2, 14)]], dtype=np.float32)
    packed = pack_matrix(row, Layout(8, 16))
    assert packed.codes[0, :4].tobytes().hex() == "018081ff"
    assert packed.zero_points is None
    np.testing.assert_array_equal(unpack_matrix(packed), row)


def test_golden_bytes_of_two_bits():
    row = np.tile(np.arange(4, dtype=np.float32) - 1, 4)[None]  # step 1, zero point 1
    packed = pack_matrix(row, Layout(2, 16))
    assert packed.codes.tobytes().hex() == "e4e4e4e4"
    assert packed.zero_points.tobytes().hex() == "01"
    assert packed.scales.tobytes().hex() == "003c"
    np.testing.assert_array_equal(unpack_matrix(packed), row)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_symmetric_range_is_turned_round_where_that_is_better(sign):
    row = sign * np.tile(np.arange(4, dtype=np.float32) - 2, 4)[None]  # one step more on one side
    packed = pack_matrix(row, Layout(2, 16, symmetric=True))
    assert packed.zero_points is None
    assert packed.scales.item() == sign
    np.testing.assert_array_equal(unpack_matrix(packed), row)


def test_scales_stay_positive_where_they_must():
    row = -np.tile(np.arange(4, dtype=np.float32) - 2, 4)[None]
    packed = pack_matrix(row, Layout(2, 16, symmetric=True, positive=True))
    assert packed.scales.item() > 0
    assert 0.3 < np.abs(unpack_matrix(packed) - row).max() < 1  # one step clipped, or nearly


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([2, 4, 8]), st.randoms())
def test_codes_round_trip(rows, columns, bits, random):
    codes = np.array(
        [[random.randrange(2**bits) for _ in range(columns)] for _ in range(rows)], dtype=np.uint8
    )
    packed = pack_codes(codes, bits)
    assert packed.shape == (rows, (columns * bits + 7) // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, columns), codes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rounding_what_was_rounded_changes_little(layout):
    once = unpack_matrix(pack_matrix(random_matrix(), layout))
    again = relative_error(once, pack_matrix(once, layout))
    assert again < {2: 0.1, 4: 0.05, 8: 0.006}[layout.bits]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_are_those_promised(layout):
    packed = pack_matrix(random_matrix(), layout)
    zero_points = 0 if packed.zero_points is None else packed.zero_points.nbytes
    assert packed.nbytes == packed.codes.nbytes + packed.scales.nbytes + zero_points
    assert packed.shape == (24, 128)


def test_errors_are_as_small_as_the_bits_allow():
    matrix = random_matrix(256)
    errors = {layout: relative_error(matrix, pack_matrix(matrix, layout)) for layout in LAYOUTS}
    assert errors[Layout(4, 32)] < 0.095  # plain rounding to the largest weight gives 0.108
    assert errors[Layout(8, 32)] < 0.008
    for bits in (2, 4, 8):
        for symmetric in (True, False):
            by_block = [errors[Layout(bits, block, symmetric)] for block in (16, 32, 64, 128)]
            assert by_block == sorted(by_block)
    assert errors[Layout(4, 32)] < 0.97 * errors[Layout(4, 32, symmetric=True)]


def test_outliers_are_clipped_and_never_wrap():
    matrix = np.full((1, 32), 0.01, dtype=np.float32)
    matrix[0, 3] = 1e6
    for bits in (2, 4, 8):
        rounded = unpack_matrix(pack_matrix(matrix, Layout(bits, 32)))
        assert rounded[0, 3] > min(4e5, 2**bits * 4e4)  # a step is at most float16's largest number
        assert np.all(np.abs(np.delete(rounded, 3)) < 1e5)


@pytest.mark.parametrize("value", [0.0, 1e-12, 5.0, -5.0, 3e38])
@pytest.mark.filterwarnings("error")
def test_constant_blocks_stay_finite(value):
    matrix = np.full((2, 32), value, dtype=np.float32)
    for bits in (2, 4, 8):
        packed = pack_matrix(matrix, Layout(bits, 32))
        rounded = unpack_matrix(packed)
        assert np.isfinite(rounded).all()
        assert relative_error(matrix, packed) <= 1
        if abs(value) < 1e5:
            np.testing.assert_allclose(rounded, matrix, rtol=1e-3, atol=1e-7)


def test_importance_moves_the_error_to_columns_that_matter_less():
    matrix, importance = random_matrix(64), np.ones(128, dtype=np.float32)
    importance[:8] = 1000
    plain = unpack_matrix(pack_matrix(matrix, Layout(4, 128)))
    weighed = unpack_matrix(pack_matrix(matrix, Layout(4, 128), importance))
    assert np.linalg.norm((weighed - matrix)[:, :8]) < 0.9 * np.linalg.norm((plain - matrix)[:, :8])


def test_saturation_is_what_lies_beyond_the_range():
    row = np.arange(16, dtype=np.float32)[None] - 6  # every code once
    packed = pack_matrix(row, Layout(4, 16))
    assert clipped_share(row, packed) == 0
    row[0, :4] = -7, 9.4, -6.4, 99
    assert clipped_share(row, packed) == 2 / 16
    assert clipped_share(np.zeros((1, 16), np.float32), packed) == 0


def test_rows_of_one_layout_become_one_matrix_again():
    matrix = random_matrix(40)
    fine, coarse = Layout(8, 32), Layout(2, 64)
    layouts = [(fine, slice(0, 8)), (coarse, slice(8, 16)), (coarse, slice(16, 40))]
    packed = [pack_matrix(matrix[rows], layout) for layout, rows in layouts]
    joined = join_rows(packed)
    assert isinstance(joined, PackedRows)
    assert [part.shape for part in joined.parts] == [(8, 128), (32, 128)]
    assert joined.shape == matrix.shape
    assert joined.nbytes == sum(part.nbytes for part in packed)
    expected = np.concatenate([unpack_matrix(part) for part in packed])
    np.testing.assert_array_equal(unpack_matrix(joined), expected)
    whole = join_rows([pack_matrix(matrix[:8], fine), pack_matrix(matrix[8:], fine)])
    assert isinstance(whole, PackedMatrix)
    np.testing.assert_array_equal(unpack_matrix(whole), unpack_matrix(pack_matrix(matrix, fine)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blanks_take_the_bytes_of_what_will_come(layout):
    packed, blank = pack_matrix(random_matrix(), layout), blank_matrix((24, 128), layout)
    assert blank.shape == packed.shape
    for name in ("codes", "scales", "zero_points"):
        mine, theirs = getattr(blank, name), getattr(packed, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)


def test_refusals():
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        pack_matrix(np.full((1, 32), np.nan, np.float32), Layout(4, 32))
    with pytest.raises(ValueError, match="no multiple of the block"):
        pack_matrix(np.zeros((1, 48), np.float32), Layout(4, 32))
    with pytest.raises(ValueError, match="not stored"):
        Layout(3, 32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_onnx_runtime_reads_the_same_numbers(layout):
    matrix = random_matrix(40)
    packed = pack_matrix(matrix, layout)
    rounded = unpack_matrix(packed)
    looked_up = run_operator("GatherBlockQuantized", packed, np.arange(40))
    np.testing.assert_array_equal(looked_up, rounded)
    x = np.random.default_rng(1).standard_normal((5, 128)).astype(np.float32)
    np.testing.assert_allclose(
        run_operator("MatMulNBits", packed, x), x @ rounded.T, rtol=1e-4, atol=1e-4
    )


def run_operator(operator: str, packed: PackedMatrix, x: np.ndarray) -> np.ndarray:
    """Run one of ONNX Runtime's operators, in float32 arithmetic, on a packed matrix."""
    rows, columns = packed.shape
    lookup = operator == "GatherBlockQuantized"
    codes = (
        packed.codes if lookup else packed.codes.reshape(rows, columns // packed.layout.block, -1)
    )
    arrays = {"codes": codes, "scales": packed.scales.astype(np.float32)}
    if packed.zero_points is not None:
        arrays["zero_points"] = packed.zero_points
    first = ["codes", "x"] if lookup else ["x", "codes"]
    rest = [name for name in arrays if name != "codes"]
    attributes = {"bits": packed.layout.bits, "block_size": packed.layout.block}
    attributes |= {"gather_axis": 0, "quantize_axis": 1} if lookup else {"K": columns, "N": rows}
    node = helper.make_node(operator, [*first, *rest], ["y"], domain="com.microsoft", **attributes)
    kind = TensorProto.INT64 if lookup else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", kind, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]
