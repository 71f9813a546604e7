"""Recipes: one complete TOML file for one run, checked before anything starts.

The first line of a recipe is the command that runs it. Every field below may stand in the file
under its own name; a name that is not here is refused.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from bert_mobile.errors import InputError
from bert_mobile.examples import SHORTEST_SEQUENCE
from bert_mobile.variants import VARIANTS

Section = TypeVar("Section")

_SHAPELESS = (
    "corpus",
    "initialize_from",
    "calibration",
    "log_every",
    "evaluate_every",
    "evaluation_batches",
    "evaluation_batch_size",
    "evaluation_sequence_length",
    "save_every",
)
_OF_ROUNDING = ("qat", "max_bytes", "teacher_weight")
PRECISIONS = ("auto", "bf16", "fp16", "fp32")
OPTIMIZERS = ("adamw", "muon")
OBJECTIVES = ("masked", "all")


@dataclass(frozen=True)
class Phase:
    """A stretch of the run with sequences and batches of one size."""

    share: float
    """Part of the whole budget; the shares of all phases add up to 1."""
    sequence_length: int
    """Tokens of a pair, special ones included."""
    batch_size: int
    """Pairs in a step."""
    masking_rate: float = 0.15
    """Part of the text's tokens that are hidden."""
    objective: str = "masked"
    """`masked`: the network is asked for the hidden tokens, as BERT is; `all`: for every token of
    the text, hidden or not (ELECTRA's "all-tokens MLM" without its copying; arXiv:2003.10555)."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a pre-training run."""

    corpus: str
    """Folder of a built corpus."""
    phases: tuple[Phase, ...]
    """One after the other: the card has two, of 128 and of 512 tokens."""
    variant: str = "mobile"
    """Which of the nine sizes; the vocabulary's size is the corpus's."""
    initialize_from: str | None = None
    """Checkpoint to start from (see `bert-mobile grow`); from scratch without one."""
    steps: int | None = None
    """Budget in steps. Exactly one of `steps`, `tokens` and `hours` is given."""
    tokens: int | None = None
    """Budget in tokens, padding not counted."""
    hours: float | None = None
    """Budget in hours of this machine, evaluation and saving included."""
    optimizer: str = "adamw"
    """`adamw`, or `muon`: Muon for the matrices of the layers, AdamW for all else."""
    learning_rate: float = 1e-4
    """Peak, reached after the warm-up and held until the decay."""
    warmup_steps: int = 9_000
    """Steps over which the learning rate rises from 0."""
    rewarm_steps: int = 100
    """The same where a run goes on from weights alone, whose optimizer has forgotten everything."""
    decay_share: float = 1.0
    """Last part of the budget, over which the learning rate falls linearly to 0. 1 is BERT's decay
    from the start; less is a schedule of warm-up, plateau and decay."""
    beta1: float = 0.9
    """Adam's memory of the gradient."""
    beta2: float = 0.999
    """Adam's memory of the squared gradient."""
    epsilon: float = 1e-6
    """Adam's floor under the square root, as in google-research/bert."""
    weight_decay: float = 0.01
    """Decoupled; not applied to biases and LayerNorms."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of all parameters together."""
    dropout: float = 0.1
    """In the hidden states and the attention."""
    next_sentence_weight: float = 1.0
    """Weight of the next-sentence loss beside the masked-token loss."""
    z_loss_weight: float = 0.0
    """Weight of the squared log-normaliser of the logits (PaLM, arXiv:2204.02311), which keeps
    them small."""
    average_decay: float = 0.0
    """Of the exponential moving average of the weights, which is then what is judged and shipped;
    0 for none."""
    qat: bool = False
    """Quantization-aware: `initialize_from` learns to answer with its weights rounded, from the
    text and from its own answers as it was: it is the teacher."""
    max_bytes: int | None = None
    """What the quantized model may weigh, for `qat`."""
    calibration: str | None = None
    """File of text that the bits are chosen by, for `qat`; some of the training text without."""
    teacher_weight: float = 0.5
    """Part of the loss that is the teacher's answers, for `qat`; the text is the rest."""
    precision: str = "auto"
    """`bf16` autocast, `fp32`, `auto`: bf16 where the processor multiplies it natively, or `fp16`
    with loss scaling on CUDA, which is `auto` elsewhere."""
    seed: int = 1
    """Of fresh weights, dropout and the order of the data."""
    log_every: int = 20
    """Steps between two lines of `metrics.jsonl`."""
    evaluate_every: int = 500
    """Steps between two looks at the held-out split."""
    evaluation_batches: int = 20
    """Batches of each such look, always the same ones."""
    evaluation_batch_size: int | None = None
    """Pairs in each; by default the smallest of the phases' batches. Runs that differ there are
    compared on the same pairs only where this and the next are given."""
    evaluation_sequence_length: int | None = None
    """Tokens of each pair; by default those of the longest phase."""
    save_every: int = 500
    """Steps between two checkpoints; the last two are kept."""

    def __post_init__(self) -> None:
        """Refuse contradictions; each message names the field."""
        budgets = [self.steps, self.tokens, self.hours]
        _require(
            sum(budget is not None for budget in budgets) == 1,
            "exactly one of steps, tokens and hours must be given",
        )
        for budget in budgets:
            _require(budget is None or budget > 0, f"a budget of {budget} is none at all")
        _require(self.variant in VARIANTS, f"variant {self.variant!r} is not in {[*VARIANTS]}")
        _require(bool(self.phases), "phases is empty, expected at least one")
        total = sum(self.shares)
        _require(abs(total - 1) < 1e-6, f"the shares of phases add up to {total:g}, expected 1")
        for phase in self.phases:
            _require(phase.share > 0 and phase.batch_size > 0, f"{phase} has no examples")
            _one_of("objective", phase.objective, OBJECTIVES)
            _require(
                0 < phase.masking_rate < 1,
                f"masking_rate is {phase.masking_rate:g}, expected a number between 0 and 1",
            )
            _require(
                phase.sequence_length >= SHORTEST_SEQUENCE,
                f"sequence_length is {phase.sequence_length}, expected {SHORTEST_SEQUENCE} or more",
            )
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _require(
            0 < self.decay_share <= 1, f"decay_share is {self.decay_share}, expected over 0 up to 1"
        )
        _require(0 <= self.dropout < 1, f"dropout is {self.dropout}, expected 0 up to below 1")
        _require(0 <= self.seed < 2**31, f"seed is {self.seed}, expected 0 to 2**31 - 1")
        for name in ("learning_rate", "epsilon", "clip_norm"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, expected > 0")
        for name in ("beta1", "beta2", "average_decay"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} is {value}, expected 0 up to below 1")
        for name in ("log_every", "evaluate_every", "evaluation_batches", "save_every"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, expected > 0")
        for name in ("evaluation_batch_size", "evaluation_sequence_length"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"{name} is {value}, expected > 0")
        for name in (
            "warmup_steps",
            "rewarm_steps",
            "weight_decay",
            "next_sentence_weight",
            "z_loss_weight",
        ):
            _require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, expected >= 0")
        self._check_rounding()

    def _check_rounding(self) -> None:
        share = self.teacher_weight
        _require(0 < share <= 1, f"teacher_weight is {share}, expected over 0 up to 1")
        for name in ("max_bytes", "initialize_from") if self.qat else ():
            _require(getattr(self, name) is not None, f"qat is given without {name}")
        for name in () if self.qat else ("max_bytes", "calibration"):
            _require(getattr(self, name) is None, f"{name} is given without qat")

    @property
    def shares(self) -> tuple[float, ...]:
        """Parts of the budget that the phases take."""
        return tuple(phase.share for phase in self.phases)

    @property
    def fingerprint(self) -> str:
        """Hash of all that shapes the weights: a run resumes only with the recipe it began with.

        Where the corpus lies (its hash is compared), how often the run is looked at and saved, and
        what it started from, which it has left behind, shape nothing any more; of a teacher the
        weights are compared. Runs from before there was rounding are still the same.
        """
        left = _SHAPELESS if self.qat else (*_SHAPELESS, *_OF_ROUNDING)
        shaping = {k: v for k, v in asdict(self).items() if k not in left}
        text = json.dumps(shaping, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; `changes` (field → value) take precedence over the file.

    A change of one budget field replaces the file's budget. Raises `InputError` naming the field
    where the file is missing, is no TOML, or does not make a recipe.
    """
    raw = read_toml(path)
    budgets = {"steps", "tokens", "hours"}
    wanted = {key: value for key, value in (changes or {}).items() if value is not None}
    if budgets & wanted.keys():
        raw = {key: value for key, value in raw.items() if key not in budgets}
    raw.update(wanted)
    return recipe_of(raw, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises `InputError` where it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="give a recipe file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML: {error}", hint="compare with recipes/") from error


def recipe_of(raw: Mapping[str, Any], where: str) -> Recipe:
    """Make a recipe of a TOML table. Raises `InputError` naming the field, and `where` it is."""
    phases = raw.get("phases", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise InputError(f"{where}: phases is no list of tables", hint="write [[phases]]")
    made = tuple(_section(Phase, phase, f"{where}, phases") for phase in phases)
    return _section(Recipe, {**raw, "phases": made}, where)


def settings_of(kind: type[Section], given: Mapping[str, Any], more: Sequence[str] = ()) -> Section:
    """Make settings of options: `given` by field, and `more` of the form NAME=VALUE.

    A value is written as in TOML; what is none is a string. Raises `InputError` naming the option.
    """
    named = dict(given)
    for word in more:
        name, sign, text = word.partition("=")
        if not sign:
            raise InputError(f"--set {word}: expected NAME=VALUE", hint="--set dropout=0.2")
        named[name.strip().replace("-", "_")] = _toml_value(text)
    return _section(kind, named, "the options")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(kind: type[Section], raw: Mapping[str, Any], where: str) -> Section:
    """Build a dataclass from a TOML table, every name and type checked."""
    hints = get_type_hints(kind)
    unknown = sorted(raw.keys() - hints.keys())
    if unknown:
        raise InputError(
            f"{where}: {unknown[0]!r} is no field of a recipe",
            hint=f"the fields are {', '.join(hints)}",
        )
    required = [f.name for f in fields(kind) if f.default is MISSING]  # type: ignore[arg-type]
    missing = [name for name in required if name not in raw]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing", hint="compare with recipes/")
    typed = {name: _typed(value, hints[name], name, where) for name, value in raw.items()}
    try:
        return kind(**typed)
    except InputError as error:
        raise InputError(f"{where}: {error.message}", hint=error.hint) from error


def _typed(value: Any, hint: Any, name: str, where: str) -> Any:
    """Return `value` as the field's type; whole numbers will do where a float is expected."""
    if name == "phases":
        return value
    if hint == tuple[str, ...]:
        return _names(value, name, where)
    allowed = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if type(value) in allowed and (type(value) is not float or math.isfinite(value)):
        return value
    if float in allowed and type(value) is int:
        return float(value)
    expected = next(kind.__name__ for kind in allowed if kind is not type(None))
    raise InputError(
        f"{where}: {name} is {value!r}, expected {expected}", hint="correct the recipe"
    )


def _names(value: Any, name: str, where: str) -> tuple[str, ...]:
    """Return the strings of a field that may have several."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not all(isinstance(each, str) for each in several):
        raise InputError(
            f"{where}: {name} is {value!r}, expected a string, or several in a list",
            hint="correct the recipe",
        )
    return tuple(several)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f"{name} is {value!r}, expected {' or '.join(allowed)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message, hint="correct the recipe or the option of that name")
