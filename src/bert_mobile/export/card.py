"""The card of an exported model: a few lines of its own, then the parent's card."""

from collections.abc import Sequence

from bert_mobile.checkpoint import CARD
from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS
from bert_mobile.runtime.engines import ENGINES

_HEAD = "---\nlanguage: en\npipeline_tag: {pipeline}\ntags:\n- bert\n---\n"
_PIPELINES = {
    PRETRAINING: "fill-mask",
    SEQUENCES: "text-classification",
    TOKENS: "token-classification",
    ANSWERS: "question-answering",
}
_TEXT = """\
# {name} for {target}

`{place}` holds the weights of `{name}` as {width}; tokenizer and configuration lie beside it, and
`provenance.json` says where all of it comes from. {answers}
{notes}"""
_ANSWERS = '`bert_mobile.load("path/to/this/folder")` answers\nfrom it.'
_NO_ANSWERS = (
    "Nothing in `bert_mobile` answers\nfrom it: applications do, with the runtime of their system."
)


def card(source: Source, target: str, width: str, place: str, notes: Sequence[str]) -> str:
    """Return the card; the head of the parent's (licence, base model, data) holds for both."""
    path = source.folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    head = _HEAD.format(pipeline=_PIPELINES[source.config.architecture])
    if text.startswith("---\n") and "\n---\n" in text[4:]:
        inner, _, text = text[4:].partition("\n---\n")
        head = f"---\n{inner}\n---\n"
    said = "".join(f"\n- {note}" for note in notes)
    name = source.folder.resolve().name
    answers = _ANSWERS if any(place == engine.place for engine in ENGINES) else _NO_ANSWERS
    ours = _TEXT.format(
        name=name, target=target, width=width, place=place, answers=answers, notes=said
    )
    return f"{head}{ours}\n\n{text.lstrip()}" if text.strip() else f"{head}{ours}\n"
