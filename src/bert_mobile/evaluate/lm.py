"""How well a model does what it was pre-trained for: held-out masked tokens and next sentences.

The pairs come from a built corpus's held-out split and are masked as in training (15 % of the
tokens: 80 % `[MASK]`, 10 % random, 10 % kept), by a fixed seed: every model on one corpus is asked
the very same questions, whatever file its weights lie in.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bert_mobile
from bert_mobile.errors import InputError
from bert_mobile.examples import Batch, Corpus, PairSampler
from bert_mobile.progress import progress
from bert_mobile.quantize.interface import LOGITS, NEXT_SENTENCE
from bert_mobile.runtime.batches import Batch as RuntimeBatch
from bert_mobile.runtime.model import log_probability
from bert_mobile.runtime.sessions import Session
from bert_mobile.tokenizer import load_tokenizer, same_tokenizer

SEED = 0
SEQUENCE_LENGTH, BATCH_SIZE = 128, 16


@dataclass(frozen=True)
class LanguageModelJudgement:
    """Figures of one model on one held-out split."""

    model: str
    masked_token_loss: float
    """Mean cross-entropy of the asked tokens, in nats."""
    perplexity: float
    """Its exponential."""
    top_1_accuracy: float
    """Part of the asked tokens that the model ranks first."""
    top_5_accuracy: float
    """Part of them among the model's first five."""
    next_sentence_accuracy: float | None
    """Part of the pairs rightly told to follow or not; None for a model without that head."""
    masked_tokens: int
    """Number of tokens asked for."""
    pairs: int


def evaluate_masked_tokens(
    model: str, corpus: Path, *, pairs: int = 1024, threads: int | None = None
) -> LanguageModelJudgement:
    """Judge a model (as `bert_mobile.load` takes it) on the held-out split of a built corpus.

    Raises `InputError` where the model's tokenizer cuts otherwise than the corpus's.
    """
    held_out = Corpus(corpus, "held_out")
    loaded = bert_mobile.load(model, threads=threads)
    if not same_tokenizer(loaded.tokenizer, load_tokenizer(corpus)):
        raise InputError(
            f"{corpus} was encoded with another tokenizer than the model's",
            hint=f"bert-mobile corpus tokenize {corpus} --tokenizer {loaded.folder}",
        )
    sampler = PairSampler(
        held_out,
        seed=SEED,
        sequence_length=min(SEQUENCE_LENGTH, loaded.config.max_position_embeddings),
        batch_size=min(BATCH_SIZE, pairs),
    )
    batches = math.ceil(pairs / sampler.batch_size)
    sums = np.zeros(6)
    with progress(f"evaluate {model}", batches * sampler.batch_size, "pairs") as bar:
        for step in range(batches):
            sums += _judge(loaded.session, sampler.batch(step))
            bar.advance(sampler.batch_size)
    loss, first, among_five, asked, told, count = sums.tolist()
    return LanguageModelJudgement(
        model=model,
        masked_token_loss=loss / asked,
        perplexity=math.exp(loss / asked),
        top_1_accuracy=first / asked,
        top_5_accuracy=among_five / asked,
        next_sentence_accuracy=None if math.isnan(told) else told / count,
        masked_tokens=int(asked),
        pairs=int(count),
    )


def _judge(session: Session, batch: Batch) -> NDArray[np.float64]:
    """Return the sums over a batch: loss, right, among the first five, asked, pairs told, pairs."""
    ids = RuntimeBatch(batch.input_ids, batch.attention_mask.astype(np.int64), batch.token_type_ids)
    logits = session.run(LOGITS, ids, batch.positions).astype(np.float64)  # (M, V)
    of_target = logits[np.arange(len(logits)), batch.targets]
    better = (logits > of_target[:, None]).sum(axis=1)
    told = math.nan
    if NEXT_SENTENCE in session.outputs:
        told = int((session.run(NEXT_SENTENCE, ids).argmax(axis=1) == batch.is_random).sum())
    loss = -log_probability(logits, batch.targets).sum()
    sums = [loss, (better < 1).sum(), (better < 5).sum(), len(logits), told]
    return np.array([*sums, len(batch.is_random)], dtype=np.float64)
