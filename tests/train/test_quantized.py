"""Training through rounded weights: the very numbers of the packed file, and the gradient."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from bert_mobile.model.config import SEQUENCES
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize.pack import (
    Layout,
    PackedMatrix,
    PackedRows,
    join_rows,
    pack_matrix,
    unpack_matrix,
)
from bert_mobile.quantize.repack import nearest
from bert_mobile.train.quantized import RoundedNetwork, starting_weights

LAYOUTS = [
    Layout(bits, block, symmetric)
    for bits in (2, 4, 8)
    for block in (16, 32, 64, 128)
    for symmetric in (True, False)
]
OUTER = "bert.encoder.layer.0.output.dense.weight"  # 64 × 128
WORDS = "bert.embeddings.word_embeddings.weight"
NAMES = {
    OUTER: "encoder.layers.0.feed_forward.outer.weight",
    WORDS: "encoder.embeddings.words.weight",
}


@pytest.fixture
def network(tiny_config):
    torch.manual_seed(0)
    return BertForTask(tiny_config.with_task(SEQUENCES, labels=("a", "b"))).eval()


def random_matrix(rows=64, columns=128, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    matrix[3] = 0  # whose blocks have no scale
    return matrix


def put(network, name, matrix):
    """Give the network a matrix; return its parameter."""
    parameter = network.get_parameter(NAMES[name])
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(matrix))
    return parameter


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rounding_is_that_of_the_packed_file_bit_for_bit(layout, network):
    packed = pack_matrix(random_matrix(), layout)
    moved = random_matrix() + 0.4 * random_matrix(seed=1)  # some are beyond their range now
    moved[7] = (unpack_matrix(packed)[7] + unpack_matrix(packed)[8]) / 2  # some between two codes
    put(network, OUTER, moved)
    rounded = RoundedNetwork(network, {OUTER: packed})
    found, again = rounded.rounded()[NAMES[OUTER]].detach().numpy(), nearest(moved, packed)
    assert np.array_equal(found, unpack_matrix(again))
    assert np.array_equal(rounded.to_huggingface()[OUTER], found)
    put(network, OUTER, found)  # what is shipped is packed to the same codes
    assert np.array_equal(nearest(found, packed).codes, again.codes)
    assert np.array_equal(rounded.to_huggingface()[OUTER], found)


def test_parts_of_a_matrix_are_rounded_each_in_its_layout(network):
    matrix = random_matrix(*network.get_parameter(NAMES[WORDS]).shape)
    parts = [pack_matrix(matrix[:10], Layout(2, 64)), pack_matrix(matrix[10:], Layout(8, 32))]
    packed = join_rows(parts)
    assert isinstance(packed, PackedRows)
    put(network, WORDS, matrix)
    found = RoundedNetwork(network, {WORDS: packed}).to_huggingface()[WORDS]
    wanted = [nearest(matrix[:10], parts[0]), nearest(matrix[10:], parts[1])]
    assert np.array_equal(found, np.concatenate([unpack_matrix(part) for part in wanted]))


def test_gradients_go_through_except_of_weights_beyond_the_range(network):
    matrix = random_matrix()
    packed = pack_matrix(matrix, Layout(4, 32))
    matrix[0, 0], matrix[0, 1] = 100, -100
    weight = put(network, OUTER, matrix)
    rounded = RoundedNetwork(network, {OUTER: packed}).rounded()[NAMES[OUTER]]
    slopes = torch.from_numpy(random_matrix(seed=2))
    (rounded * slopes).sum().backward()
    steps = torch.from_numpy(np.repeat(np.abs(packed.scales.astype(np.float32)), 32, axis=1))
    away = (weight - rounded).detach().abs()
    inside, beyond = away < 0.499 * steps, away > 0.501 * steps
    assert beyond[0, :2].all()
    assert inside.float().mean() > 0.9
    assert torch.equal(weight.grad[inside], slopes[inside])
    assert weight.grad[beyond].eq(0).all()


@pytest.mark.parametrize("layout", [Layout(2, 32), Layout(4, 32, symmetric=True)], ids=str)
def test_training_begins_with_the_codes_of_the_quantized_model(layout, network):
    parent = random_matrix()
    packed = pack_matrix(parent + 0.3 * random_matrix(seed=1), layout)
    begun = starting_weights({OUTER: packed}, {OUTER: parent})[OUTER]
    put(network, OUTER, begun)
    rounded = RoundedNetwork(network, {OUTER: packed}).to_huggingface()[OUTER]
    assert np.array_equal(rounded, unpack_matrix(packed))
    here, there = np.abs(parent - begun), np.abs(parent - unpack_matrix(packed))
    assert (here <= there + 1e-6).all()  # no further from the parent than it must
    assert (here < 1e-6).mean() > 0.15


def test_the_network_answers_with_rounded_weights(network):
    weights = network.to_huggingface()
    packed: PackedMatrix = pack_matrix(weights[OUTER], Layout(2, 64))
    ids = torch.arange(12).reshape(2, 6)
    inputs = ids, None, torch.zeros_like(ids)
    found = RoundedNetwork(network, {OUTER: packed})(*inputs)
    rounded = torch.from_numpy(unpack_matrix(nearest(weights[OUTER], packed)))
    assert torch.equal(found, functional_call(network, {NAMES[OUTER]: rounded}, inputs))
    assert not torch.equal(found, network(*inputs))
    found.sum().backward()
    assert network.get_parameter(NAMES[OUTER]).grad.abs().sum() > 0
    assert np.array_equal(network.to_huggingface()[OUTER], weights[OUTER])
