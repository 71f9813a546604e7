"""The card of an exported model: a few lines of its own, then the parent's card."""

from collections.abc import Sequence

from bert_mobile.checkpoint import CARD
from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS

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
`provenance.json` says where all of it comes from. `bert_mobile.load("path/to/this/folder")` answers
from it.
{notes}"""


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
    ours = _TEXT.format(name=name, target=target, width=width, place=place, notes=said)
    return f"{head}{ours}\n\n{text.lstrip()}" if text.strip() else f"{head}{ours}\n"
