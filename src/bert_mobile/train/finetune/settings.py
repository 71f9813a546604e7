"""Everything that determines a fine-tuning, checked before anything starts."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields

from bert_mobile.errors import InputError
from bert_mobile.train.recipe import PRECISIONS

KINDS = ("classify", "pairs", "regress", "tag", "answer")
CLASS_WEIGHTS = ("none", "balanced")

LENGTHS = {"answer": 384}
"""Tokens of the longest sequence by kind, where it is not the usual one."""
USUAL_LENGTH = 128

USUAL_EPOCHS, MOST_EPOCHS, FEWEST_STEPS = 3.0, 20.0, 150
"""Of few examples the usual epochs are too few steps to learn from: they are read more often then
(Mosbach et al. 2021, arXiv:2006.04884)."""

LOGS, LOG_EVERY = 40, 20
"""Lines of `metrics.jsonl` that even a short run has, and steps between two lines of others."""

STEPS_BETWEEN_SAVES = 1000
"""About: a whole checkpoint is four times the model's bytes and takes as long as dozens of steps on
a GPU, so that shorter runs save none but the result."""

SHAPELESS = (
    "train", "dev", "text", "label", "encoding", "header", "form", "skip_unlabelled",
    "model", "teacher", "calibration", "log_every", "save_every",
)  # fmt: skip
"""What shapes no weights by its name: of data, model and teacher the hashes are compared."""


@dataclass(frozen=True)
class FinetuneSettings:
    """What to learn, from what, and how."""

    kind: str
    """`classify` (a text), `pairs` (two texts), `regress` (one or two texts to a number), `tag` (a
    label for every word) or `answer` (a span of a context)."""
    train: str = ""
    """File of labelled examples; "" where a program brings them."""
    dev: str | None = None
    """File to judge by; None: a tenth of `train` is held out."""
    text: tuple[str, ...] = ()
    """Columns of the text or the two texts; guessed where not given."""
    label: str | None = None
    """Column of the label or the number; guessed where not given."""
    encoding: str = "utf-8"
    """Of the files, as Python calls it."""
    header: bool | None = None
    """Whether CSV and TSV files have one; None: whether it looks like it."""
    form: str | None = None
    """What the files are, whatever their names (`labelled.kinds.KINDS`)."""
    skip_unlabelled: bool = False
    """Whether what has no label is left out, rather than refused."""
    several: bool = False
    """Whether a text may have any number of labels."""
    model: str = "default"
    """What to start from: `default`, a folder, or a name on the Hub."""
    epochs: float | None = None
    """How often every example is read. None: 3 times (Devlin et al. 2018 chose among 2, 3 and 4);
    more, up to 20, where that makes fewer than 150 steps."""
    batch_size: int = 32
    """Examples in a step."""
    learning_rate: float = 5e-5
    """Peak. BERT's own choice was among 2e-5, 3e-5 and 5e-5; networks smaller than BERT-base, such
    as ours, want the largest of them or more, and 5e-5 seldom diverges."""
    warmup_share: float = 0.1
    """Part of the steps over which the learning rate rises; then it falls linearly to 0."""
    max_length: int | None = None
    """Tokens of the longest sequence, special ones included; longer texts are cut, and contexts
    read in windows. None: 128, and 384 for `answer`, as far as the model has positions."""
    stride: int | None = None
    """Tokens that neighbouring windows of a context share, for `answer`; None: 128, or half of a
    window where that is less."""
    dropout: float | None = None
    """In the hidden states, the attention and before the head. None: 0.1; 0 for `qat`, whose
    teacher answers without."""
    weight_decay: float = 0.01
    """Decoupled; not applied to biases and LayerNorms."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of all parameters together."""
    label_smoothing: float = 0.0
    """Part of the probability that is spread over all classes, for single labels and tags."""
    class_weights: str = "none"
    """`balanced`: every class weighs the same in the loss, however few examples it has."""
    seed: int = 1
    """Of the fresh head, dropout and the order of the examples."""
    metric: str | None = None
    """What decides which weights are best; None: the first of the task's, or the usual one."""
    evaluations_per_epoch: int = 1
    """How often the dev examples are judged in an epoch."""
    patience: int | None = None
    """Stop after so many judgements without a better one; None: never. The best weights, of equally
    good ones the latest, are kept and shipped in either case."""
    teacher: str | None = None
    """Folder of a fine-tuned BERT whose answers are learned too."""
    teacher_temperature: float = 2.0
    """What both sides' logits are divided by (Hinton et al. 2015)."""
    teacher_weight: float | None = None
    """Part of the loss that is the teacher's answers; the labels are the rest. None: a half; all of
    it for `qat`, where the labels would pull away from the model that is to be kept."""
    relation_weight: float = 0.0
    """Weight of the teacher's attention relations beside that (MiniLMv2, Wang et al. 2020)."""
    qat: bool = False
    """Quantization-aware: `model`, fine-tuned for this very task, learns to answer with its weights
    rounded, from the examples and from its own answers as it was: it is the teacher."""
    max_bytes: int | None = None
    """What the quantized model may weigh, for `qat`."""
    calibration: str | None = None
    """Text that the bits are chosen by, for `qat`; None: some of the train examples."""
    precision: str = "auto"
    """As in a pre-training recipe: `auto`, `bf16`, `fp16` or `fp32`."""
    log_every: int | None = None
    """Steps between two lines of `metrics.jsonl`; None: 20, fewer in a run of few steps."""
    save_every: int | None = None
    """Steps between two checkpoints to go on from; None: whole epochs of about 1,000."""

    def __post_init__(self) -> None:
        """Refuse contradictions; each message names the field."""
        for field in fields(self):  # 3 epochs are 3.0
            if field.type in (float, float | None) and getattr(self, field.name) is not None:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        if isinstance(self.text, str):
            object.__setattr__(self, "text", (self.text,))
        _one_of("kind", self.kind, KINDS)
        _one_of("class_weights", self.class_weights, CLASS_WEIGHTS)
        _one_of("precision", self.precision, PRECISIONS)
        self._check_ranges()
        self._check_combinations()

    def _check_ranges(self) -> None:
        for name in ("epochs", "learning_rate", "clip_norm", "teacher_temperature"):
            value = getattr(self, name)
            _require(
                value is None or 0 < value < math.inf, f"{name} is {value}, expected more than 0"
            )
        for name in ("batch_size", "evaluations_per_epoch", "log_every", "save_every", "patience"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} is {value}, expected at least 1")
        for name in ("dropout", "warmup_share", "label_smoothing"):
            value = getattr(self, name)
            _require(
                value is None or 0 <= value < 1, f"{name} is {value}, expected 0 up to below 1"
            )
        for name in ("weight_decay", "relation_weight", "stride"):
            value = getattr(self, name)
            _require(
                value is None or 0 <= value < math.inf, f"{name} is {value}, expected at least 0"
            )
        share = self.teacher_weight
        _require(
            share is None or 0 < share <= 1, f"teacher_weight is {share}, expected over 0 up to 1"
        )
        _require(0 <= self.seed < 2**31, f"seed is {self.seed}, expected 0 to 2**31 - 1")
        length = self.max_length
        _require(length is None or length >= 8, f"max_length is {length}, expected at least 8")

    def _check_combinations(self) -> None:
        classes = self.kind in ("classify", "pairs")
        _require(
            classes or not self.several,
            f"several labels are for classify and pairs, not {self.kind}",
        )
        balanced = self.class_weights == "balanced"
        _require(
            not balanced or classes or self.kind == "tag",
            f"class_weights are for classes and tags, not for {self.kind}",
        )
        smooth = self.kind == "tag" or (classes and not self.several)
        _require(
            smooth or not self.label_smoothing,
            "label_smoothing is for single labels and tags only",
        )
        _require(
            self.teacher is None or self.kind != "answer",
            "a teacher is for texts, pairs and tags, not for answer",
        )
        _require(
            not self.relation_weight or self.teacher is not None,
            f"relation_weight is {self.relation_weight} without a teacher",
        )
        self._check_rounding()
        _require(
            self.kind == "regress" or len(self.text) < 2 or self.kind == "pairs",
            f"{len(self.text)} text columns are given, expected one for {self.kind}",
        )

    def _check_rounding(self) -> None:
        if self.qat:
            _require(self.max_bytes is not None, "qat is given without max_bytes")
            _require(self.teacher is None, "a teacher is given beside qat, whose teacher is model")
            return
        for name in ("max_bytes", "calibration"):
            _require(getattr(self, name) is None, f"{name} is given without qat")

    @property
    def usual_length(self) -> int:
        """Tokens of the longest sequence where nothing else is asked for."""
        return LENGTHS.get(self.kind, USUAL_LENGTH)

    @property
    def usual_dropout(self) -> float:
        """The dropout that is asked for, or the usual one."""
        if self.dropout is not None:
            return self.dropout
        return 0.0 if self.qat else 0.1

    @property
    def teacher_share(self) -> float:
        """The weight of the teacher that is asked for, or the usual one."""
        if self.teacher_weight is not None:
            return self.teacher_weight
        return 1.0 if self.qat else 0.5

    @property
    def fingerprint(self) -> str:
        """Hash of all that shapes the weights, but for the data, the model and the teacher."""
        shaping = {k: v for k, v in asdict(self).items() if k not in SHAPELESS}
        shaping |= {"dropout": self.usual_dropout, "teacher_weight": self.teacher_share}
        if not self.qat:  # the runs before there was any are still the same
            shaping = {k: v for k, v in shaping.items() if k not in ("qat", "max_bytes")}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Course:
    """The schedule of a fine-tuning, once the number of steps is known (see `train.schedule`)."""

    steps: int
    evaluate_every: int
    save_every: int
    warmup_steps: int
    decay_share: float
    learning_rate: float
    weight_decay: float
    clip_norm: float
    precision: str
    seed: int
    log_every: int
    tokens: None = None
    hours: None = None
    shares: tuple[float, ...] = (1.0,)
    rewarm_steps: int = 0
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    average_decay: float = 0.0

    @classmethod
    def of(cls, settings: FinetuneSettings, steps_per_epoch: int) -> "Course":
        """Return the schedule of `settings` for epochs of so many steps."""
        epochs = settings.epochs or usual_epochs(steps_per_epoch)
        steps = max(1, round(epochs * steps_per_epoch))
        epochs_a_save = math.ceil(STEPS_BETWEEN_SAVES / steps_per_epoch)
        return cls(
            steps=steps,
            evaluate_every=math.ceil(steps_per_epoch / settings.evaluations_per_epoch),
            save_every=settings.save_every or steps_per_epoch * epochs_a_save,
            warmup_steps=round(settings.warmup_share * steps),
            decay_share=1 - settings.warmup_share,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            precision=settings.precision,
            seed=settings.seed,
            log_every=settings.log_every or min(LOG_EVERY, math.ceil(steps / LOGS)),
        )


def usual_epochs(steps_per_epoch: int) -> float:
    """Return how often examples are read that make so many steps, where nothing else is said."""
    return min(MOST_EPOCHS, max(USUAL_EPOCHS, math.ceil(FEWEST_STEPS / steps_per_epoch)))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f"{name} is {value!r}, expected {' or '.join(allowed)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message, hint="correct the setting or the option of that name")
