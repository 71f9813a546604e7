"""How long a run is, how it learns over that time, and when it is looked at.

What the loop and the optimizers read of a run's settings: a `Recipe` of pre-training is a schedule
as it stands, the settings of a fine-tuning become one when the number of examples is known.
"""

from collections.abc import Sequence
from typing import Protocol

from bert_mobile.train.state import Position


class Schedule(Protocol):
    """Budget, learning rate and rhythm of a run; `Recipe` says what each field means."""

    @property
    def steps(self) -> int | None:
        """Budget in steps. Exactly one of `steps`, `tokens` and `hours` is given."""

    @property
    def tokens(self) -> int | None:
        """Budget in tokens."""

    @property
    def hours(self) -> float | None:
        """Budget in hours."""

    @property
    def shares(self) -> Sequence[float]:
        """Parts of the budget that the phases take, one after the other."""

    @property
    def learning_rate(self) -> float:
        """Peak."""

    @property
    def warmup_steps(self) -> int:
        """Steps from 0 to the peak."""

    @property
    def rewarm_steps(self) -> int:
        """The same where a run goes on from weights alone."""

    @property
    def decay_share(self) -> float:
        """Last part of the budget, over which the rate falls linearly to 0."""

    @property
    def clip_norm(self) -> float:
        """Largest norm of the gradient."""

    @property
    def precision(self) -> str:
        """See `devices.autocast`."""

    @property
    def seed(self) -> int:
        """Of dropout, here."""

    @property
    def log_every(self) -> int:
        """Steps between two lines of the record."""

    @property
    def evaluate_every(self) -> int:
        """Steps between two judgements."""

    @property
    def save_every(self) -> int:
        """Steps between two checkpoints."""


class Optimization(Protocol):
    """What the optimizers are made of; `Recipe` says what each field means."""

    @property
    def optimizer(self) -> str:
        """`adamw` or `muon`."""

    @property
    def learning_rate(self) -> float:
        """Peak."""

    @property
    def beta1(self) -> float:
        """Adam's memory of the gradient."""

    @property
    def beta2(self) -> float:
        """Adam's memory of the squared gradient."""

    @property
    def epsilon(self) -> float:
        """Adam's floor."""

    @property
    def weight_decay(self) -> float:
        """Of the matrices."""

    @property
    def average_decay(self) -> float:
        """Of the moving average of the weights; 0 for none."""


def fraction_done(schedule: Schedule, position: Position) -> float:
    """Return how much of the budget is spent, 0 to 1 and beyond."""
    if schedule.steps is not None:
        return position.step / schedule.steps
    if schedule.tokens is not None:
        return position.tokens / schedule.tokens
    assert schedule.hours is not None  # noqa: S101 - it was checked that one of three is given
    return position.seconds / 3600 / schedule.hours


def phase_at(schedule: Schedule, done: float) -> int:
    """Return the phase that a part of the budget belongs to."""
    ends = 0.0
    for index, share in enumerate(schedule.shares):
        ends += share
        if done < ends - 1e-9:
            return index
    return len(schedule.shares) - 1
