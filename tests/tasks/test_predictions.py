"""What predictions in other labels mean to a task."""

import pytest

from bert_mobile.errors import InputError
from bert_mobile.tasks.predictions import as_labels_of
from bert_mobile.tasks.table import TASKS


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
