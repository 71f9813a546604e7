"""Our rows under the published card's, column by column, with what is not comparable disclosed.

The card's figures are of GLUE's test set, as it says. Ours are of what is at hand: a cell that is
of a development set, or of a part of one, is marked, and a note below says which. The data of
SST-2, CoLA, STS-B, MRPC and RTE goes about whole; their mean is the figure to compare where the
large tasks are there in part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bert_mobile.tasks.reading import Split
from bert_mobile.tasks.table import TASKS

COLUMNS = ("mnli", "mnli-mm", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte")
"""In the card's order."""

WHOLE = ("sst2", "cola", "stsb", "mrpc", "rte")

AVERAGE, WHOLE_AVERAGE = "Avg", "Avg of 5"


@dataclass(frozen=True)
class Peer:
    """A published row."""

    name: str
    split: str
    """`test` or `dev`, as its source says."""
    figures: tuple[float | None, ...]
    """In percent, in the order of `COLUMNS`; None where the source has none."""
    source: str


CARD = Peer(
    "the card",
    "test",
    tuple(row.card.percent for row in map(TASKS.__getitem__, COLUMNS) if row.card),
    "the model card's own claim; it gives 79.0 as the mean",
)

PEERS = (
    CARD,
    Peer(
        "BERT-base (109 M)", "test", (83.9, 83.4, 71.1, 90.9, 93.4, 52.8, 85.2, 87.5, 67.0),
        "Jiao et al. 2020, TinyBERT, table of GLUE test results (its teacher)",
    ),
    Peer(
        "MobileBERT (25.3 M)", "test", (83.3, 82.6, 70.2, 90.6, 92.8, 50.5, 84.4, 88.8, 66.2),
        "Sun et al. 2020, MobileBERT, table of GLUE test results",
    ),
    Peer(
        "BERT-Medium (41.4 M)", "test", (80.0, 79.1, 69.6, 87.7, 89.6, 38.0, 78.4, 86.6, 62.2),
        "Google's model cards of the small BERTs (google/bert_uncased_L-8_H-512_A-8)",
    ),
    Peer(
        "Ettin-32M (32 M)", "dev", (83.4, None, 91.0, 90.7, 92.0, 57.4, 89.5, 89.7, 74.7),
        "Weller et al. 2025, Ettin, GLUE dev as transcribed, columns inferred; QQP is accuracy",
    ),
)  # fmt: skip
"""The card first, then what it is to be seen beside."""


@dataclass(frozen=True)
class Result:
    """Our figure of one task."""

    value: float
    """From 0 to 1, of the metric that the card's figure is of."""
    split: str
    """`dev` or `test`."""
    disclosed: str = ""
    """What keeps it from being compared: a part of the data, another start."""


@dataclass(frozen=True)
class CardTable:
    """A table to print: heads, rows of cells, and notes below."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """Return it in Markdown, notes and all."""
        rule = ("---", *("---:" for _ in self.heads[1:]))
        lines = [f"| {' | '.join(row)} |" for row in (self.heads, rule, *self.rows)]
        return "\n".join(lines) + "\n\n" + "".join(f"- {note}\n" for note in self.notes)


def result(split: Split, figures: Mapping[str, float], disclosed: str = "") -> Result:
    """Return the result of a split: the figure that the card has of the task, else the main one.

    `disclosed` is said beside what the data says of itself.
    """
    card = split.task.card
    value = figures[card.metric if card else split.task.main_metric]
    part = "" if split.is_whole else f"{split.examples:,} of {split.task.sizes[split.name]:,}"
    said = "; ".join(filter(None, (part, split.layout.note, disclosed)))
    return Result(value, split.name, said)


def card_table(
    ours: Mapping[str, Mapping[str, Result]], peers: Sequence[Peer] = PEERS
) -> CardTable:
    """Lay out the card's table: published rows, then ours by name, task by task.

    A mean stands only where all its columns have a figure; a cell that is not of a whole test set
    is marked, and so is a mean with such a cell in it.
    """
    columns = tuple(card.column for card in (TASKS[name].card for name in COLUMNS) if card)
    heads = ("model", *columns, AVERAGE, WHOLE_AVERAGE)
    rows = [_published(peer) for peer in peers]
    rows += [_own(name, results) for name, results in ours.items()]
    notes = [f"{peer.name}: {peer.split} set, {peer.source}" for peer in peers] + [
        line for name, results in ours.items() for line in _disclosures(name, results)
    ]
    notes.append(
        "QQP and MRPC: F1; CoLA: Matthews; STS-B: Spearman; the others: accuracy; in percent. "
        f"{AVERAGE}: mean of the nine; {WHOLE_AVERAGE}: of SST-2, CoLA, STS-B, MRPC and RTE"
    )
    notes.append(
        "ᵈ: development set; *: a part of the data, or otherwise not comparable, see above"
    )
    return CardTable(heads, tuple(rows), tuple(notes))


def mean(results: Mapping[str, Result], names: Sequence[str]) -> float | None:
    """Return the mean in percent of the named tasks; None where one of them is missing."""
    if not set(names) <= set(results):
        return None
    return sum(100 * results[name].value for name in names) / len(names)


def _published(peer: Peer) -> tuple[str, ...]:
    results = {
        name: Result(percent / 100, peer.split)
        for name, percent in zip(COLUMNS, peer.figures, strict=True)
        if percent is not None
    }
    return _own(peer.name, results)


def _own(name: str, results: Mapping[str, Result]) -> tuple[str, ...]:
    cells = [_cell([results[each]]) if each in results else "–" for each in COLUMNS]
    means = [
        "–" if mean(results, names) is None else _cell([results[each] for each in names])
        for names in (COLUMNS, WHOLE)
    ]
    return (name, *cells, *means)


def _cell(results: Sequence[Result]) -> str:
    """Return the mean of results with their marks."""
    percent = sum(100 * each.value for each in results) / len(results)
    dev = "ᵈ" if any(each.split == "dev" for each in results) else ""
    part = "*" if any(each.disclosed for each in results) else ""
    return f"{percent:.1f}{dev}{part}"


def _disclosures(name: str, results: Mapping[str, Result]) -> list[str]:
    said = [
        f"{name}, {TASKS[each].title.split(':')[0]}: {results[each].split} set, "
        f"{results[each].disclosed}"
        for each in results
        if results[each].disclosed
    ]
    missing = [TASKS[each].title.split(":")[0] for each in COLUMNS if each not in results]
    return said + ([f"{name}: no figure of {', '.join(missing)}"] if missing else [])
