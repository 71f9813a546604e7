"""The figures of any models on whatever they are judged by, in one form: the main one first.

`mlm` is held-out text for models as they were pre-trained; else a task of the table or a labelled
file, for fine-tuned ones. Each model is asked as it answers on a phone: a quantized one by its very
file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_mobile.errors import InputError
from bert_mobile.evaluate.lm import PAIRS, GroupFigures, evaluate_language_models
from bert_mobile.evaluate.task import evaluate_on_task
from bert_mobile.judging.figures import Figures

TEXT = "mlm"
"""What held-out text is called among the tasks."""

_OF_TEXT = ("top_1_accuracy", "masked_token_loss", "next_sentence_accuracy")


@dataclass(frozen=True)
class Question:
    """What models are judged by."""

    task: str
    """`mlm`, a name of the table of tasks, or a labelled file."""
    data: Path | str | None = None
    """Held-out text: a built corpus, or raw; the folder of a task's data; None beside a file."""
    pairs: int = PAIRS
    """Of segments of held-out text."""

    def __post_init__(self) -> None:
        """Refuse held-out text that is not named."""
        if self.task == TEXT and self.data is None:
            raise InputError(
                "there is no text to judge by, expected --data with a built corpus or text",
                hint="or judge by a task, or by a labelled file",
            )


def figures_of(
    models: Sequence[str | Path], question: Question, *, threads: int | None = None
) -> list[Figures]:
    """Judge models, given as `bert_mobile.load` takes them, by one question.

    Raises `InputError` where the data is not there or holds no truth, `ArtifactError` where a model
    is damaged or has no head for such a question.
    """
    names = [str(model) for model in models]
    if question.task != TEXT or question.data is None:
        found = evaluate_on_task(names, question.task, question.data, threads=threads)
        return [Figures(each.model, each.asked, each.examples, each.figures) for each in found]
    judged = evaluate_language_models(
        names, [question.data], pairs=question.pairs, sentences=0, by_kind=False, threads=threads
    )
    return [
        Figures(each.model, group.data, group.pairs, _known(group))
        for each in judged
        for group in each.groups
    ]


def _known(group: GroupFigures) -> dict[str, float]:
    values = {name: getattr(group, name) for name in _OF_TEXT}
    return {name: value for name, value in values.items() if value is not None}
