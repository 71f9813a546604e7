"""What is measured on calibration text, and that the choices follow it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import BertForPreTraining

from bert_mobile.checkpoint import read_weights
from bert_mobile.model.config import (
    ANSWERS,
    MULTI_LABEL,
    REGRESSION,
    SEQUENCES,
    SINGLE_LABEL,
    TOKENS,
    BertConfig,
)
from bert_mobile.quantize.allocate import OURS
from bert_mobile.quantize.calibrate import OUTPUT_WORDS, Calibrator, _Sums
from bert_mobile.quantize.interface import HIDDEN, WORDS
from bert_mobile.quantize.pack import Layout, PackedRows, pack_matrix, unpack_matrix
from bert_mobile.quantize.rounding import damped
from bert_mobile.quantize.sensitivity import Rounder, Unit, coarsest, measure, units_of
from bert_mobile.tokenizer import load_tokenizer
from tests.conftest import document

QUERY = "bert.encoder.layer.1.attention.self.query.weight"
INNER = "bert.encoder.layer.0.intermediate.dense.weight"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"{document(seed, 2)}\n" for seed in range(24)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def calibrator(tiny_config, tiny_weights, tiny_tokenizer, text):
    return Calibrator(tiny_config, tiny_weights, load_tokenizer(tiny_tokenizer), text)


@pytest.fixture(scope="module")
def rounder(tiny_weights, calibrator):
    return Rounder(tiny_weights, calibrator)


def test_moments_are_those_of_what_flows_in_transformers(calibrator, tiny_checkpoint):
    """The feed-forward's input of the first layer, and what comes to the output projection."""
    oracle = BertForPreTraining.from_pretrained(tiny_checkpoint).eval()
    seen = {INNER: [], WORDS: []}
    places = []
    oracle.bert.encoder.layer[0].intermediate.register_forward_pre_hook(
        lambda module, given: seen[INNER].append(given[0][0].numpy())
    )
    oracle.cls.predictions.transform.register_forward_hook(
        lambda module, given, got: seen[WORDS].append(got[0].numpy()[places[-1]])
    )
    with torch.no_grad():
        for line in calibrator.text.lines:
            places.append(line.positions)
            oracle(**{name: torch.from_numpy(array) for name, array in line.feed.items()})
    moments = calibrator.moments()
    for name, values in seen.items():
        x = np.concatenate(values)
        np.testing.assert_allclose(moments[name].mean, x.mean(axis=0), atol=1e-4)
        expected = np.cov(x, rowvar=False, bias=True)
        np.testing.assert_allclose(moments[name].covariance, expected, atol=1e-3)


def test_the_loss_is_the_divergence_of_the_answers(calibrator, tiny_weights, tiny_checkpoint):
    oracle = BertForPreTraining.from_pretrained(tiny_checkpoint).eval()
    rounded = unpack_matrix(pack_matrix(tiny_weights[QUERY], Layout(2, 64)))

    def answers():
        found = []
        with torch.no_grad():
            for line in calibrator._few:
                feed = {name: torch.from_numpy(array) for name, array in line.feed.items()}
                out = oracle(**feed)
                asked = out.prediction_logits[0, line.positions]
                found.append((asked.log_softmax(-1), out.seq_relationship_logits.log_softmax(-1)))
        return found

    before = answers()
    with torch.no_grad():
        oracle.bert.encoder.layer[1].attention.self.query.weight.copy_(torch.from_numpy(rounded))
    divergences = [
        float((p.exp() * (p - q)).sum(-1).mean())
        for still, moved in zip(before, answers(), strict=True)
        for p, q in zip(still, moved, strict=True)
    ]
    expected = sum(divergences) / len(before)
    assert calibrator.loss_increase({QUERY: rounded}) == pytest.approx(expected, rel=1e-3)
    assert calibrator.loss_increase({}) == pytest.approx(0, abs=1e-9)


def test_the_two_uses_of_the_embedding_are_told_apart(calibrator, tiny_weights):
    rounded = unpack_matrix(pack_matrix(tiny_weights[WORDS], Layout(2, 64)))
    looked_up = calibrator.loss_increase({WORDS: rounded})
    projected = calibrator.loss_increase({OUTPUT_WORDS: rounded})
    both = calibrator.loss_increase({WORDS: rounded, OUTPUT_WORDS: rounded})
    assert 0 < looked_up < both
    assert 0 < projected < both


def test_second_order_rounding_and_its_bias_cost_less_than_plain_rounding(
    calibrator, rounder, tiny_weights
):
    layout = Layout(2, 64)
    plain = unpack_matrix(pack_matrix(tiny_weights[INNER], layout))
    ours = unpack_matrix(rounder.round(Unit(INNER), layout))
    bias = rounder.corrected_bias(INNER, ours)
    assert bias.keys() == {INNER.replace("weight", "bias")}
    losses = [
        calibrator.loss_increase(replaced)
        for replaced in ({INNER: plain}, {INNER: ours}, {INNER: ours, **bias})
    ]
    assert losses[2] < 0.6 * losses[0]
    assert losses[2] < losses[1]


