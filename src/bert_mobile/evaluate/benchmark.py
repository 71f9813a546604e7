"""How fast networks are pre-trained here, beside the `transformers` Trainer in the same run.

The contestants (`contestants`) get the same weights, batches, precision and dropout. They take
turns, A B B A …, one at a time, so that a machine that slows down slows all of them; their losses
of the first batch, without dropout, are compared before, so that nobody wins by computing something
else. Speed is in real tokens a second, the median of the rounds.

Utilisation is that of PaLM (Chowdhery et al. 2022, arXiv:2204.02311, appendix B, "model FLOPs
utilization"): tokens a second × FLOPs a token ÷ peak. FLOPs are those that the computation needs,
not those that an implementation spends, hence the same for all contestants; the peak is not a data
sheet's but the best that a large matrix product reaches on this very device.
"""

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bert_mobile.errors import InputError
from bert_mobile.evaluate.contestants import COMPILED_TRAINER, Course, compete, endless
from bert_mobile.evaluate.turns import (
    OURS,
    TRAINER,
    Contestant,
    Round,
    started,
    take_turns,
    this_device,
)
from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.model.config import BertConfig
from bert_mobile.train.devices import computing_type, hardware
from bert_mobile.train.feed import AHEAD, FOR_A_GPU
from bert_mobile.train.recipe import Phase, Recipe, read_recipe

SEQUENCE_LENGTH = 128
BATCH_SIZES = {"cpu": 32, "cuda": 256}
"""Pairs of a step where neither recipe nor option says; 256 is the published card's."""
STEPS = {"cpu": 10, "cuda": 100}
"""Of a round: some seconds."""
SETTLING = {"cpu": 1, "cuda": AHEAD * FOR_A_GPU}
"""All that the feed of a GPU can have made ahead."""
WARM_UP = {"cpu": 2, "cuda": 20}

TOLERANCE = 1e-3
"""How far the losses of the first batch, in float32, may be from each other."""

PRODUCTS = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Sizes of the square matrices whose fastest product is the peak."""
TRIES, PRODUCT_SECONDS = 7, 0.1


@dataclass(frozen=True)
class CostCard:
    """What is computed, on what, and how fast that could be at best."""

    device: str
    precision: str
    """Type that matrix products are computed in."""
    variant: str
    sequence_length: int
    batch_size: int
    asked_per_sequence: int
    """Tokens of a sequence that the network is asked for, at most."""
    flop_per_token: float
    """Of forward and backward pass together."""
    peak_flop_per_second: float
    """Of the fastest matrix product in that precision, measured."""
    versions: dict[str, str]


@dataclass(frozen=True)
class Result:
    """How one contestant fared."""

    name: str
    tokens_per_second: float
    """Median of the rounds."""
    slowest: float
    fastest: float
    utilisation: float
    """Model FLOPs utilisation, 0 to 1."""
    waiting_for_data: float | None
    """Part of the time; None for the Trainer, whose batches were made before."""
    first_loss: float
    """Loss of the first batch in float32, without dropout."""
    rounds: list[Round]


@dataclass(frozen=True)
class BenchmarkReport:
    """What a run has found."""

    card: CostCard
    results: list[Result]
    """Ours first."""
    ratios: dict[str, float]
    """How many times as fast as each of the others we are."""
    same_computation: bool | None
    """Whether the first losses are within `TOLERANCE` of ours; None without others."""
    notes: list[str]
    """What was left out and why."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def benchmark_recipe(
    file: Path | None = None,
    *,
    corpus: str | None = None,
    variant: str | None = None,
    sequence_length: int | None = None,
    batch_size: int | None = None,
    masking_rate: float | None = None,
    precision: str | None = None,
) -> Recipe:
    """Return the first phase of a recipe, or of BERT's defaults on `corpus`, with changes.

    Raises `InputError` where neither a recipe nor a corpus is given, or they are no good.
    """
    changes = {"corpus": corpus, "variant": variant, "precision": precision}
    wanted = {name: value for name, value in changes.items() if value is not None}
    if file is not None:
        recipe = read_recipe(file, wanted)
    elif corpus is None:
        raise InputError(
            "neither a recipe nor a corpus is given, expected one of them",
            hint="bert-mobile bench pretrain --corpus DIR",
        )
    else:
        size = BATCH_SIZES[this_device().type]
        recipe = Recipe(phases=(Phase(1.0, SEQUENCE_LENGTH, size),), steps=1, **wanted)  # type: ignore[arg-type]
    shapes = {
        "sequence_length": sequence_length,
        "batch_size": batch_size,
        "masking_rate": masking_rate,
    }
    given: dict[str, Any] = {name: value for name, value in shapes.items() if value is not None}
    return replace(recipe, phases=(replace(recipe.phases[0], share=1.0, **given),))


def course_of(recipe: Recipe, *, steps: int | None = None, rounds: int = 3) -> Course:
    """Return the course that a recipe of one phase is measured on."""
    kind = this_device().type
    course = Course(recipe, rounds, steps or STEPS[kind], SETTLING[kind], WARM_UP[kind])
    return replace(course, recipe=endless(recipe, course.length))


