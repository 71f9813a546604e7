"""Figures of predictions, against published values and ones worked out by hand."""

import builtins
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_mobile.errors import InputError, MissingExtraError
from bert_mobile.tasks.metrics import (
    KINDS,
    figures,
    figures_by_group,
    higher_is_better,
    usual_metrics,
)
from bert_mobile.tasks.spans import best_threshold, exact_match, normalized, token_f1
from bert_mobile.tasks.table import TASKS

TWO = ("no", "yes")

ANSCOMBE = (
    ([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5],
     [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]),
    ([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5],
     [9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74]),
    ([10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5],
     [7.46, 6.77, 12.74, 7.11, 7.81, 8.84, 6.08, 5.39, 8.15, 6.42, 5.73]),
    ([8, 8, 8, 8, 8, 8, 8, 19, 8, 8, 8],
     [6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.50, 5.56, 7.91, 6.89]),
)  # fmt: skip
"""Four sets of points whose published correlation is 0.816 each (Anscombe 1973)."""


def one(kind, metric, truth, predicted, labels=None):
    return figures(kind, [metric], truth, predicted, labels)[metric]


def counted(both, missed, false, neither):
    """Truth and predictions with that many of each of the four cases."""
    truth = [1] * (both + missed) + [0] * (false + neither)
    predicted = [1] * both + [0] * missed + [1] * false + [0] * neither
    return truth, predicted


def test_matthews_of_the_textbook_example():
    """Twelve pictures of cats and dogs, 6, 2, 1 and 3 of the four cases: 0.478."""
    assert one("classify", "matthews", *counted(6, 2, 1, 3)) == pytest.approx(0.478, abs=5e-4)


@given(*[st.integers(0, 30)] * 4)
def test_binary_figures_follow_their_definitions(both, missed, false, neither):
    total = both + missed + false + neither
    if not total:
        return
    found = figures(
        "pairs", ["f1", "accuracy", "matthews"], *counted(both, missed, false, neither), TWO
    )
    assert found["accuracy"] == pytest.approx((both + neither) / total)
    denominator = 2 * both + missed + false
    assert found["f1"] == pytest.approx(2 * both / denominator if denominator else 0)
    product = (both + missed) * (both + false) * (neither + missed) * (neither + false)
    expected = (both * neither - missed * false) / math.sqrt(product) if product else 0
    assert found["matthews"] == pytest.approx(expected)


def test_f1_over_several_classes_as_scikit_learn_documents_it():
    truth, predicted = [0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1]
    found = figures("classify", ["macro_f1", "micro_f1"], truth, predicted, ("a", "b", "c"))
    assert found == pytest.approx({"macro_f1": 4 / 15, "micro_f1": 1 / 3})


def test_several_labels_a_text():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    predicted = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    metrics = usual_metrics("classify", several=True)
    found = figures("classify", metrics, truth, predicted, ("a", "b", "c"))
    assert list(found) == ["micro_f1", "macro_f1", "accuracy"]
    assert found["micro_f1"] == pytest.approx(2 / 3)  # 2 found rightly, 1 missed, 1 false
    assert found["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found["accuracy"] == pytest.approx(1 / 3)  # only the third has all of them right


@pytest.mark.parametrize("points", ANSCOMBE)
def test_pearson_of_anscombes_quartet(points):
    assert one("regress", "pearson", *points) == pytest.approx(0.816, abs=1e-3)


def test_spearman_goes_by_ranks_and_the_main_figure_is_the_mean_of_both():
    truth, predicted = [1.0, 2, 3, 4, 5], [1.0, 8, 27, 125, 64]
    found = figures("regress", usual_metrics("regress"), truth, predicted)
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (5 * 24))  # two ranks exchanged
    assert found["pearson_spearman"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)
    assert found["mean_absolute_error"] == pytest.approx(210 / 5)


def test_spearman_with_ties_is_pearson_of_mean_ranks():
    found = one("regress", "spearman", [0.0, 0, 1, 2], [1.0, 2, 3, 4])
    assert found == pytest.approx(one("regress", "pearson", [1.5, 1.5, 3, 4], [1.0, 2, 3, 4]))