def test_the_embedding_is_cut_where_rare_pieces_begin(tiny_weights, monkeypatch):
    assert units_of(tiny_weights, [WORDS, QUERY], cut=True) == [Unit(WORDS), Unit(QUERY)]
    monkeypatch.setattr("bert_mobile.quantize.sensitivity._FEWEST_ROWS", 100)
    units = units_of(tiny_weights, [WORDS, QUERY], cut=True)
    count = len(tiny_weights[WORDS])
    edges = [0, count // 8, count // 4, count // 2, count]
    assert [unit.rows for unit in units[:-1]] == list(pairwise(edges))
    np.testing.assert_array_equal(
        np.concatenate([unit.of(tiny_weights) for unit in units[:-1]]), tiny_weights[WORDS]
    )
    assert units_of(tiny_weights, [WORDS], cut=False) == [Unit(WORDS)]


def test_menus_tell_what_was_measured(tiny_config, tiny_weights, tiny_tokenizer, text, monkeypatch):
    monkeypatch.setattr("bert_mobile.quantize.sensitivity._FEWEST_ROWS", 100)
    units = units_of(tiny_weights, [WORDS, QUERY, INNER], cut=True)
    tokenizer = load_tokenizer(tiny_tokenizer)
    rounder, menus = measure(tiny_config, tiny_weights, units, tokenizer, text, OURS)
    assert [(each.unit, each.bits) for each in menus.measured] == [
        (str(unit), bits) for unit in units for bits in (2, 4)
    ]
    by_unit = {(each.unit, each.bits): each.loss for each in menus.measured}
    for unit in units:
        assert by_unit[str(unit), 2] > 4 * by_unit[str(unit), 4] > 0
        losses = [choice.error for choice in menus.choices[unit]]
        assert losses == sorted(losses, reverse=True)
    assert menus.text["lines"] == 24
    chosen = coarsest(tiny_weights, units, OURS, measured=True)
    stored = rounder.stored(chosen)
    assert {chosen[unit].layout for unit in units} == {Layout(2, 64, symmetric=True)}
    assert not isinstance(stored[WORDS], PackedRows)  # one layout everywhere: one matrix
    assert not np.array_equal(stored["cls.predictions.bias"], tiny_weights["cls.predictions.bias"])


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        (SEQUENCES, {}),
        (SEQUENCES, {"problem_type": MULTI_LABEL}),
        (SEQUENCES, {"problem_type": REGRESSION, "labels": ("score",)}),
        (SEQUENCES, {"labels": ("LABEL_0",)}),
        (SEQUENCES, {"problem_type": MULTI_LABEL, "labels": ("spam",)}),
        (TOKENS, {}),
        (ANSWERS, {}),
    ],
)
def test_heads_of_tasks_are_judged_by_their_own_answers(tiny_task, text, architecture, changes):
    folder = tiny_task(architecture, **changes)
    config = BertConfig.read(folder)
    weights = read_weights(folder, config)
    calibrator = Calibrator(config, weights, load_tokenizer(folder), text)
    assert calibrator.loss_increase({}) == pytest.approx(0, abs=1e-9)
    rounded = {
        bits: unpack_matrix(pack_matrix(weights[QUERY], Layout(bits, 64))) for bits in (2, 4)
    }
    losses = {bits: calibrator.loss_increase({QUERY: matrix}) for bits, matrix in rounded.items()}
    assert losses[2] > 4 * losses[4] > 0
    assert INNER in calibrator.moments()


def test_the_divergence_of_each_kind_of_answer(tiny_config):
    """Classes by their chances, several labels each by its own, numbers by their square."""

    def divergence(config, *logits):
        calibrator = Calibrator.__new__(Calibrator)
        calibrator._config = config
        return calibrator._divergence("logits", *(np.array(x, np.float32) for x in logits))

    still, moved = [[2.0, -1.0, 0.5]], [[1.0, 0.0, 0.5]]
    p, q = (torch.tensor(x) for x in (still, moved))
    kinds = {
        SINGLE_LABEL: (q.log_softmax(-1).exp().log(), p.softmax(-1)),
        MULTI_LABEL: (
            torch.stack([q.sigmoid(), 1 - q.sigmoid()]).log(),
            torch.stack([p.sigmoid(), 1 - p.sigmoid()]),
        ),
    }
    labels = ("a", "b", "c")
    for kind, (log_after, before) in kinds.items():
        expected = float((before * (before.log() - log_after)).sum())
        config = tiny_config.with_task(SEQUENCES, labels=labels, problem_type=kind)
        scale = 3 if kind == MULTI_LABEL else 1  # the mean over labels
        assert divergence(config, still, moved) == pytest.approx(expected / scale, rel=1e-5)
    for kind in (REGRESSION, None):  # as transformers has it, one label is a number
        config = tiny_config.with_task(SEQUENCES, labels=("a",), problem_type=kind)
        assert divergence(config, [[2.0]], [[0.5]]) == pytest.approx(2.25)


def test_a_network_that_answers_with_zeros_loses_nothing(tiny_config):
    calibrator = Calibrator.__new__(Calibrator)
    calibrator._config = tiny_config
    zeros = np.zeros((1, 2, 4), np.float32)
    assert calibrator._divergence(HIDDEN, zeros, zeros) == 0


def test_inputs_that_hardly_vary_have_a_covariance():
    """A pooler's may be nearly the same for every text."""
    rng = np.random.default_rng(3)
    rows = (1 + 1e-4 * rng.normal(size=(400, 64))).astype(np.float32)
    sums = _Sums()
    for part in np.split(rows, 20):
        sums.add([part])
    found, wide = sums.moments(), rows.astype(np.float64)
    expected = np.cov(wide.T, bias=True)
    assert np.abs(found.mean - wide.mean(0)).max() < 1e-6
    assert np.abs(found.covariance - expected).max() < 0.01 * expected.max()
    assert np.linalg.eigvalsh(damped(found.covariance)).min() > 0