def cost_card(recipe: Recipe) -> CostCard:
    """Count the arithmetic of a token, and measure the device's peak (seconds)."""
    device, phase = this_device(), recipe.phases[0]
    corpus = Corpus(Path(recipe.corpus), "train")
    config = BertConfig.of_variant(recipe.variant, vocab_size=corpus.vocabulary_size)
    sampler = PairSampler(
        corpus,
        seed=0,
        sequence_length=phase.sequence_length,
        batch_size=phase.batch_size,
        masking_rate=phase.masking_rate,
        ask_all=phase.objective == "all",
    )
    computed_in = computing_type(recipe.precision, device)
    return CostCard(
        device=hardware(device),
        precision=str(computed_in).removeprefix("torch."),
        variant=recipe.variant,
        sequence_length=phase.sequence_length,
        batch_size=phase.batch_size,
        asked_per_sequence=sampler.most_asked,
        flop_per_token=flop_per_token(config, phase.sequence_length, sampler.most_asked),
        peak_flop_per_second=matrix_product_peak(device, computed_in),
        versions={"python": platform.python_version(), **versions()},
    )


def flop_per_token(config: BertConfig, sequence_length: int, asked: int) -> float:
    """Return the FLOPs that training takes for each token of full sequences.

    Matrix products only, 2 FLOPs for a multiplication and its addition, twice as many backward as
    forward: 6 for each weight that a token meets, and 12·L·T·H for attention (PaLM, appendix B).
    The vocabulary is met by the `asked` tokens of a sequence only, the pooler by one, and what
    follows the last layer's attention by all these.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    layers = config.num_hidden_layers
    after_attention = hidden * hidden + 2 * hidden * inner
    every = layers * (3 * hidden * hidden + after_attention) - after_attention
    at_asked = after_attention + hidden * hidden + hidden * config.vocab_size
    at_first = after_attention + hidden * hidden + 2 * hidden
    weights = every + (asked * at_asked + at_first) / sequence_length
    return 6 * weights + 12 * layers * sequence_length * hidden


def matrix_product_peak(
    device: torch.device, dtype: torch.dtype, sizes: Sequence[int] | None = None
) -> float:
    """Return the FLOPs a second of the fastest of some large square matrix products."""
    return max(_product_rate(size, device, dtype) for size in sizes or PRODUCTS[device.type])


def _product_rate(size: int, device: torch.device, dtype: torch.dtype) -> float:
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(size, size, device=device, dtype=dtype, generator=generator) for _ in range(2)
    )
    out = torch.empty_like(left)

    def seconds(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    seconds(1)  # the library chooses its kernel
    times = max(1, round(PRODUCT_SECONDS / seconds(1)))
    fastest = min(seconds(times) for _ in range(TRIES)) / times
    return 2 * size**3 / fastest


def benchmark(course: Course, card: CostCard, *, with_transformers: bool = True) -> BenchmarkReport:
    """Let the contestants run the course in turns, and judge them.

    Raises `RunError` where our own contestant is lost; another one is left out with a note.
    """
    names, notes = [OURS], _differences(course.recipe)
    absent = [name for name in ("transformers", "accelerate") if find_spec(name) is None]
    if with_transformers and absent:
        notes.append(f"no comparison: {absent[0]} is not installed; pip install {absent[0]}")
    elif with_transformers:
        names += [TRAINER, COMPILED_TRAINER] if this_device().type == "cuda" else [TRAINER]
    with started(names, course, compete) as there:
        contestants = take_turns(there, course, notes)
    return _judged(contestants, card, notes)


def _differences(recipe: Recipe) -> list[str]:
    """Return what a recipe asks of ours that the Trainer does not do."""
    plain = {"optimizer": "adamw", "z_loss_weight": 0.0, "average_decay": 0.0}
    plain |= {"next_sentence_weight": 1.0}
    asked = [name for name, usual in plain.items() if getattr(recipe, name) != usual]
    return (
        [f"ours alone has {', '.join(f'{n} = {getattr(recipe, n)}' for n in asked)}"]
        if asked
        else []
    )


def _judged(contestants: Sequence[Contestant], card: CostCard, notes: list[str]) -> BenchmarkReport:
    results = [_result(each, card) for each in contestants]
    ours, *others = results
    apart = [abs(each.first_loss - ours.first_loss) for each in others]
    if apart and max(apart) > TOLERANCE:
        notes.append(f"the first losses are {max(apart):.2g} apart: no fair comparison")
    return BenchmarkReport(
        card=card,
        results=results,
        ratios={each.name: ours.tokens_per_second / each.tokens_per_second for each in others},
        same_computation=max(apart) <= TOLERANCE if apart else None,
        notes=notes,
    )


def _result(contestant: Contestant, card: CostCard) -> Result:
    rounds = contestant.rounds
    speeds = [each.tokens_per_second for each in rounds]
    speed = statistics.median(speeds)
    seconds = sum(each.seconds for each in rounds)
    waits = [each.waited for each in rounds if each.waited is not None]
    return Result(
        name=contestant.name,
        tokens_per_second=speed,
        slowest=min(speeds),
        fastest=max(speeds),
        utilisation=speed * card.flop_per_token / card.peak_flop_per_second,
        waiting_for_data=sum(waits) / seconds if waits else None,
        first_loss=contestant.first_loss,
        rounds=rounds,
    )


def versions() -> dict[str, str]:
    """Return the versions of what is compared."""
    found = {"torch": str(torch.__version__)}
    for name in ("transformers", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
