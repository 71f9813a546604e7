"""What models.json says of models before the page has them."""

import pytest

from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS
from bert_mobile.page import gather
from bert_mobile.quantize import quantize


@pytest.mark.parametrize(
    ("role", "head", "changes", "wording"),
    [
        ("sentiment", SEQUENCES, {"labels": ("NEGATIVE", "POSITIVE")}, "sentiment"),
        ("sentiment", SEQUENCES, {"labels": ("entailment", "neutral")}, "label"),
        ("sentiment", SEQUENCES, {"labels": ("spam",)}, "labels"),
        ("sentiment", SEQUENCES, {"problem_type": "multi_label_classification"}, "labels"),
        ("sentiment", SEQUENCES, {"problem_type": "regression", "labels": ("x",)}, "number"),
        ("entities", TOKENS, {}, "entities"),
        ("entities", TOKENS, {"labels": ("NOUN", "VERB")}, "tags"),
        ("answers", ANSWERS, {}, "answers"),
    ],
)
def test_words_fit_what_a_model_was_taught(role, head, changes, wording, tiny_task, tmp_path):
    quantize(tiny_task(head, **changes), tmp_path / "small", max_bytes=200_000)
    entry = gather({role: tmp_path / "small"}).models[role]
    assert entry["wording"] == wording
    head_outputs = {"start_logits", "end_logits"} if head == ANSWERS else {"logits"}
    assert head_outputs <= set(entry["outputs"])