@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_spearman"])
def test_correlation_with_a_constant_is_nothing_and_says_so(metric):
    with pytest.warns(UserWarning, match="undefined where all values of one side are equal"):
        assert one("regress", metric, [1.0, 2, 3], [2.5, 2.5, 2.5]) == 0
    with pytest.warns(UserWarning, match="undefined"):
        assert one("regress", metric, [1.0], [2.0]) == 0


def test_constant_predictions_have_no_matthews_and_no_f1():
    assert one("classify", "matthews", [0, 1, 1], [1, 1, 1]) == 0
    assert one("pairs", "f1", [0, 1, 1], [0, 0, 0], TWO) == 0


def test_scope_is_judged_apart():
    labels = ("fly", "oos", "stay")
    truth, predicted = [0, 0, 2, 2, 1, 1, 1], [0, 2, 2, 1, 1, 0, 1]
    metrics = TASKS["clinc150"].metrics
    found = figures("classify", metrics, truth, predicted, labels)
    assert found["accuracy"] == pytest.approx(4 / 7)
    assert found["in_scope_accuracy"] == pytest.approx(2 / 4)
    assert found["out_of_scope_recall"] == pytest.approx(2 / 3)


def test_groups_are_judged_one_by_one():
    groups = ["overlap", "subsequence", "overlap", "overlap"]
    found = figures_by_group(TASKS["hans"], [0, 1, 1, 1], [0, 0, 1, 0], groups)
    assert found == {
        "overlap": {"accuracy": pytest.approx(2 / 3)},
        "subsequence": {"accuracy": 0},
    }
    with pytest.raises(InputError, match="4 predictions for 1 examples"):
        figures_by_group(TASKS["hans"], [0, 1, 1, 1], [0, 0, 1, 0], groups[:1])


def phrases(correct, missed, false):
    """Tags with that many phrases that are found, missed and found where there is none."""
    truth = ["B-NP", "O"] * (correct + missed) + ["O", "O"] * false
    found = ["B-NP", "O"] * correct + ["O", "O"] * missed + ["B-NP", "O"] * false
    return [truth], [found]


def test_entities_as_conlleval_counts_its_example():
    """Of its 459 phrases 539 are found, 371 of them rightly: 68.83, 80.83, 74.35 %."""
    metrics = ["entity_precision", "entity_recall", "entity_f1"]
    found = figures("tag", metrics, *phrases(371, 459 - 371, 539 - 371))
    assert [round(100 * found[metric], 2) for metric in metrics] == [68.83, 80.83, 74.35]


def test_entities_need_both_ends_and_the_type():
    truth = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    predicted = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert one("tag", "entity_f1", truth, predicted) == 0.5
    assert one("tag", "token_accuracy", truth, predicted) == 0.8
    assert one("tag", "entity_f1", truth[1:], [["B-LOC", "I-LOC", "O"]]) == 0


def test_only_strictly_does_an_entity_need_its_beginning():
    truth, predicted = [["B-NP", "I-NP", "O"]], [["I-NP", "I-NP", "O"]]
    assert one("tag", "entity_f1", truth, predicted) == 1
    assert one("tag", "entity_f1_strict", truth, predicted) == 0
    assert one("tag", "entity_f1_strict", truth, truth) == 1


def test_sentences_without_entities():
    assert one("tag", "entity_f1", [["O", "O"]], [["O", "O"]]) == 0
    assert one("tag", "token_accuracy", [[]], [[]]) == 0


def test_parts_of_speech_are_judged_word_by_word():
    truth, predicted = [["NOUN", "VERB"], ["NOUN"]], [["NOUN", "NOUN"], ["NOUN"]]
    found = figures("tag", usual_metrics("tag", ("NOUN", "VERB")), truth, predicted)
    assert found == pytest.approx({"token_accuracy": 2 / 3, "macro_f1": 0.8 / 2})


def test_a_missing_tag_is_refused():
    for metric in ("token_accuracy", "entity_f1"):
        with pytest.raises(InputError, match="sentence 2: 1 tags for 2 words, expected one for"):
            one("tag", metric, [["X"], ["X", "X"]], [["X"], ["X"]])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a man, an apple and the theme", "man apple and theme"),
        ("U.S.", "us"),
        ("«Ça»", "«ça»"),  # only ASCII punctuation goes
        ("The", ""),
    ],
)
def test_answers_are_normalised_as_the_official_script_does(answer, expected):
    assert normalized(answer) == expected


