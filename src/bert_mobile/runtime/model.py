"""What one can ask of a BERT: fill a gap, judge a pair of sentences, embed, score; and, where it
was fine-tuned for that, classify, tag, answer.

Dimensions: B batch, T tokens, M masks, H hidden, V vocabulary.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict, overload

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_mobile.errors import InputError
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS, BertConfig
from bert_mobile.quantize.interface import HIDDEN, LOGITS, NEXT_SENTENCE
from bert_mobile.runtime import heads
from bert_mobile.runtime.batches import Batch, IntArray, Tokens, batched, by_length, pad
from bert_mobile.runtime.given import listed, matched, paired
from bert_mobile.runtime.predict import Answer, Entity, LabelScore, WordTag, has_entities, softmax
from bert_mobile.runtime.sessions import FloatArray, Session
from bert_mobile.runtime.text import TextEncoder, check_text

_MADE_BY = {
    PRETRAINING: "use a model that was pre-trained, such as the default, for this question",
    SEQUENCES: "bert-mobile finetune classify --train FILE --dev FILE --out DIR makes one",
    TOKENS: "bert-mobile finetune tag --train FILE --dev FILE --out DIR makes one",
    ANSWERS: "bert-mobile finetune answer --train FILE --dev FILE --out DIR makes one",
}

# Logits over the whole vocabulary that are held at once: 256 rows of 30,000 are 31 MB.
_MAX_ROWS = 256


class Prediction(TypedDict):
    """One proposal for a gap, as transformers' fill-mask pipeline gives it."""

    score: float
    """Probability of the piece."""
    token: int
    """Its id."""
    token_str: str
    """Its text."""
    sequence: str
    """The text with the gap filled."""


Proposals = list[Prediction] | list[list[Prediction]]
"""Proposals for one text: a list for its one mask, or a list of lists for its several masks."""


