"""How well a model does what it was pre-trained for, on text that it was not trained on.

Pairs of segments are masked as in training (15 % of the tokens: 80 % `[MASK]`, 10 % random, 10 %
kept), by a fixed seed: every model with one tokenizer is asked the very same questions, whatever
file its weights lie in. Pseudo-perplexity follows Salazar et al. 2020, "Masked Language Model
Scoring" (arXiv:1910.14659): each piece of a sentence is masked in turn, the others in sight.
`bert_mobile.evaluate.held_out` tells where the text comes from.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import bert_mobile
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.held_out import SEED, Group, HeldOut, open_held_out
from bert_mobile.examples import Batch, PairSampler, SpecialIds
from bert_mobile.hub import resolve
from bert_mobile.model.config import PRETRAINING
from bert_mobile.progress import progress
from bert_mobile.quantize.interface import LOGITS, NEXT_SENTENCE
from bert_mobile.runtime.batches import Batch as RuntimeBatch
from bert_mobile.runtime.forms import PACKED
from bert_mobile.runtime.model import Model, log_probability
from bert_mobile.runtime.sessions import Session
from bert_mobile.tokenizer import load_tokenizer, same_tokenizer

PAIRS, SENTENCES = 512, 100
"""Asked of each group, unless told otherwise."""

SEQUENCE_LENGTH, BATCH_SIZE = 128, 16

SENTENCES_AT_ONCE = 8
"""Scored between two steps of the bar."""

MOST_NATS = 700
"""Mean loss from which on a perplexity is no number of the machine."""


@dataclass(frozen=True)
class GroupFigures:
    """Figures of one model on one group of held-out text."""

    data: str
    """Name of the file or folder."""
    kind: str
    """Kind of text: the first part of its documents' source, or "all"."""
    documents: int
    """Number of documents that pairs are drawn from."""
    masked_token_loss: float | None
    """Mean cross-entropy of the asked tokens, in nats; None for a model without that head."""
    perplexity: float | None
    """Its exponential; None likewise."""
    top_1_accuracy: float | None
    """Part of the asked tokens that the model ranks first; None likewise."""
    top_5_accuracy: float | None
    """Part of them among the model's first five; None likewise."""
    next_sentence_accuracy: float | None
    """Part of the pairs rightly told to follow or not; None for a model without that head."""
    pseudo_perplexity: float | None
    """Exponential of minus the mean log-probability of a piece with only it masked; None for a
    model without masked-token head, and where no sentence was scored."""
    pairs: int
    """Number of pairs: those asked for, rounded up to whole batches."""
    masked_tokens: int
    """Number of tokens asked for; 0 for a model without masked-token head."""
    sentences: int
    """Number of sentences that pseudo-perplexity is the mean of, 5 to 60 pieces each."""
    sentence_pieces: int
    """Number of their pieces."""


@dataclass(frozen=True)
class LanguageModelJudgement:
    """Figures of one model on all the held-out text."""

    model: str
    """Its name, as it was given."""
    groups: list[GroupFigures]
    """In the order of the data; of a built corpus all the text, then its kinds."""


def evaluate_language_models(
    models: Sequence[str],
    data: Sequence[Path | str],
    *,
    pairs: int = PAIRS,
    sentences: int = SENTENCES,
    text_field: str = "text",
    by_kind: bool = True,
    threads: int | None = None,
    weights: str = PACKED,
) -> list[LanguageModelJudgement]:
    """Judge models (as `bert_mobile.load` takes them) on built corpora and raw text.

    `pairs` and `sentences` are for each group of text; without sentences there is no
    pseudo-perplexity. Without `by_kind` a built corpus is one group, all of its held-out text.
    Warns where figures do not compare. Raises `InputError` where a model's tokenizer cuts otherwise
    than a built corpus's or there is too little text, `ArtifactError` where a model or a corpus is
    damaged, or a model has neither head.
    """
    texts = open_held_out(
        data, pairs=pairs, sentences=sentences, text_field=text_field, by_kind=by_kind
    )
    groups = _groups_of_each(texts, [resolve(model) for model in models])
    return [
        _judge_model(model, bert_mobile.load(model, threads=threads, weights=weights), mine, pairs)
        for model, mine in zip(models, groups, strict=True)
    ]


def _groups_of_each(texts: Sequence[HeldOut], folders: Sequence[Path]) -> list[list[Group]]:
    """Return the groups for each model; those of one tokenizer share theirs."""
    tokenizers = [load_tokenizer(folder) for folder in folders]
    like = [
        next(n for n, other in enumerate(tokenizers) if same_tokenizer(tokenizer, other))
        for tokenizer in tokenizers
    ]
    made = {
        n: [group for text in texts for group in text.groups(folders[n])]
        for n in dict.fromkeys(like)
    }
    if len(made) > 1:
        warnings.warn(
            "the models have different tokenizers: losses, perplexities and accuracies are per "
            "piece and do not compare between them",
            stacklevel=3,
        )
    return [made[n] for n in like]


