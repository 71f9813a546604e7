"""The names that columns usually have, by what is to be learned."""

import re
from math import isfinite

TEXTS = (
    ("text", "sentence", "utterance", "question", "query", "review", "tweet", "comment", "content",
     "document", "message"),
    ("reviewtext", "body", "headline", "title", "description", "prompt", "input", "phrase",
     "string", "string1", "doc"),
    ("tokens", "words"),
)  # fmt: skip
"""Of one text; the first group that has one of a file's columns decides."""

PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "sentence"), ("text1", "text2"), ("texta", "textb"), ("1string", "2string"),
    ("sentencea", "sentenceb"), ("query", "passage"), ("query", "document"),
    ("question", "answer"), ("question", "passage"), ("claim", "evidence"),
)  # fmt: skip
"""Of two texts."""

LABELS = (
    ("goldlabel",),
    ("label",),
    ("labels",),
    ("category", "categories", "class", "intent", "target", "sentiment", "isduplicate", "quality",
     "topic", "emotion", "emotions", "polarity", "tag", "tags", "rating", "stars", "y"),
)  # fmt: skip
"""Of the label, or the labels, of a text."""

NUMBERS = (
    ("score", "similarity", "similarityscore", "relatednessscore"),
    ("label", "value", "target", "rating", "stars", "y"),
)  # fmt: skip
"""Of what a regression learns."""

TOKENS = (("tokens", "words"), ("token", "word", "sentence", "text"))
"""Of a sentence cut into words."""

TAGS = (
    ("tags", "nertags", "slottags", "postags", "chunktags", "upos", "labels", "iob", "bio",
     "slots"),
    ("ner", "pos", "tag", "label"),
)  # fmt: skip
"""Of the tags of its words."""

_ALL = {
    name
    for groups in (TEXTS, PAIRS, LABELS, NUMBERS, TOKENS, TAGS, (("context", "answers", "id"),))
    for group in groups
    for name in group
}

_NOT_WORDS = re.compile(r"[\W_]+")


def plain(name: str) -> str:
    """Return a column's name in lower case and without spaces, dashes and the like."""
    return _NOT_WORDS.sub("", name).lower()


def is_usual(name: str) -> bool:
    """Tell whether a field is the usual name of a column and hardly anything else."""
    return plain(name) in _ALL and len(name) < 2 * len(plain(name)) + 2


def is_position(name: str) -> bool:
    """Tell whether a column is named by its place, such as `#2`."""
    return re.fullmatch(r"#[1-9][0-9]*", name) is not None


def numbered(count: int) -> tuple[str, ...]:
    """Return the names `#1`, `#2`, … of columns without a header."""
    return tuple(f"#{number}" for number in range(1, count + 1))


def is_number(text: str) -> bool:
    """Tell whether a field reads as a finite number."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False
