"""Batches through the network with the head of a task, and back to texts, words and characters.

Dimensions: B batch, T tokens, L labels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bert_mobile.errors import ArtifactError
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize.interface import END_LOGITS, LOGITS, START_LOGITS
from bert_mobile.runtime.batches import Batch, Tokens, batched
from bert_mobile.runtime.predict import (
    Candidates,
    Entity,
    FloatArray,
    LabelScore,
    WordTag,
    answer_candidates,
    entity_spans,
    label_scores,
    ranked,
    softmax,
)
from bert_mobile.runtime.sessions import Session
from bert_mobile.runtime.text import TextEncoder
from bert_mobile.runtime.windows import Window, Words, default_stride, window_starts

_AT_ONCE = 256
"""Questions or sentences that are cut into pieces together: bounds what lies in memory."""


def classify(
    session: Session,
    config: BertConfig,
    batches: Iterable[tuple[list[int], Batch]],
    count: int,
    top_k: int | None,
    threshold: float | None,
) -> list[list[LabelScore]]:
    """Return the labels of `count` texts, which `batches` bring along with their numbers."""
    found: list[list[LabelScore]] = [[]] * count
    for indices, batch in batches:
        logits = _checked(session.run(LOGITS, batch), config)  # B L
        for index, scores in zip(indices, label_scores(logits, config), strict=True):
            found[index] = ranked(scores, config.labels, top_k, threshold)
    return found


def tag(
    session: Session,
    config: BertConfig,
    text: TextEncoder,
    sentences: Sequence[str | Sequence[str]],
    stride: int | None,
    batch_size: int,
    *,
    grouped: bool,
) -> list[list[Entity]] | list[list[WordTag]]:
    """Return the entities of each sentence where `grouped`, else a tag for each word."""
    tagged: list[list[WordTag]] = []
    for start in range(0, len(sentences), _AT_ONCE):
        part = sentences[start : start + _AT_ONCE]
        words = text.read_words(part)
        logits = _word_logits(session, config, text, words, stride, batch_size)
        for sentence, found, rows in zip(part, words, logits, strict=True):
            whole = sentence if isinstance(sentence, str) else " ".join(sentence)
            tagged.append(_word_tags(whole, found, softmax(rows), config.labels))
    if not grouped:
        return tagged
    return [
        _entities(words, sentence if isinstance(sentence, str) else " ".join(sentence), config)
        for words, sentence in zip(tagged, sentences, strict=True)
    ]


def _word_logits(
    session: Session,
    config: BertConfig,
    text: TextEncoder,
    sentences: Sequence[Words],
    stride: int | None,
    batch_size: int,
) -> list[FloatArray]:
    """Return the logits of the words of each sentence, (words, L)."""
    parts = [
        (number, tokens, kept)
        for number, words in enumerate(sentences)
        for tokens, kept in _parts(text, words, stride)
    ]
    found = [np.empty((len(words.starts), len(config.labels)), np.float32) for words in sentences]
    sequences = [tokens for _, tokens, _ in parts]
    for indices, batch in batched(sequences, batch_size, text.pad_id):
        logits = _checked(session.run(LOGITS, batch), config)  # B T L
        for row, index in enumerate(indices):
            number, _, kept = parts[index]
            chosen, places = list(kept), list(kept.values())
            found[number][chosen] = logits[row, places]
    return found


def _parts(
    text: TextEncoder, words: Words, stride: int | None
) -> Iterator[tuple[Tokens, dict[int, int]]]:
    """Yield a sentence in parts that fit, each with the words to be judged there.

    Those are by number, with the index of their first piece. A word is judged in the part where
    the nearer end is farthest from it.
    """
    width = text.limit - 2
    overlap = default_stride(width) if stride is None else stride
    begins = window_starts(len(words.ids), width, overlap)
    kept: list[dict[int, int]] = [{} for _ in begins]
    step, last = width - overlap, len(begins) - 1
    for number, start in enumerate(words.starts):
        latest = min(start // step, last)
        around = range(max(0, -(-(start - width + 1) // step)), latest + 1)
        part = max(around, key=lambda i: min(start - i * step, i * step + width - 1 - start))
        kept[part][number] = start - begins[part] + 1  # behind [CLS]
    for begin, places in zip(begins, kept, strict=True):
        yield text.framed(words.ids[begin : begin + width]), places


def _word_tags(
    sentence: str, words: Words, probabilities: FloatArray, labels: Sequence[str]
) -> list[WordTag]:
    best = probabilities.argmax(axis=1)
    return [
        {
            "entity": labels[label],
            "score": float(row[label]),
            "word": sentence[start:end],
            "start": start,
            "end": end,
        }
        for label, row, (start, end) in zip(best, probabilities, words.spans, strict=True)
    ]


def _entities(words: Sequence[WordTag], sentence: str, config: BertConfig) -> list[Entity]:
    found: list[Entity] = []
    for name, first, stop in entity_spans([word["entity"] for word in words], config.labels):
        start, end = words[first]["start"], words[stop - 1]["end"]
        score = sum(word["score"] for word in words[first:stop]) / (stop - first)
        found.append(
            {
                "entity_group": name,
                "score": score,
                "word": sentence[start:end],
                "start": start,
                "end": end,
            }
        )
    return found


@dataclass(frozen=True)
class Asked:
    """How questions are put to a network."""

    session: Session
    text: TextEncoder
    longest: int
    """Pieces of the longest answer."""
    top_k: int
    """Answers that are wanted."""
    stride: int | None
    """Pieces that neighbouring windows share."""
    batch_size: int


def candidates(
    asked: Asked, questions: Sequence[str], contexts: Sequence[str]
) -> Iterator[Candidates]:
    """Yield what each context may say to its question."""
    for start in range(0, len(questions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        windows = [
            asked.text.encode_windows(question, context, asked.stride)
            for question, context in zip(questions[part], contexts[part], strict=True)
        ]
        logits = iter(_window_logits(asked, [window for each in windows for window in each]))
        for each in windows:
            yield answer_candidates(
                each, [next(logits) for _ in each], longest=asked.longest, top_k=asked.top_k
            )


def _window_logits(asked: Asked, windows: Sequence[Window]) -> list[tuple[FloatArray, FloatArray]]:
    """Return start and end logits (T,) of each window, padding included."""
    found: dict[int, tuple[FloatArray, FloatArray]] = {}
    sequences = [window.tokens for window in windows]
    for indices, batch in batched(sequences, asked.batch_size, asked.text.pad_id):
        starts, ends = asked.session.run_several((START_LOGITS, END_LOGITS), batch)  # B T each
        found |= dict(zip(indices, zip(starts, ends, strict=True), strict=True))
    return [found[index] for index in range(len(windows))]


def _checked(logits: FloatArray, config: BertConfig) -> FloatArray:
    """Raise `ArtifactError` unless the network has an output for each label."""
    if logits.shape[-1] != len(config.labels):
        raise ArtifactError(
            f"the network gives {logits.shape[-1]} numbers, config.json names "
            f"{len(config.labels)} labels",
            hint="correct id2label in config.json",
        )
    return logits
