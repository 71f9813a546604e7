"""The shape of a BERT and what its head answers, as `config.json` states them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.files import read_json
from bert_mobile.model.labels import check_labels, read_labels
from bert_mobile.variants import (
    MAX_POSITION_EMBEDDINGS,
    TYPE_VOCABULARY_SIZE,
    VARIANTS,
    VOCABULARY_SIZE,
)

PRETRAINING = "BertForPreTraining"
SEQUENCES = "BertForSequenceClassification"
"""One answer for a text or a pair of texts: classes, or a number."""
TOKENS = "BertForTokenClassification"
"""A label for every word."""
ANSWERS = "BertForQuestionAnswering"
"""The start and the end of an answer within a text."""
TASKS = (SEQUENCES, TOKENS, ANSWERS)

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

_OURS = "bert-mobile"  # our key in config.json's task_specific_params
_TASK_FIELDS = ("architecture", "labels", "problem_type", "max_length", "no_answer_threshold")
_LARGEST_THRESHOLD = 1e6
_SHORTEST = 8  # tokens: less holds no question beside its context

# What a config.json may say of features that we do not have; anything else is another network.
_REQUIRED = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
}


@dataclass(frozen=True)
class BertConfig:
    """A post-LayerNorm BERT with exact GELU and learned absolute positions (Devlin et al. 2018)."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int = VOCABULARY_SIZE
    max_position_embeddings: int = MAX_POSITION_EMBEDDINGS
    type_vocab_size: int = TYPE_VOCABULARY_SIZE
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int = 0
    architecture: str = PRETRAINING
    """transformers' class for it: `PRETRAINING` or one of `TASKS`."""
    labels: tuple[str, ...] = ()
    """Names of the classes, for `SEQUENCES` and `TOKENS`."""
    problem_type: str | None = None
    """For `SEQUENCES`: `SINGLE_LABEL`, `MULTI_LABEL` or `REGRESSION`; None: not stated."""
    max_length: int | None = None
    """Tokens that it was fine-tuned with, which is where longer texts are cut."""
    no_answer_threshold: float | None = None
    """For `ANSWERS`: there is no answer where "none" is so much likelier, in nats, than the best
    one; None: every question has an answer."""

    def __post_init__(self) -> None:
        """Refuse shapes that no network can have."""
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "pad_token_id" else 1
            if field.type is int and (type(value) is not int or not least <= value < 2**31):
                raise ArtifactError(
                    f"{field.name} is {value!r}, expected a whole number of at least {least}",
                    hint="correct config.json or the recipe's shape",
                )
            if field.type is float and (type(value) not in (int, float) or not 0 <= value <= 1):
                raise ArtifactError(
                    f"{field.name} is {value!r}, expected a number between 0 and 1",
                    hint="correct config.json or the recipe's dropout",
                )
        if self.hidden_size % self.num_attention_heads:
            raise ArtifactError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}",
                hint="correct config.json or the recipe's shape",
            )
        self._check_task()

    def _check_task(self) -> None:
        """Refuse heads that contradict themselves."""
        if self.architecture not in (PRETRAINING, *TASKS):
            raise ArtifactError(
                f"the architecture is {self.architecture!r}, expected one of "
                f"{', '.join((PRETRAINING, *TASKS))}",
                hint="correct config.json",
            )
        check_labels(self.labels, wanted=self.architecture in (SEQUENCES, TOKENS))
        accepted: tuple[str | None, ...] = (None,)
        if self.architecture == SEQUENCES:
            one = (SINGLE_LABEL,) if len(self.labels) > 1 else ()
            accepted = (None, MULTI_LABEL, REGRESSION, *one)
        length, longest = self.max_length, self.max_position_embeddings
        threshold = self.no_answer_threshold
        _expect(
            self.problem_type in accepted,
            f"problem_type is {self.problem_type!r}, expected {_one_of(accepted)} for a "
            f"{self.architecture} of {len(self.labels)} labels",
        )
        _expect(
            length is None or (type(length) is int and _SHORTEST <= length <= longest),
            f"max_length is {length!r}, expected {_SHORTEST} to {longest}, the positions it has",
        )
        _expect(
            threshold is None or (_is_number(threshold) and self.architecture == ANSWERS),
            f"no_answer_threshold is {threshold!r}, expected a number of nats, in a {ANSWERS} only",
        )

    @property
    def head_outputs(self) -> int:
        """Numbers that the head of a task gives for a text or a token."""
        return 2 if self.architecture == ANSWERS else len(self.labels)

    @property
    def has_pooler(self) -> bool:
        """Whether its class in transformers reads the pooler."""
        return self.architecture in (PRETRAINING, SEQUENCES)

    def with_task(self, architecture: str, **changes: Any) -> "BertConfig":
        """Return the same encoder under another head, which `changes` describe."""
        blank = {field.name: field.default for field in fields(self) if field.name in _TASK_FIELDS}
        return replace(self, **{**blank, "architecture": architecture, **changes})

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def of_variant(cls, name: str, **changes: Any) -> "BertConfig":
        """Return the shape of one of the nine sizes; `changes` are fields that differ from it."""
        if name not in VARIANTS:
            raise ArtifactError(
                f"there is no size called {name!r}, expected one of {', '.join(VARIANTS)}",
                hint="bert-mobile models",
            )
        variant = VARIANTS[name]
        shape = {
            "num_hidden_layers": variant.num_hidden_layers,
            "hidden_size": variant.hidden_size,
            "num_attention_heads": variant.num_attention_heads,
            "intermediate_size": variant.intermediate_size,
        }
        return cls(**{**shape, **changes})

    @classmethod
    def read(cls, folder: Path) -> "BertConfig":
        """Read `folder/config.json`, ours or one written by transformers.

        Raises `ArtifactError` where it is missing, damaged or describes a network that is not a
        plain BERT; fields that change no output (such as `torch_dtype`) are passed over.
        """
        path = folder / "config.json"
        raw = read_json(path, "the config.json of a BERT checkpoint")
        for key, accepted in _REQUIRED.items():
            if raw.get(key, accepted[-1]) not in accepted:
                raise ArtifactError(
                    f"{path} says {key} is {raw[key]!r}, expected {accepted[0]!r}",
                    hint="only plain BERT checkpoints can be read",
                )
        shape = {field.name for field in fields(cls)}.difference(_TASK_FIELDS)
        stated = {key: value for key, value in raw.items() if key in shape}
        try:
            return cls(**stated, **_read_task(raw, path))
        except TypeError as error:
            missing = str(error).split("argument", 1)[-1].lstrip("s: ")
            raise ArtifactError(
                f"{path} lacks {missing}, expected the shape of a BERT",
                hint="the file is damaged or another kind of model's",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the object for `config.json`, as transformers and transformers.js read it."""
        names = [field.name for field in fields(self) if field.name not in _TASK_FIELDS]
        return {
            "architectures": [self.architecture],
            "model_type": "bert",
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "initializer_range": 0.02,
            **{name: getattr(self, name) for name in names},
            **self._task_to_json(),
        }

    def _task_to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.labels:
            found["id2label"] = {str(number): label for number, label in enumerate(self.labels)}
            found["label2id"] = {label: number for number, label in enumerate(self.labels)}
        if self.problem_type is not None:
            found["problem_type"] = self.problem_type
        own = {name: getattr(self, name) for name in ("max_length", "no_answer_threshold")}
        own = {name: value for name, value in own.items() if value is not None}
        return {**found, "task_specific_params": {_OURS: own}} if own else found


def _read_task(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the fields of a config that say what its head answers.

    Architectures that we have no head for (such as `BertModel`) count as pre-training's, of which
    heads may be absent.
    """
    stated = raw.get("architectures")
    names = stated if isinstance(stated, list) else []
    architecture = next((name for name in names if name in TASKS), PRETRAINING)
    found: dict[str, Any] = {"architecture": architecture}
    if architecture in (SEQUENCES, TOKENS):
        found["labels"] = read_labels(raw, path)
    if architecture == SEQUENCES:
        found["problem_type"] = raw.get("problem_type")
    own = raw.get("task_specific_params")
    own = own.get(_OURS) if isinstance(own, dict) else None
    if isinstance(own, dict):
        kept = ("max_length", "no_answer_threshold")
        found |= {name: own[name] for name in kept if name in own}
    return found


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise ArtifactError(message, hint="correct config.json or the settings of the fine-tuning")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= _LARGEST_THRESHOLD


def _one_of(values: tuple[str | None, ...]) -> str:
    return ", ".join([*(value for value in values if value), "or nothing"])
