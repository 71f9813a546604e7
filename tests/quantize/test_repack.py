"""Another model's numbers in a quantized folder's layout."""

import numpy as np
import pytest

from bert_mobile.quantize import dequantize, quantize, read_packed, repack
from bert_mobile.quantize.pack import (
    Layout,
    PackedMatrix,
    PackedRows,
    pack_matrix,
    unpack_codes,
    unpack_matrix,
)
from bert_mobile.quantize.repack import nearest
from bert_mobile.quantize.report import folder_bytes


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_nearest_on_a_grid_is_found(rng, bits, symmetric):
    layout = Layout(bits, 16, symmetric)
    matrix = rng.normal(0, 1, (6, 64)).astype(np.float32)
    grid = pack_matrix(rng.normal(0, 1, (6, 64)).astype(np.float32), layout)
    found = unpack_matrix(nearest(matrix, grid)).reshape(6, 4, 16)
    scales = grid.scales.astype(np.float32)
    zeros = (
        np.full((6, 4), 2 ** (bits - 1)) if symmetric else unpack_codes(grid.zero_points, bits, 4)
    )
    for row in range(6):
        for block in range(4):
            values = (np.arange(2**bits) - float(zeros[row, block])) * scales[row, block]
            wanted = matrix[row, 16 * block : 16 * block + 16]
            distances = np.abs(wanted[:, None] - values).min(1)
            np.testing.assert_allclose(
                np.abs(wanted - found[row, block]), distances, rtol=1e-4, atol=1e-6
            )


def test_what_lies_on_the_grid_keeps_its_codes(rng):
    for layout in (Layout(2, 32), Layout(4, 16), Layout(4, 16, symmetric=True), Layout(8, 32)):
        grid = pack_matrix(rng.normal(0, 0.1, (8, 64)).astype(np.float32), layout)
        again = nearest(unpack_matrix(grid), grid)
        np.testing.assert_array_equal(again.codes, grid.codes)


def test_blocks_of_zeros_stay_zeros():
    grid = pack_matrix(np.zeros((2, 32), np.float32), Layout(4, 16))
    assert not unpack_matrix(nearest(np.full((2, 32), 0.25, np.float32), grid)).any()


def test_a_folder_is_written_anew_in_its_layout(tiny_checkpoint, tiny_weights, tmp_path, rng):
    made = quantize(tiny_checkpoint, tmp_path / "start", max_bytes=130_000)
    start = read_packed(tmp_path / "start")
    moved = {
        name: weight + rng.normal(0, 0.05, weight.shape).astype(np.float32)
        for name, weight in tiny_weights.items()
    }
    report = repack(
        tmp_path / "start", tiny_checkpoint, moved, tmp_path / "out",
        parent=tiny_weights, facts={"parents": [{"name": "tiny", "sha256": "0" * 64}]},
    )  # fmt: skip
    assert report.bytes == folder_bytes(tmp_path / "out")
    assert report.model_bytes == made.model_bytes
    assert [row.name for row in report.tensors] == [row.name for row in made.tensors]
    found, packed = dequantize(tmp_path / "out"), read_packed(tmp_path / "out")
    for name, weight in moved.items():
        if not isinstance(start[name], PackedMatrix | PackedRows):
            np.testing.assert_array_equal(found[name], weight)
            continue
        np.testing.assert_array_equal(packed[name].scales, start[name].scales)
        assert (packed[name].codes != start[name].codes).any()
        assert np.abs(found[name] - weight).mean() < 0.05
