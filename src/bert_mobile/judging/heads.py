"""Which head of a network answers which kind of question."""

from bert_mobile.model.config import ANSWERS, REGRESSION, SEQUENCES, TOKENS, BertConfig

HEADS = {
    "classify": SEQUENCES,
    "pairs": SEQUENCES,
    "regress": SEQUENCES,
    "tag": TOKENS,
    "answer": ANSWERS,
}
"""The head that answers each kind of question."""


def gives_number(config: BertConfig) -> bool:
    """Tell whether a network answers with a number: of a text, where nothing else is stated of one.

    So transformers trains a head of one label.
    """
    is_one = config.architecture == SEQUENCES and len(config.labels) == 1
    return config.problem_type == REGRESSION or (config.problem_type is None and is_one)


def has_head_for(config: BertConfig, kind: str) -> bool:
    """Tell whether a network answers questions of a kind."""
    wanted = HEADS[kind]
    if config.architecture != wanted:
        return False
    return wanted != SEQUENCES or gives_number(config) == (kind == "regress")
