"""What is known of a task, as data: `Task` is a row of the table in `bert_mobile.tasks.table`.

A row says everything that is particular to its task, and it is said nowhere else: labels, metrics,
where the data lies, what the GLUE server wants to be sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["classify", "pairs", "regress", "tag", "answer"]
"""One text to labels; two texts to labels; texts to a number; words to tags; a span of a context"""

Share = Literal["all", "tenth", "without tenth"]
"""Which examples of its files a split takes; `tenth` is every tenth, beginning with the first."""


@dataclass(frozen=True)
class Layout:
    """One way in which a split lies on a disk."""

    files: tuple[str, ...]
    """Relative to the data folder, less a suffix of compression; the split is all of them."""
    texts: tuple[str, ...] = ()
    """Columns: names, or "#1", "#2"… where the file has no header."""
    label: str | None = None
    """Column of the label or value; None: the labels are not given away, or stand elsewhere."""
    inner: tuple[str, ...] = ()
    """Names of the splits inside each file that make this one; none: the file is the split."""
    share: Share = "all"
    examples: int | None = None
    """How many of the split's examples it has; None: all of them."""
    skip_short_rows: bool = False
    """Leave out rows that lack a column, of which the official file has a few."""
    iob1: bool = False
    """Entities begin with `B-` only where they follow one of their kind; read as BIO2."""
    digit_first: bool = False
    """A line is the digit of the label, a space and the text, in Latin-1."""
    note: str = ""
    """What must be said where a figure of it is shown."""


@dataclass(frozen=True)
class HubData:
    """Where the data lies on the Hugging Face Hub."""

    dataset: str
    files: Mapping[str, str]
    """A file of the data set's repository for each split."""
    texts: tuple[str, ...] = ()
    label: str | None = None
    """Column; labels are written there as numbers, in the order of the task's labels."""

    def address(self, split: str) -> str:
        """Return the address of a split, as `bert_mobile.corpus.remote` reads it."""
        return f"hf://datasets/{self.dataset}/{self.files[split]}"


@dataclass(frozen=True)
class Submission:
    """What the GLUE server wants to be sent for a task."""

    file: str
    """Name of the file in the zip."""
    examples: int
    """Number of predictions: the size of the unlabelled test set."""
    filler: str
    """What stands in every line where the task is filled in rather than predicted: the label that
    is most frequent in training; STS-B's mean score."""
    words: Mapping[str, str] | None = None
    """The server's word for each label; None: the labels themselves, or numbers."""


@dataclass(frozen=True)
class Card:
    """The published card's figure of a task."""

    column: str
    percent: float
    metric: str
    """What it is of: a name of `bert_mobile.tasks.metrics`."""


@dataclass(frozen=True)
class Task:
    """One thing that can be asked of a model."""

    name: str
    """What it is called on the command line."""
    title: str
    kind: Kind
    labels: tuple[str, ...] | None
    """In the order of the outputs; None: those that the data has (see `labels_of`), and none for
    numbers and spans."""
    metrics: tuple[str, ...]
    """Names of `bert_mobile.tasks.metrics`; the first is the main one."""
    layouts: Mapping[str, tuple[Layout, ...]]
    """For each split (`train`, `dev`, `test`) the ways in which it may lie; the first found is
    read. Most end in the official download's; what has the labels goes before what has not."""
    sizes: Mapping[str, int]
    """Number of examples of each whole split."""
    source: str
    """Address of its authors' page, and where its official download is."""
    licence: str
    folder: str = ""
    """Folder that the files may lie in, in the data folder."""
    written: Mapping[str, str] = field(default_factory=dict)
    """How the files write a label: "0" → "negative"; a label that is missing here is written as it
    is called."""
    dropped: frozenset[str] = frozenset()
    """Labels of examples that the task leaves out."""
    hub: HubData | None = None
    """None: the Hub has it only in forms that are not read here."""
    submission: Submission | None = None
    card: Card | None = None
    trained_as: str | None = None
    """The task whose model is asked; None: its own. Such a task has no training data."""
    fold: Mapping[str, str] = field(default_factory=dict)
    """What a label of that model counts as here."""
    group: str | None = None
    """Column of the groups that are judged one by one as well."""
    value_range: tuple[float, float] | None = None
    """Least and largest value of a task of numbers; predictions are clipped to it."""
    note: str = ""
    """Choices of ours, and what to know before a figure of it is compared."""

    @property
    def main_metric(self) -> str:
        """The metric that decides which weights are best."""
        return self.metrics[0]

    @property
    def judged_split(self) -> str:
        """The split that a model is judged by unless told otherwise."""
        return "dev" if "dev" in self.sizes else "test"