def _judge_model(
    name: str, model: Model, groups: Sequence[Group], pairs: int
) -> LanguageModelJudgement:
    has_head = bool({LOGITS, NEXT_SENTENCE} & model.session.outputs)
    if model.config.architecture != PRETRAINING or not has_head:
        raise ArtifactError(
            f"{name} has neither a masked-token nor a next-sentence head, expected one to judge",
            hint="name a model as it was pre-trained",
        )
    return LanguageModelJudgement(name, [_judge_group(name, model, g, pairs) for g in groups])


def _judge_group(name: str, model: Model, group: Group, pairs: int) -> GroupFigures:
    label = f"evaluate {name}: {group.data} · {group.kind}"
    tally = _ask_pairs(label, model, group, pairs)
    has_masked_tokens = LOGITS in model.session.outputs
    if has_masked_tokens and not tally.asked:
        raise InputError(
            f"{group.pieces.name} is nothing but [UNK] to the tokenizer of {name}",
            hint="judge by text in the language and script that the model was made for",
        )
    sentences = group.sentences if has_masked_tokens else []
    pieces, pseudo_loss = _score(label, model, sentences)
    loss = _mean(tally.loss, tally.asked)
    return GroupFigures(
        data=group.data,
        kind=group.kind,
        documents=len(group.pieces.documents) - 1,
        masked_token_loss=loss,
        perplexity=_exponential(loss, name),
        top_1_accuracy=_mean(tally.first, tally.asked),
        top_5_accuracy=_mean(tally.among_five, tally.asked),
        next_sentence_accuracy=_mean(tally.told, tally.judged),
        pseudo_perplexity=_exponential(_mean(pseudo_loss, pieces), name),
        pairs=tally.pairs,
        masked_tokens=tally.asked,
        sentences=len(sentences),
        sentence_pieces=pieces,
    )


@dataclass
class _Tally:
    """Sums over pairs."""

    pairs: int = 0
    judged: int = 0
    """Pairs that a next-sentence head judged, of which `told` rightly."""
    told: int = 0
    asked: int = 0
    """Tokens that a masked-token head was asked for, with the sums of the next three."""
    loss: float = 0.0
    first: int = 0
    among_five: int = 0


def _ask_pairs(label: str, model: Model, group: Group, pairs: int) -> _Tally:
    sampler = PairSampler(
        group.pieces,
        seed=SEED,
        sequence_length=min(SEQUENCE_LENGTH, model.config.max_position_embeddings),
        batch_size=min(BATCH_SIZE, pairs),
    )
    batches = math.ceil(pairs / sampler.batch_size)
    tally = _Tally()
    with progress(label, batches * sampler.batch_size, "pairs") as bar:
        for step in range(batches):
            _ask(model.session, sampler.batch(step), sampler.special, tally)
            bar.advance(sampler.batch_size)
    return tally


def _ask(session: Session, batch: Batch, special: SpecialIds, tally: _Tally) -> None:
    """Add the answers for a batch to the tally."""
    ids = RuntimeBatch(batch.input_ids, batch.attention_mask.astype(np.int64), batch.token_type_ids)
    tally.pairs += len(batch.is_random)
    if NEXT_SENTENCE in session.outputs:
        told = session.run(NEXT_SENTENCE, ids).argmax(axis=1) == batch.is_random
        tally.judged += len(told)
        tally.told += int(told.sum())
    is_text = special.is_text[batch.targets]  # false where a sequence was nothing but [UNK]
    if LOGITS not in session.outputs or not is_text.any():
        return
    targets = batch.targets[is_text]  # (M,)
    logits = session.run(LOGITS, ids, batch.positions[is_text]).astype(np.float64)  # (M, V)
    better = (logits > logits[np.arange(len(targets)), targets][:, None]).sum(axis=1)
    tally.asked += len(targets)
    tally.loss -= float(log_probability(logits, targets).sum())
    tally.first += int((better < 1).sum())
    tally.among_five += int((better < 5).sum())


def _score(label: str, model: Model, sentences: Sequence[str]) -> tuple[int, float]:
    """Return the pieces of all sentences, and minus the sum of their pseudo-log-likelihoods."""
    encodings = model.tokenizer.encode_batch(list(sentences), add_special_tokens=False)
    room = model.config.max_position_embeddings - 2  # of a longer sentence, `score` takes so many
    lengths = {text: min(len(e.ids), room) for text, e in zip(sentences, encodings, strict=True)}
    alike = sorted(sentences, key=lambda text: lengths[text])
    loss = 0.0
    with progress(f"{label}, sentences", len(alike), "sentences") as bar:
        for start in range(0, len(alike), SENTENCES_AT_ONCE):
            some = alike[start : start + SENTENCES_AT_ONCE]
            loss -= float(model.score(some).sum())
            bar.advance(len(some))
    return sum(lengths[text] for text in alike), loss


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _exponential(loss: float | None, name: str) -> float | None:
    """Return the perplexity of a mean loss; raises `ArtifactError` where no number can hold it."""
    if loss is None:
        return None
    if loss < MOST_NATS:  # false for NaN too
        return math.exp(loss)
    raise ArtifactError(
        f"{name} has a mean loss of {loss} nats, expected less than {MOST_NATS}",
        hint="its weights are damaged; copy the model again from its source, or make it anew",
    )
