"""Probabilities of labels, also where logits are extreme."""

import numpy as np
import pytest

from bert_mobile.runtime.predict import sigmoid, softmax

LOGITS = np.array([[2.0, -1.0, 0.5], [-800.0, 800.0, 799.0]], dtype=np.float32)


def test_probabilities_of_labels_that_exclude_each_other_sum_to_one():
    found = softmax(LOGITS)
    assert found.sum(-1) == pytest.approx([1, 1])
    assert found[1] == pytest.approx([0, 1 / (1 + np.exp(-1)), 1 / (1 + np.e)])


def test_labels_by_themselves_are_likelier_than_not_above_zero():
    found = sigmoid(LOGITS)
    assert ((found > 0.5) == (LOGITS > 0)).all()
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    assert found[1].tolist() == [0, 1, 1]
