"""How long a recipe takes on 1, 8 and 64 GPUs, what it costs, and how much of them it uses.

Arithmetic, no measurement: from the tokens a second of one GPU (measure it with `bert-mobile bench
pretrain`), the shortest time a step can take however small its share of the batch is, and the
bandwidth over which gradients are averaged. The last line is one JSON document.

    python benchmarks/plan.py recipes/card.toml --tokens-per-second 700_000

A step of n GPUs takes

    max(tokens / n / tokens-per-second, floor) + what of the exchange is not hidden

The exchange is a ring's: each GPU sends and receives 2·(n-1)/n times the gradient (four bytes a
parameter) at the bandwidth of the slowest link; DistributedDataParallel hides it behind the
backward pass, two thirds of the step. Efficiency is tokens a second of n GPUs over n times that of
one.
"""

import argparse
import json
from pathlib import Path

from bert_mobile.checkpoint import expected_shapes
from bert_mobile.model.config import BertConfig
from bert_mobile.train.recipe import Phase, Recipe, read_recipe

PER_NODE = 8
BYTES = 4
HIDDEN = 2 / 3


def main() -> None:
    """Read the options and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--tokens-per-second", type=float, required=True, help="of one GPU")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--price", type=float, default=2.5, help="of a GPU for an hour")
    parser.add_argument("--floor", type=float, default=0.012, help="seconds of the smallest step")
    parser.add_argument("--node-bandwidth", type=float, default=300e9, help="bytes/s in a node")
    parser.add_argument("--bandwidth", type=float, default=40e9, help="bytes/s between nodes")
    options = parser.parse_args()
    recipe = read_recipe(options.recipe)
    plans = [plan(recipe, gpus, options) for gpus in options.gpus]
    print("| GPUs | hours | GPU-hours | cost | tokens/s | efficiency |")
    print("|---|---|---|---|---|---|")
    for each in plans:
        print(
            f"| {each['gpus']} | {each['hours']:.1f} | {each['gpu_hours']:.0f} | "
            f"{each['cost']:.0f} | {each['tokens_per_second']:,.0f} | {each['efficiency']:.0%} |"
        )
    print(json.dumps({"recipe": str(options.recipe), "plans": plans}))


def plan(recipe: Recipe, gpus: int, options: argparse.Namespace) -> dict[str, float]:
    """Return hours, cost and efficiency of a recipe on a number of GPUs."""
    seconds = tokens = 0.0
    for phase in recipe.phases:
        steps = steps_of(recipe, phase)
        seconds += steps * step_seconds(recipe, phase, gpus, options)
        tokens += steps * phase.batch_size * phase.sequence_length
    rate = tokens / seconds
    return {
        "gpus": gpus,
        "hours": seconds / 3600,
        "gpu_hours": gpus * seconds / 3600,
        "cost": gpus * seconds / 3600 * options.price,
        "tokens_per_second": rate,
        "efficiency": rate / (gpus * options.tokens_per_second),
    }


def steps_of(recipe: Recipe, phase: Phase) -> float:
    """Return the steps of a phase, for a budget in steps or tokens."""
    if recipe.steps is not None:
        return recipe.steps * phase.share
    if recipe.tokens is None:
        raise SystemExit("error: a budget in hours takes as long as it says")
    return recipe.tokens * phase.share / (phase.batch_size * phase.sequence_length)


def step_seconds(recipe: Recipe, phase: Phase, gpus: int, options: argparse.Namespace) -> float:
    """Return the duration of one step."""
    tokens = phase.batch_size * phase.sequence_length / gpus
    compute = max(tokens / options.tokens_per_second, options.floor)
    bandwidth = options.node_bandwidth if gpus <= PER_NODE else options.bandwidth
    exchange = 2 * (gpus - 1) / gpus * BYTES * parameters(recipe) / bandwidth
    return compute + max(0.0, exchange - HIDDEN * compute)


def parameters(recipe: Recipe) -> int:
    """Return how many numbers are exchanged in a step."""
    config = BertConfig.of_variant(recipe.variant)
    total = 0
    for shape in expected_shapes(config).values():
        size = 1
        for width in shape:
            size *= width
        total += size
    return total


if __name__ == "__main__":
    main()
