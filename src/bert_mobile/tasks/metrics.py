"""Figures of predictions against the truth, each from 0 to 1 (correlations from -1).

They are scikit-learn's, SciPy's and seqeval's; SQuAD's are in `bert_mobile.tasks.spans`. What the
two sides of a comparison are follows from the kind of task:

| kind | truth and predictions |
|---|---|
| classify, pairs | (N,) numbers of labels; (N, C) of 0 and 1 where a text may have several labels |
| regress | (N,) values |
| tag | N sequences of tags, a tag for each word |
| answer | truth: N tuples of right answers, `()` for no answer; predictions: N texts, "" likewise |

Nothing is undefined: a figure that divides by nothing is 0, as scikit-learn has it, and a
correlation with a constant is 0 with a warning.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bert_mobile.corpus.libraries import library
from bert_mobile.errors import InputError
from bert_mobile.tasks import spans
from bert_mobile.tasks.task import Task

OUT_OF_SCOPE = "oos"
"""The label of texts that have none of the intents."""

ENTITY_PARTS = ("B-", "I-")
"""How tags of entities begin."""

Labels = Sequence[str] | None
Figure = Callable[[Any, Any, Labels], float]


def figures(
    kind: str, metrics: Sequence[str], truth: Any, predicted: Any, labels: Labels = None
) -> dict[str, float]:
    """Return each of `metrics`, in that order, as plain floats.

    `labels` are the names of the classes in the order of their numbers; figures of single classes
    need them. `truth` and `predicted` are what the module's table says. Raises `InputError` for a
    metric that the kind has not, for sides of unequal length or with values that are no numbers,
    and where there is nothing to judge; `MissingExtraError` without scikit-learn.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}", hint="check it")
    known = KINDS[kind]
    for metric in metrics:
        if metric not in known:
            raise InputError(
                f"no metric of {kind} is called {metric!r}, expected one of {', '.join(known)}",
                hint="see the metrics of a task in the table",
            )
    if kind in ("classify", "pairs", "regress"):
        truth, predicted = np.asarray(truth), np.asarray(predicted)
    refuse_unequal(truth, predicted)
    if kind == "tag":
        _refuse_missing_tags(truth, predicted)
    if kind in ("classify", "pairs", "regress"):
        _refuse_no_numbers(truth, predicted)
    return {metric: float(known[metric](truth, predicted, labels)) for metric in metrics}


