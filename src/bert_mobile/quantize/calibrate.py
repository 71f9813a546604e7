"""What the weights are used for, measured by running the float32 network over some text.

Two measurements guide the rounding. One pass over the text collects, for every product W·x, the
mean and the covariance of x: what a rounding error of W does to the product (see `rounding`). Then
any weights can be replaced by rounded ones, and `Calibrator.loss_increase` says what that costs:
the Kullback-Leibler divergence, in nats, of the answers from those of the float32 network.

The text is asked what the network was made for. With a masked-token head 15 % of the pieces are
hidden and the answers at those places judged; with a next-sentence head each line is cut in two in
its middle, unless a tab says where. Other heads are judged by their own answers, a bare encoder by
the squared relative change of its last layer.

Dimensions: T tokens, R rows that go through a product, C columns of its matrix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bert_mobile.errors import ArtifactError, MissingExtraError
from bert_mobile.judging.heads import gives_number
from bert_mobile.model.config import MULTI_LABEL, BertConfig
from bert_mobile.progress import progress
from bert_mobile.quantize.graph import build_graph
from bert_mobile.quantize.interface import HIDDEN, LOGITS, NEXT_SENTENCE, POSITIONS, WORDS
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.quantize.text import CalibrationText, Line, read_lines

try:
    from onnx import ModelProto, TensorProto, helper
except ImportError:
    raise MissingExtraError("onnx", "export") from None

OUTPUT_WORDS = "calibration:output_words"
"""Name under which the word embedding is replaced in the output product alone."""

LINES_FOR_LOSS = 8
_LINES_AT_ONCE = 8  # whose rows are multiplied together, and held in memory until then


@dataclass(frozen=True)
class Moments:
    """What flows into one product over the calibration text."""

    mean: FloatArray
    """E[x], (C,)."""
    covariance: FloatArray
    """E[(x − E[x])·(x − E[x])ᵀ], (C, C)."""


class Calibrator:
    """The float32 network and the text to run it on."""

    def __init__(
        self,
        config: BertConfig,
        weights: Mapping[str, FloatArray],
        tokenizer: Tokenizer,
        text: Path,
    ) -> None:
        """Read the text (see `text.read_lines`) and ask the network about a few of its lines.

        Raises as `read_lines` does, and `ArtifactError` where an answer is not finite.
        """
        self._config = config
        model = build_graph(config, weights)
        outputs = [output.name for output in model.graph.output]
        self._judged = [name for name in outputs if name != HIDDEN] or [HIDDEN]
        self.text: CalibrationText = read_lines(
            text,
            tokenizer,
            limit=config.max_position_embeddings,
            masked=LOGITS in outputs and _chooses(model),
            halved=NEXT_SENTENCE in outputs,
            paired=config.type_vocab_size > 1,
        )
        _separate_output_words(model)
        self._inputs_of = _observe(model)
        self._replaceable = _let_replace(model)
        self._session = _open(model)
        self._choosing = _chooses(model)
        few = -(-len(self.text.lines) // LINES_FOR_LOSS)
        self._few = self.text.lines[::few]
        self._reference = [self._run(self._judged, line) for line in self._few]
        for answers in self._reference:
            _refuse_infinite(*answers)

    def moments(self) -> dict[str, Moments]:
        """Return what flows into the product with each weight (·, C), by its name.

        Raises `ArtifactError` where it is too large to be multiplied by itself.
        """
        names = sorted(set(self._inputs_of.values()))
        sums = {name: _Sums() for name in names}
        lines = self.text.lines
        with progress("calibrating", len(lines), "lines") as bar:
            for start in range(0, len(lines), _LINES_AT_ONCE):
                some = [self._run(names, each) for each in lines[start : start + _LINES_AT_ONCE]]
                for name, values in zip(names, zip(*some, strict=True), strict=True):
                    sums[name].add(values)
                bar.advance(len(some))
        found = {name: total.moments() for name, total in sums.items()}
        _refuse_infinite(*(moments.covariance for moments in found.values()))
        return {weight: found[name] for weight, name in self._inputs_of.items()}

    def loss_increase(self, replaced: Mapping[str, FloatArray]) -> float:
        """Return what it costs to answer with `replaced` in the place of weights of those names.

        The word embedding serves its look-up under its own name and the output product under
        `OUTPUT_WORDS`. The sum over heads of the mean divergence of an answer, over a few lines.
        Raises `ArtifactError` where it is not finite.
        """
        known = {name: array for name, array in replaced.items() if name in self._replaceable}
        increases = [
            self._divergence(output, still, moved)
            for line, reference in zip(self._few, self._reference, strict=True)
            for output, still, moved in zip(
                self._judged, reference, self._run(self._judged, line, known), strict=True
            )
        ]
        loss = sum(increases) / len(self._few)
        _refuse_infinite(loss)
        return loss

    def _divergence(self, output: str, still: FloatArray, moved: FloatArray) -> float:
        if output == HIDDEN:
            return _mean_square(moved - still) / (_mean_square(still) or 1.0)  # it may be all zeros
        if gives_number(self._config):
            return _mean_square(moved - still)
        if self._config.problem_type == MULTI_LABEL:  # a yes or no for each
            still, moved = (np.stack([each, np.zeros_like(each)], -1) for each in (still, moved))
        before, after = _log_chances(still), _log_chances(moved)
        return float(np.mean(np.sum(np.exp(before) * (before - after), axis=-1)))

    def _run(
        self, outputs: list[str], line: Line, replaced: Mapping[str, FloatArray] | None = None
    ) -> list[FloatArray]:
        chosen = {POSITIONS: line.positions} if self._choosing else {}
        values: list[FloatArray] = self._session.run(
            outputs, {**line.feed, **chosen, **(replaced or {})}
        )
        return values


class _Sums:
    """Sums over the rows that went into one product so far.

    They are taken about the mean of the first rows: where inputs hardly vary, as those of a pooler
    may, float32 would lose their covariance beside the square of their mean.
    """

    def __init__(self) -> None:
        self._rows, self._first, self._second = 0, np.zeros(1), np.zeros((1, 1))
        self._about: FloatArray | None = None

    def add(self, values: Sequence[FloatArray]) -> None:
        """Count rows in, arrays of (R, C)."""
        rows = np.concatenate(values)
        if self._about is None:
            self._about = rows.mean(axis=0)
        self._rows += len(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            rows = rows - self._about
            self._first = self._first + rows.sum(axis=0, dtype=np.float64)
            self._second = self._second + rows.T @ rows

    def moments(self) -> Moments:
        """Return mean and covariance."""
        shift = self._first / self._rows
        covariance = self._second / self._rows - np.outer(shift, shift)
        mean = shift if self._about is None else self._about + shift
        return Moments(mean.astype(np.float32), covariance.astype(np.float32))


def _refuse_infinite(*values: FloatArray | float) -> None:
    if not all(np.isfinite(each).all() for each in values):
        raise ArtifactError(
            "numbers of the network on the calibration text are NaN or infinite, or too large to "
            "be compared",
            hint="its weights are too large: take an earlier checkpoint, or train it again with a "
            "lower learning rate",
        )


def _mean_square(values: FloatArray) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def _log_chances(logits: FloatArray) -> NDArray[np.float64]:
    """Return log-softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _chooses(model: ModelProto) -> bool:
    return any(value.name == POSITIONS for value in model.graph.input)


def _open(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _separate_output_words(model: ModelProto) -> None:
    """Give the output product a word embedding of its own, to be replaced alone."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] == WORDS:
            (words,) = (each for each in model.graph.initializer if each.name == WORDS)
            copy = TensorProto()
            copy.CopyFrom(words)
            copy.name = node.input[1] = OUTPUT_WORDS
            model.graph.initializer.append(copy)
            return


def _observe(model: ModelProto) -> dict[str, str]:
    """Make the input of every product an output as well; return its name by the weight's."""
    graph = model.graph
    products = [node for node in graph.node if node.op_type == "Gemm"]
    for x in dict.fromkeys(node.input[0] for node in products):
        graph.output.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, ["rows", "width"]))
    named = {node.input[1]: node.input[0] for node in products}
    return {WORDS if name == OUTPUT_WORDS else name: x for name, x in named.items()}


def _let_replace(model: ModelProto) -> set[str]:
    """Let a run replace any weight: in ONNX, an initializer that is also an input is a default."""
    weights = [
        tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT
    ]
    for tensor in weights:
        value = helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        model.graph.input.append(value)
    return {tensor.name for tensor in weights}
