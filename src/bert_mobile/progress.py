"""Progress on standard error: a bar with rate and time left on a terminal, nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """What a long piece of work reports to."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Say that `amount` more units are done; show `note` (a loss, say) beside the bar."""


@contextmanager
def progress(label: str, total: float | None, unit: str, done: float = 0) -> Iterator[Progress]:
    """Show a bar for work of `total` units (None: unknown), of which `done` are done already.

    The bar tells the rate in `unit` a second and the time left. Nothing is shown where standard
    error is no terminal, so logs and pipes stay clean.
    """
    from tqdm import tqdm

    with tqdm(
        desc=label,
        total=total,
        initial=done,
        unit=unit,
        unit_scale=True,
        disable=None,  # off where there is no terminal
        dynamic_ncols=True,
    ) as bar:

        class Shown(Progress):
            def advance(self, amount: float = 1, note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(amount)

        yield Shown()
