"""What one labelled example is: a text or two, a tagged sentence, or a question about a context."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One text, or a pair of texts, with its label, labels or number."""

    line: int
    """1-based line, row or record in its file."""
    texts: tuple[str, ...]
    """One or two."""
    labels: tuple[str, ...] | None
    """Names: one, or any number where a text may have several; None where the file has none."""
    value: float | None
    """What a regression learns; None in a classification, and where the file has none."""


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A sentence cut into words, with a tag for each."""

    line: int
    """1-based line, row or record of its first word."""
    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    """As many as words; None where the file has none."""


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """A piece of a context that answers its question."""

    text: str
    start: int
    """Character offset in the context."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a context."""

    line: int
    """1-based line, row or record in its file."""
    id: str
    question: str
    context: str
    answers: tuple[AnswerSpan, ...] | None
    """Any of them is right; `()` means that the context is known to hold none, None: not known."""


Example = LabelledText | TaggedSentence | Question

KINDS = ("classify", "pairs", "regress", "tag", "answer")
"""What can be learned: the sub-commands of `finetune`."""

CLASS_KINDS = ("classify", "pairs", "tag")
"""Kinds whose answers are labels."""