def test_answers_share_words():
    assert exact_match("the Denver Broncos", "Denver Broncos.") == 1
    assert token_f1("Denver Broncos", "the Broncos") == pytest.approx(2 / 3)
    assert token_f1("to be or not to be", "to be") == pytest.approx(
        float(2 * Fraction(1) * Fraction(2, 6) / (1 + Fraction(2, 6)))
    )
    assert token_f1("", "") == token_f1("the", "") == 1
    assert token_f1("x", "") == token_f1("", "x") == 0


def test_the_best_of_several_right_answers_counts():
    truth = [("Denver Broncos", "Broncos"), ("1066",), ()]
    predicted = ["the Broncos", "in 1066", ""]
    found = figures("answer", TASKS["squad2"].metrics, truth, predicted)
    assert found == pytest.approx(
        {
            "answer_f1": (1 + 2 / 3 + 1) / 3,
            "exact_match": 2 / 3,
            "has_answer_f1": (1 + 2 / 3) / 2,
            "no_answer_accuracy": 1,
        }
    )
    assert one("answer", "exact_match", [()], ["Denver"]) == 0


def test_the_threshold_is_found_where_f1_is_best():
    truth, answers = [("x",), (), ("y",), ()], ["x", "z", "y", "z"]
    best = best_threshold(truth, answers, [-3.0, 1.0, 0.5, 4.0])
    assert (best.value, best.answer_f1, best.exact_match) == (0.5, 1, 1)


def test_answering_nothing_may_be_best():
    best = best_threshold([(), ("x",), ()], ["a", "wrong", "b"], [-1.0, -2.0, -3.0])
    assert best.value < -3
    assert best.answer_f1 == pytest.approx(2 / 3)


def test_no_question_has_no_threshold():
    assert best_threshold([], [], []).answer_f1 == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-3, 3)), min_size=1))
def test_no_threshold_is_better_than_the_one_found(cases):
    truth = [("x",) if has else () for has, _, _ in cases]
    answers = ["x" if right else "y" for _, right, _ in cases]
    scores = [float(score) for *_, score in cases]

    def f1_at(threshold):
        kept = [a if s <= threshold else "" for a, s in zip(answers, scores, strict=True)]
        return one("answer", "answer_f1", truth, kept)

    best = best_threshold(truth, answers, scores)
    assert best.answer_f1 == pytest.approx(f1_at(best.value))
    assert best.answer_f1 == pytest.approx(max(f1_at(limit) for limit in range(-4, 4)))


def test_wrong_questions_are_refused():
    with pytest.raises(InputError, match="no metric of classify is called 'pearson', expected one"):
        one("classify", "pearson", [0], [0])
    with pytest.raises(
        InputError, match="kind is 'guess', expected one of classify, pairs, regress"
    ):
        one("guess", "accuracy", [0], [0])
    with pytest.raises(InputError, match="predictions, example 1: nan, expected a finite number"):
        one("regress", "pearson", [0.0, 1, 2], [0.0, float("nan"), 2])
    with pytest.raises(InputError, match="1 predictions for 2 examples, expected one for each"):
        one("classify", "accuracy", [0, 1], [0])
    with pytest.raises(InputError, match="no example to judge by"):
        one("answer", "answer_f1", [], [])
    with pytest.raises(InputError, match="f1 is of one of two labels, the task has 3"):
        one("pairs", "f1", [0], [0], ("a", "b", "c"))
    with pytest.raises(InputError, match="no label is called 'oos'"):
        one("classify", "in_scope_accuracy", [0], [0], TWO)


def test_without_scikit_learn_the_door_is_named(monkeypatch):
    import_module = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return import_module(name, *rest)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(MissingExtraError) as caught:
        one("classify", "accuracy", [0], [0])
    assert caught.value.hint == 'pip install "bert-mobile[evaluate]"'


def test_every_metric_of_every_task_is_known():
    for row in TASKS.values():
        assert row.metrics, row.name
        assert set(row.metrics) <= set(KINDS[row.kind]), row.name
    assert usual_metrics("tag", ("O", "B-PER"))[0] == "entity_f1"
    assert usual_metrics("pairs")[0] == "accuracy"
    assert [m for kind in KINDS.values() for m in kind if not higher_is_better(m)] == [
        "mean_absolute_error"
    ]
