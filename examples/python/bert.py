"""Ask a folder of 25 MB with ONNX Runtime, NumPy and tokenizers; bert-mobile is not needed.

    pip install numpy onnxruntime tokenizers
    python bert.py FOLDER "The capital of France is [MASK]."
    python bert.py FOLDER "What a lovely place!"          # where FOLDER is a classifier

FOLDER is what `bert-mobile quantize` or `bert-mobile export --to onnx` wrote. Copy this file.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

Scores = NDArray[np.floating[Any]]

FILLER, CLASSIFIER = "BertForPreTraining", "BertForSequenceClassification"


class Bert:
    """A network and its tokenizer. V vocabulary, T tokens, L labels."""

    def __init__(self, folder: str | Path, *, threads: int = 0) -> None:
        """Load a folder; `threads` 0 is one for each core."""
        folder = Path(folder)
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (self.head,) = self.config["architectures"]
        tuned = (self.config.get("task_specific_params") or {}).get("bert-mobile", {})
        self.limit = tuned.get("max_length") or self.config["max_position_embeddings"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        vocabulary = self.tokenizer.get_vocab()
        self.cls, self.sep, self.mask = (vocabulary[f"[{name}]"] for name in ("CLS", "SEP", "MASK"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        (network,) = folder.glob("onnx/*.onnx")
        self.session = onnxruntime.InferenceSession(str(network), options)

    def fill_mask(self, text: str, top_k: int = 5) -> list[list[tuple[float, str]]]:
        """Return probability and word of the best proposals, a list for each `[MASK]`."""
        self._check_head(FILLER)
        pieces = self._pieces(text)
        gaps = np.flatnonzero(np.array(pieces) == self.mask)
        if not len(gaps):
            raise ValueError("the text has no [MASK]")
        kept = _around(pieces, int(gaps[0]), int(gaps[-1]), self.limit - 2)
        ids = [self.cls, *kept, self.sep]
        places = np.flatnonzero(np.array(ids) == self.mask)
        # The vocabulary product, most of the work, at these places only. Without the input
        # `logit_positions` the answer has a row for every place: logits[0, places].
        logits = self._run(ids, [0] * len(ids), logit_positions=places)[0]
        return [self._best(softmax(row), top_k) for row in logits]

    def classify(self, text: str, pair: str | None = None) -> list[tuple[float, str]]:
        """Return score and name of all labels of a text, or a pair of texts, the best first."""
        self._check_head(CLASSIFIER)
        ids, types = self._framed(self._pieces(text), None if pair is None else self._pieces(pair))
        scores = self._label_scores(self._run(ids, types)[0])
        names = self.config["id2label"]
        return [(float(scores[i]), names[str(i)]) for i in np.argsort(-scores, kind="stable")]

    def _check_head(self, wanted: str) -> None:
        # Pre-training's heads may be absent; what such a model gives is no logits then.
        has_logits = "logits" in {output.name for output in self.session.get_outputs()}
        if self.head != wanted or not has_logits:
            what = "fills no gaps" if wanted == FILLER else "classifies no texts"
            raise ValueError(f"the model, a {self.head}, {what}")

    def _framed(self, first: list[int], second: list[int] | None) -> tuple[list[int], list[int]]:
        if second is None:
            ids = [self.cls, *first[: self.limit - 2], self.sep]
            return ids, [0] * len(ids)
        first, second = _fit(first, second, self.limit - 3)
        ids = [self.cls, *first, self.sep, *second, self.sep]
        return ids, [0] * (len(first) + 2) + [1] * (len(second) + 1)

    def _pieces(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _run(self, ids: list[int], types: list[int], **more: NDArray[np.int64]) -> Scores:
        feed = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        arrays = {name: np.array([row], dtype=np.int64) for name, row in feed.items()}  # 1 T
        logits: Scores = self.session.run(["logits"], arrays | more)[0]  # 1 M V, or 1 L
        return logits

    def _best(self, scores: Scores, top_k: int) -> list[tuple[float, str]]:
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [(float(scores[token]), self.tokenizer.decode([token])) for token in best]

    def _label_scores(self, logits: Scores) -> Scores:
        kind = self.config.get("problem_type")
        if kind == "regression":
            return logits
        if kind == "multi_label_classification" or len(logits) == 1:
            return 1 / (1 + np.exp(-logits))
        return softmax(logits)


def softmax(logits: Scores) -> Scores:
    """Return probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _around(pieces: list[int], first: int, last: int, room: int) -> list[int]:
    """Return at most `room` pieces, the gaps from `first` to `last` in their middle."""
    if last < room:
        return pieces[:room]
    spare = max(0, room - (last - first + 1))
    start = min(max(0, first - spare // 2), len(pieces) - room)
    return pieces[start : start + room]


def _fit(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Cut pieces off the end of the longer text until both fit."""
    if len(first) + len(second) <= room:
        return first, second
    shorter = min(len(first), len(second), room // 2)
    if len(first) <= len(second):
        return first[:shorter], second[: room - shorter]
    return first[: room - shorter], second[:shorter]


def main(arguments: list[str]) -> str | None:
    """Print what the model in a folder says to a text, or to two; return what is wrong."""
    if len(arguments) not in (2, 3):
        return 'usage: python bert.py FOLDER "TEXT" ["SECOND TEXT"]'
    folder, text, *pair = arguments
    model = Bert(folder)
    try:
        is_classifier = model.head == CLASSIFIER
        found = [model.classify(text, *pair)] if is_classifier else model.fill_mask(text)
    except ValueError as error:
        return f"error: {error}"
    form = "8.4g" if model.config.get("problem_type") == "regression" else "8.2%"
    for gap in found:
        for score, word in gap:
            print(f"{score:{form}}  {word}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
