"""What tests of whole runs have in common: stopping them, and comparing what they leave."""

import json
from dataclasses import asdict
from itertools import count

from safetensors.torch import load_file

from bert_mobile.train.feed import Feed
from bert_mobile.train.recipe import Recipe


def assert_same_weights(one, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        difference = (tensor - theirs[name]).abs().max().item()
        assert difference == 0, f"{name} differs by {difference:.1e}"


def stop_after(monkeypatch, step, stop):
    """Let `stop` happen when the batch after `step` steps is asked for."""
    steps, batch = count(), Feed.next

    def stopping(self):
        if next(steps) == step:
            stop()
        return batch(self)

    monkeypatch.setattr(Feed, "next", stopping)


def crash():
    raise RuntimeError("the power went")


def as_toml(recipe: Recipe) -> str:
    """Write a recipe as a file that reads back the same."""
    values = {k: v for k, v in asdict(recipe).items() if k != "phases" and v is not None}
    tables = [values, *(asdict(phase) for phase in recipe.phases)]
    parts = ["\n".join(f"{k} = {json.dumps(v)}" for k, v in table.items()) for table in tables]
    return "\n\n[[phases]]\n".join(parts)