class Model:
    """A network and its tokenizer, ready to answer. Made by `bert_mobile.load`."""

    def __init__(
        self, session: Session, text: TextEncoder, config: BertConfig, folder: Path
    ) -> None:
        """Bring together what `folder` holds; `session` may be any engine that runs the network."""
        self._session = session
        self._text = text
        self.config = config
        """Shape of the network."""
        self.folder = folder
        """Where the model lies."""

    @property
    def session(self) -> Session:
        """What runs the network."""
        return self._session

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, of the library `tokenizers`."""
        return self._text.tokenizer

    def fill_mask(
        self,
        texts: str | Sequence[str],
        *,
        top_k: int = 5,
        targets: str | Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> Proposals | list[Proposals]:
        """Propose words for each `[MASK]`, the most probable first.

        Returns what transformers' pipeline returns: for one text with one mask a list of at most
        `top_k` predictions; with several masks one such list for each, every other mask left in its
        `sequence`; for several texts a list of those. As there, a list of one text counts as one
        text. `targets` restricts the proposals to some words; the first piece stands for a word
        that the vocabulary lacks, with a warning.

        A text longer than the network reads is cut around its masks (`TruncationWarning`). Raises
        `InputError` on a text without `[MASK]`, on an empty one and on a lone surrogate.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}, expected at least 1", hint="the default is 5")
        self._check_head(PRETRAINING)
        wanted = None if targets is None else self._target_ids(targets)
        sequences = self._text.encode_masked(listed(texts))
        found: list[list[list[Prediction]]] = [[] for _ in sequences]
        for indices, batch in self._batches(sequences, batch_size):
            places = np.flatnonzero(batch.ids == self._text.mask_id)  # M, as b·T + t
            for start in range(0, len(places), _MAX_ROWS):
                part = places[start : start + _MAX_ROWS]
                probabilities = softmax(self._session.run(LOGITS, batch, part))  # M V
                for place, row in zip(part, probabilities, strict=True):
                    index, gap = indices[place // batch.ids.shape[1]], place % batch.ids.shape[1]
                    best = _best(row, wanted, top_k)
                    found[index].append(self._proposals(sequences[index], int(gap), row, best))
        answers: list[Proposals] = [gaps[0] if len(gaps) == 1 else gaps for gaps in found]
        return answers[0] if len(answers) == 1 else answers

    @overload
    def next_sentence(self, a: str, b: str, *, batch_size: int = 32) -> float: ...

    @overload
    def next_sentence(self, a: list[str], b: list[str], *, batch_size: int = 32) -> list[float]: ...

    def next_sentence(
        self, a: str | Sequence[str], b: str | Sequence[str], *, batch_size: int = 32
    ) -> float | list[float]:
        """Return the probability that text `b` follows text `a`; for lists, one for each pair.

        Raises `InputError` on an empty text or on lists of different lengths.
        """
        self._check_head(PRETRAINING)
        firsts, seconds = listed(a), paired(a, b)
        sequences = self._text.encode_pairs(firsts, seconds)
        follows = np.empty(len(sequences))
        for indices, batch in self._batches(sequences, batch_size):
            logits = self._session.run(NEXT_SENTENCE, batch)  # B 2; label 0 is "B follows A"
            follows[indices] = softmax(logits)[:, 0]
        return float(follows[0]) if isinstance(a, str) else follows.tolist()

    def embed(self, texts: str | Sequence[str], *, batch_size: int = 32) -> FloatArray:
        """Return one vector a text, float32 (n, H).

        It is the mean of the last layer over all pieces of the text, `[CLS]` and `[SEP]` among them
        and padding not, as sentence-transformers pools it; its length is not normalised. Raises
        `InputError` on an empty text.
        """
        sequences = self._text.encode(listed(texts))
        vectors = np.empty((len(sequences), self.config.hidden_size), dtype=np.float32)
        for indices, batch in self._batches(sequences, batch_size):
            hidden = self._session.run(HIDDEN, batch)  # B T H
            weights = batch.mask.astype(np.float32)[..., None]  # B T 1
            vectors[indices] = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return vectors

    def score(self, texts: str | Sequence[str], *, batch_size: int = 32) -> NDArray[np.float64]:
        """Return the pseudo-log-likelihood of each text, float64 (n,), in nats.

        The sum over its pieces of the log-probability of that piece with only it masked (Salazar et
        al. 2020, "Masked Language Model Scoring"): one pass through the network for each piece.
        Divide by the number of pieces to compare texts of different lengths. Raises `InputError` on
        an empty text.
        """
        self._check_head(PRETRAINING)
        sequences = self._text.encode(listed(texts))
        gaps = [
            (index, place)
            for index, tokens in enumerate(sequences)
            for place in range(1, len(tokens.ids) - 1)
        ]
        totals = np.zeros(len(sequences))
        lengths = [len(sequences[index].ids) for index, _ in gaps]
        for rows in by_length(lengths, batch_size):
            chosen = [gaps[row] for row in rows]
            batch = pad(
                [self._with_gap(sequences[i], place) for i, place in chosen], self._text.pad_id
            )
            width = batch.ids.shape[1]
            places = np.array([row * width + place for row, (_, place) in enumerate(chosen)])
            logits = self._session.run(LOGITS, batch, places).astype(np.float64)  # B V
            truth = [sequences[index].ids[place] for index, place in chosen]
            np.add.at(totals, [index for index, _ in chosen], log_probability(logits, truth))
        return totals

    def classify(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        top_k: int | None = 1,
        threshold: float | None = None,
        batch_size: int = 32,
    ) -> list[LabelScore] | list[list[LabelScore]]:
        """Return the labels of texts, or of pairs of texts, the most probable first.

        Shapes are those of transformers' pipeline: with `top_k` 1 one {"label", "score"} a text, in
        a list even for one text; else at most `top_k` of them a text (None: all), in a list of
        lists unless one string was given. With `threshold` these are all labels with at least that
        score, perhaps none. Scores are probabilities: of one label among all (softmax), or of each
        label by itself (sigmoid) where the model gives any number of them; a regression's score is
        the number itself. `pairs` are second texts, one for each of `texts`.

        Longer texts are cut (`TruncationWarning`). Raises `InputError` on an empty text, a lone
        surrogate, and where the model is no classifier.
        """
        self._check_head(SEQUENCES)
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k is {top_k}, expected at least 1", hint="None gives all")
        firsts = listed(texts)
        if pairs is None:
            sequences = self._text.encode(firsts)
        else:
            sequences = self._text.encode_pairs(firsts, paired(texts, pairs))
        batches = self._batches(sequences, batch_size)
        found = heads.classify(self._session, self.config, batches, len(firsts), top_k, threshold)
        if top_k == 1 and threshold is None:
            return [labels[0] for labels in found]
        return found[0] if isinstance(texts, str) else found

    def tag(
        self,
        texts: str | Sequence[str] | Sequence[Sequence[str]],
        *,
        per_word: bool = False,
        stride: int | None = None,
        batch_size: int = 32,
    ) -> list[Entity] | list[list[Entity]] | list[WordTag] | list[list[WordTag]]:
        """Return the entities in texts, or a tag for each word.

        One string gives a list, a list of texts a list of lists. A text is a string, which BERT's
        pre-tokenization splits into words, or a list of words. A word has the tag of its first
        piece, as "first" has it in transformers' pipeline. Where the labels are of a BIO scheme,
        neighbouring words become {"entity_group", "score", "word", "start", "end"} and words
        outside are left out; for other labels, such as parts of speech, and with `per_word`, each
        word gives {"entity", "score", "word", "start", "end"}. Places are characters of the string,
        or of the words joined by spaces, and "word" is what stands there; a score is the mean
        probability of the words' tags.

        A text too long is read in parts that share `stride` pieces (see `TextEncoder`); each word
        is judged where it has most of its surroundings. Raises `InputError` on an empty text, a
        lone surrogate, and where the model tags no words.
        """
        self._check_head(TOKENS)
        single = isinstance(texts, str)
        sentences = [texts] if isinstance(texts, str) else list(texts)
        grouped = not per_word and has_entities(self.config.labels)
        found = heads.tag(
            self._session, self.config, self._text, sentences, stride, batch_size, grouped=grouped
        )
        return found[0] if single else found

    def answer(
        self,
        *,
        question: str | Sequence[str],
        context: str | Sequence[str],
        top_k: int = 1,
        longest: int = 30,
        no_answer_threshold: float | None = None,
        stride: int | None = None,
        batch_size: int = 32,
    ) -> Answer | list[Answer] | list[Answer | list[Answer]]:
        """Return where in the context the answer to a question stands.

        As transformers' pipeline for it did: {"score", "start", "end", "answer"} with characters of
        the context, or with `top_k` above 1 a list of them, the best first; for lists of questions
        or contexts a list of those (one string stands for all). The score is the probability of
        the start times that of the end, answers are whole words, at most `longest` pieces of them.
        A context too long is read in windows that share `stride` pieces.

        A model that was trained with questions without answer gives "" where none is likelier, by
        more than `no_answer_threshold` nats (None: the one that it was trained to), than the best
        answer. Raises `InputError` on an empty question or context, a lone surrogate, and where the
        model answers no questions.
        """
        self._check_head(ANSWERS)
        if top_k < 1 or longest < 1:
            what, value = ("top_k", top_k) if top_k < 1 else ("longest", longest)
            raise InputError(f"{what} is {value}, expected at least 1", hint="leave it out")
        questions, contexts = matched(question, context)
        asked = heads.Asked(self._session, self._text, longest, top_k, stride, batch_size)
        threshold = no_answer_threshold
        if threshold is None:
            threshold = self.config.no_answer_threshold
        found = [
            candidates.answers(text, top_k, threshold)
            for candidates, text in zip(
                heads.candidates(asked, questions, contexts), contexts, strict=True
            )
        ]
        answers = [each[0] if top_k == 1 else each for each in found]
        one = isinstance(question, str) and isinstance(context, str)
        return answers[0] if one else answers

    def _check_head(self, wanted: str) -> None:
        """Raise `InputError` where the model was made for another use."""
        if self.config.architecture != wanted:
            raise InputError(
                f"{self.folder} is a {self.config.architecture}, expected a {wanted}",
                hint=_MADE_BY[wanted],
            )

    def _batches(
        self, sequences: Sequence[Tokens], batch_size: int
    ) -> Iterator[tuple[list[int], Batch]]:
        return batched(sequences, batch_size, self._text.pad_id)

    def _with_gap(self, tokens: Tokens, place: int) -> Tokens:
        ids = tokens.ids.copy()
        ids[place] = self._text.mask_id
        return Tokens(ids, tokens.types)

    def _proposals(
        self, tokens: Tokens, gap: int, probabilities: FloatArray, best: IntArray
    ) -> list[Prediction]:
        """Return the predictions for one mask, given the probabilities (V,) there."""
        alone = tokens.ids.count(self._text.mask_id) == 1
        proposals: list[Prediction] = []
        for token in best.tolist():
            filled = [*tokens.ids[:gap], token, *tokens.ids[gap + 1 :]]
            shown = [piece for piece in filled if piece != self._text.pad_id]
            proposals.append(
                {
                    "score": float(probabilities[token]),
                    "token": token,
                    "token_str": self._text.decode([token]),
                    "sequence": self._text.decode(shown, special=not alone),
                }
            )
        return proposals

    def _target_ids(self, targets: str | Sequence[str]) -> IntArray:
        """Return the ids of the words that may be proposed."""
        ids: dict[int, None] = {}
        for target in listed(targets):
            check_text(target, "a target")
            token = self.tokenizer.token_to_id(target)
            if token is None:
                token = self._stand_in(target)
            if token is not None:
                ids[token] = None
        if not ids:
            raise InputError(
                "none of the targets is a word, expected at least one", hint="leave targets out"
            )
        return np.array(list(ids))

    def _stand_in(self, target: str) -> int | None:
        """Return the first piece of a word that the vocabulary lacks, and warn."""
        token = self._text.first_piece(target)
        what = "is left out" if token is None else f"{self.tokenizer.id_to_token(token)!r} is used"
        warnings.warn(f"target {target!r} is not in the vocabulary: {what}", stacklevel=4)
        return token


def _best(probabilities: FloatArray, wanted: IntArray | None, top_k: int) -> IntArray:
    """Return the ids of the `top_k` most probable pieces, of those wanted, the best first."""
    candidates = np.arange(len(probabilities)) if wanted is None else wanted
    values = probabilities[candidates]
    if top_k < len(values):
        candidates = candidates[np.argpartition(-values, top_k)[:top_k]]
        values = probabilities[candidates]
    return candidates[np.argsort(-values, kind="stable")]


def log_probability(
    logits: NDArray[np.float64], tokens: Sequence[int] | IntArray
) -> NDArray[np.float64]:
    """Return the log-probability (B,) of one token in each row of logits (B, V)."""
    peak = logits.max(axis=1)
    total = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    likelihood: NDArray[np.float64] = logits[np.arange(len(tokens)), tokens] - total
    return likelihood
