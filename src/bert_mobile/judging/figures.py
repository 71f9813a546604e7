"""The figures of one model on whatever it was judged by, in one form."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """How well one model answered."""

    model: str
    """Its name, as it was given."""
    asked: str
    """Name of the task and split, or of the file or text."""
    examples: int
    """Examples, or pairs of segments of held-out text."""
    figures: dict[str, float]
    """The main one first; all from 0 to 1, but for losses in nats."""

    @property
    def main(self) -> float:
        """The figure that decides."""
        return next(iter(self.figures.values()))