def figures_by_group(
    task: Task, truth: Any, predicted: Any, groups: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the figures of a task for each of its groups, by name: of HANS, each heuristic.

    `groups` has the group of each example; the others are as in `figures`.
    """
    truth, predicted, of = np.asarray(truth), np.asarray(predicted), np.asarray(groups)
    refuse_unequal(of, predicted)
    return {
        str(name): figures(
            task.kind, task.metrics, truth[of == name], predicted[of == name], task.labels
        )
        for name in np.unique(of)
    }


def usual_metrics(kind: str, labels: Labels = None, *, several: bool = False) -> tuple[str, ...]:
    """Return what a file of one's own is judged by; the first is the main metric.

    `several` says that a text may have several labels. Tags with `B-` or `I-` are of entities,
    others are judged word by word.
    """
    if kind in ("classify", "pairs"):
        return ("micro_f1", "macro_f1", "accuracy") if several else ("accuracy", "macro_f1")
    if kind == "regress":
        return ("pearson_spearman", "pearson", "spearman", "mean_absolute_error")
    if kind == "tag":
        entities = any(label.startswith(ENTITY_PARTS) for label in labels or ())
        return ("entity_f1", "token_accuracy") if entities else ("token_accuracy", "macro_f1")
    return ("answer_f1", "exact_match")


def higher_is_better(metric: str) -> bool:
    """Tell which way a metric is better: of all, only errors are better low."""
    return metric != "mean_absolute_error"


def refuse_unequal(truth: Any, predicted: Any) -> None:
    """Raise `InputError` unless there is one prediction for each example, and one at least."""
    if len(truth) != len(predicted):
        raise InputError(
            f"{len(predicted)} predictions for {len(truth)} examples, expected one for each",
            hint="both must be of the same file, in its order",
        )
    if len(truth) == 0:
        raise InputError("there is no example to judge by", hint="is the file empty?")


def _refuse_missing_tags(truth: Any, predicted: Any) -> None:
    for number, (tags, found) in enumerate(zip(truth, predicted, strict=True), 1):
        if len(tags) != len(found):
            raise InputError(
                f"sentence {number}: {len(found)} tags for {len(tags)} words, "
                "expected one for each",
                hint="words beyond the limit of the model need a tag too, such as O",
            )


def _refuse_no_numbers(truth: Any, predicted: Any) -> None:
    for name, side in (("truth", truth), ("predictions", predicted)):
        if not np.isfinite(side).all():
            first = int(np.argmin(np.isfinite(side).reshape(len(side), -1).all(1)))
            raise InputError(
                f"{name}, example {first}: {side[first]}, expected a finite number",
                hint="did the run diverge?",
            )


def _sklearn() -> Any:
    return library("sklearn.metrics", "evaluate")


def _accuracy(truth: Any, predicted: Any, _labels: Labels) -> float:
    """Part that is right; where a text may have several labels, those with all of them right."""
    return float(_sklearn().accuracy_score(truth, predicted))


def _f1(average: str) -> Figure:
    """Return F1 over the labels that occur on either side; macro is the plain mean of theirs."""

    def figure(truth: Any, predicted: Any, _labels: Labels) -> float:
        score = _sklearn().f1_score
        return float(score(truth, predicted, average=average, zero_division=0.0))

    return figure


def _positive_f1(truth: Any, predicted: Any, labels: Labels) -> float:
    """F1 of the second of two labels, GLUE's 1: the equivalent, the duplicate."""
    if labels is not None and len(labels) != 2:
        raise InputError(
            f"f1 is of one of two labels, the task has {len(labels)}", hint="use macro_f1"
        )
    return float(_sklearn().f1_score(truth == 1, predicted == 1, zero_division=0.0))


def _matthews(truth: Any, predicted: Any, _labels: Labels) -> float:
    """Matthews' correlation coefficient; 0 where one side is constant."""
    if len(np.union1d(truth, predicted)) == 1:  # of which scikit-learn would warn
        return 0.0
    return float(_sklearn().matthews_corrcoef(truth, predicted))


def _in_scope(truth: Any, predicted: Any, labels: Labels) -> float:
    """Accuracy on the texts that have an intent (Larson et al. 2019)."""
    asked = truth != _out_of_scope(labels)
    return float(np.mean(truth[asked] == predicted[asked])) if asked.any() else 0.0


def _out_of_scope_recall(truth: Any, predicted: Any, labels: Labels) -> float:
    """Part of the texts without intent that are told as such (likewise)."""
    asked = truth == _out_of_scope(labels)
    return float(np.mean(truth[asked] == predicted[asked])) if asked.any() else 0.0


def _out_of_scope(labels: Labels) -> int:
    if labels is None or OUT_OF_SCOPE not in labels:
        raise InputError(
            f"no label is called {OUT_OF_SCOPE!r}, expected one for texts out of scope",
            hint="ask for accuracy instead",
        )
    return list(labels).index(OUT_OF_SCOPE)


def _correlation(name: str) -> Figure:
    def figure(truth: Any, predicted: Any, _labels: Labels) -> float:
        if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(predicted) == 0:
            warnings.warn(
                f"{name} is undefined where all values of one side are equal; 0 is reported",
                stacklevel=4,
            )
            return 0.0
        statistics = library("scipy.stats", "evaluate")
        return float(getattr(statistics, f"{name}r")(truth, predicted).statistic)

    return figure


def _both_correlations(truth: Any, predicted: Any, labels: Labels) -> float:
    """Mean of Pearson's and Spearman's, as GLUE ranks."""
    each = [_correlation(name)(truth, predicted, labels) for name in ("pearson", "spearman")]
    return sum(each) / 2


def _mean_absolute_error(truth: Any, predicted: Any, _labels: Labels) -> float:
    return float(np.mean(np.abs(truth - predicted)))


def _entities(name: str, *, strict: bool = False) -> Figure:
    """Return a figure of whole entities: type and both ends right.

    As `conlleval` counts, an `I-` that continues nothing begins an entity; strictly (BIO2), only
    a `B-` does.
    """

    def figure(truth: Any, predicted: Any, _labels: Labels) -> float:
        score = getattr(library("seqeval.metrics", "evaluate"), name)
        options: dict[str, Any] = {"average": "micro", "zero_division": 0}
        if strict:
            options |= {"mode": "strict", "scheme": library("seqeval.scheme", "evaluate").IOB2}
        return float(score(_lists(truth), _lists(predicted), **options))

    return figure


def _lists(sentences: Any) -> list[list[str]]:
    return [list(tags) for tags in sentences]


def _words(figure: Figure) -> Figure:
    """Return a figure of single words, whatever sentence they are of."""

    def of_words(truth: Any, predicted: Any, _labels: Labels) -> float:
        flat = [np.asarray([tag for tags in side for tag in tags]) for side in (truth, predicted)]
        return figure(flat[0], flat[1], None) if len(flat[0]) else 0.0

    return of_words


def _answers(which: int, *, asked: bool | None = None) -> Figure:
    """Return a figure of answers: 0 exact match, 1 F1.

    `asked` takes only the questions that have an answer (True), or those that have none (False).
    """

    def figure(truth: Any, predicted: Any, _labels: Labels) -> float:
        scores = spans.answer_scores(truth, predicted)[which]
        if asked is not None:
            scores = scores[np.asarray([bool(rights) is asked for rights in truth])]
        return float(scores.mean()) if len(scores) else 0.0

    return figure


_CLASSES: Mapping[str, Figure] = {
    "accuracy": _accuracy,
    "f1": _positive_f1,
    "macro_f1": _f1("macro"),
    "micro_f1": _f1("micro"),
    "matthews": _matthews,
    "in_scope_accuracy": _in_scope,
    "out_of_scope_recall": _out_of_scope_recall,
}

KINDS: Mapping[str, Mapping[str, Figure]] = {
    "classify": _CLASSES,
    "pairs": _CLASSES,
    "regress": {
        "pearson_spearman": _both_correlations,
        "pearson": _correlation("pearson"),
        "spearman": _correlation("spearman"),
        "mean_absolute_error": _mean_absolute_error,
    },
    "tag": {
        "entity_f1": _entities("f1_score"),
        "entity_precision": _entities("precision_score"),
        "entity_recall": _entities("recall_score"),
        "entity_f1_strict": _entities("f1_score", strict=True),
        "token_accuracy": _words(_accuracy),
        "macro_f1": _words(_f1("macro")),
    },
    "answer": {
        "answer_f1": _answers(1),
        "exact_match": _answers(0),
        "has_answer_f1": _answers(1, asked=True),
        "no_answer_accuracy": _answers(0, asked=False),
    },
}
"""What each kind of task can be judged by."""
