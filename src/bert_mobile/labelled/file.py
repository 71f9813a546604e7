"""A labelled file: examples that are read anew in every pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bert_mobile.corpus.streams import Stream, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.columns import Columns
from bert_mobile.labelled.examples import Example
from bert_mobile.labelled.places import DataFile
from bert_mobile.progress import progress

LONG_PASS = 32 * 2**20
"""Bytes from which on a pass shows a progress bar."""

STEP = 1000
"""Examples between two movements of the bar."""

Reader = Callable[[DataFile, Stream], Iterator[Example]]


@dataclass(frozen=True)
class LabelledFile:
    """Labelled examples that are read from their file anew in every pass."""

    path: str
    """As it was given."""
    name: str
    """The file's name, for messages."""
    kind: str
    """One of `KINDS`."""
    columns: Columns | None
    """None where the form of the file has none: CoNLL, SQuAD."""
    files: tuple[DataFile, ...]
    form: str
    """What was found: the kind of file, the columns and how they were chosen."""
    reader: Reader = field(repr=False)

    def describe(self) -> str:
        """Say in one line what is read, and what of it was guessed."""
        return f"{self.name}: {self.form}"

    def __iter__(self) -> Iterator[Example]:
        """Read from the beginning; a long file shows a progress bar.

        Raises `InputError` at the first thing that is wrong.
        """
        return self.examples()

    def examples(self) -> Iterator[Example]:
        """Do as `iter`."""
        total = sum(file.bytes for file in self.files)
        if total < LONG_PASS:
            for file in self.files:
                with open_stream(file.path) as stream:
                    yield from self.reader(file, stream)
            return
        with progress(f"read {self.name}", total, "B") as bar:
            for file in self.files:
                with open_stream(file.path) as stream:
                    done = 0
                    for number, example in enumerate(self.reader(file, stream)):
                        yield example
                        if number % STEP == 0:
                            bar.advance((now := stream.stored.tell()) - done)
                            done = now
                bar.advance(file.bytes - done)

    @property
    def labels_place(self) -> str:
        """Name the file, and the column of its labels where it has columns, for a message."""
        return f"{self.name}, column {self.columns.label!r}" if self.columns else self.name

    def place(self, example: Example, column: str | None = None) -> str:
        """Name an example's place for a message; `column` defaults to the label's."""
        column = column or (self.columns.label if self.columns else None)
        return self._file_of(example).at(example.line, column)

    def _file_of(self, example: Example) -> DataFile:
        """Find the file of an example; several are read again, which only an error asks for."""
        for file in self.files[:-1]:
            with open_stream(file.path) as stream:
                if any(each == example for each in self.reader(file, stream)):
                    return file
        return self.files[-1]

    def error(self, example: Example, found: str, hint: str) -> InputError:
        """Return the error for an example's label."""
        return InputError(f"{self.place(example)}: {found}", hint=hint)
