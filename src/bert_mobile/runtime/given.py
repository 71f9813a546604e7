"""What a caller gives: one text or several, alone or beside others."""

from collections.abc import Iterable, Sequence

from bert_mobile.errors import InputError


def listed(texts: str | Sequence[str]) -> list[str]:
    """Return a list of what may be one string or several."""
    if not isinstance(texts, Iterable):
        raise InputError(
            f"the text is of type {type(texts).__name__}, expected a string",
            hint="pass one string or a list of strings",
        )
    return [texts] if isinstance(texts, str) else list(texts)


def paired(texts: str | Sequence[str], pairs: str | Sequence[str]) -> list[str]:
    """Return the second texts of pairs, as many as there are first ones."""
    firsts, seconds = listed(texts), listed(pairs)
    if isinstance(texts, str) is not isinstance(pairs, str) or len(firsts) != len(seconds):
        raise InputError(
            f"there are {len(firsts)} first and {len(seconds)} second texts, expected pairs",
            hint="pass two strings, or two lists of the same length",
        )
    return seconds


def matched(
    question: str | Sequence[str], context: str | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return as many contexts as questions; one string stands for all."""
    questions, contexts = listed(question), listed(context)
    if isinstance(question, str):
        questions *= len(contexts)
    elif isinstance(context, str):
        contexts *= len(questions)
    if len(questions) != len(contexts):
        raise InputError(
            f"there are {len(questions)} questions and {len(contexts)} contexts, expected one for "
            "each",
            hint="pass two lists of the same length, or one string for all",
        )
    return questions, contexts
