"""What outputs mean."""

import numpy as np
import pytest

from bert_mobile.errors import InputError
from bert_mobile.tasks.predictions import as_labels_of, chosen, numbers, probabilities
from bert_mobile.tasks.table import TASKS

LOGITS = np.array([[2.0, -1.0, 0.5], [-800.0, 800.0, 799.0]], dtype=np.float32)


def test_one_label_is_the_largest_and_its_probabilities_sum_to_one():
    assert chosen(LOGITS).tolist() == [0, 1]
    found = probabilities(LOGITS)
    assert found.sum(-1) == pytest.approx([1, 1])
    assert found[1] == pytest.approx([0, 1 / (1 + np.exp(-1)), 1 / (1 + np.e)])


def test_several_labels_are_those_above_one_half():
    assert chosen(LOGITS, several=True).tolist() == [[1, 0, 1], [0, 1, 1]]
    found = probabilities(LOGITS, several=True)
    assert (found > 0.5).astype(int).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert found[1].tolist() == [0, 1, 1]


def test_numbers_keep_to_the_scale_of_the_task():
    outputs = np.array([[-0.3], [2.25], [7.0]], dtype=np.float32)
    assert numbers(outputs, TASKS["stsb"].value_range).tolist() == [0, 2.25, 5]
    assert numbers(outputs)[2] == 7


def test_a_model_of_mnli_answers_hans_and_ax():
    model = ("CONTRADICTION", "neutral", "entailment")
    assert as_labels_of(TASKS["hans"], [0, 1, 2], model).tolist() == [1, 1, 0]
    assert as_labels_of(TASKS["ax"], [0, 1, 2], model).tolist() == [2, 1, 0]


def test_a_model_that_does_not_name_its_labels_is_refused():
    with pytest.raises(
        InputError, match="the model says 'LABEL_0', expected one of entailment, non"
    ):
        as_labels_of(TASKS["hans"], [0], ("LABEL_0", "LABEL_1"))
    with pytest.raises(InputError, match="clinc150 has no labels of its own"):
        as_labels_of(TASKS["clinc150"], [0], ("a", "b"))
