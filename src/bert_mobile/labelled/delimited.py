r"""Rows of CSV and TSV files.

CSV is RFC 4180's: a field may be quoted, a quote inside it is doubled, and quoted fields may go
over line ends. TSV has no quoting at all: fields are what is between tabs, which is how GLUE's
files are meant. A `.csv` whose first line has more tabs than commas and semicolons is read as TSV
(STS-B's are that); one with more semicolons than commas is parted by semicolons.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from bert_mobile.corpus.streams import Stream, open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.lines import LONGEST_LINE, numbered_lines
from bert_mobile.labelled.names import is_number, is_usual, numbered
from bert_mobile.labelled.places import SAMPLE_ROWS, DataFile, Row

LONGEST_NAME = 64
"""Characters of a column's name; a longer first field is a text."""


@dataclass(frozen=True)
class Delimited:
    """How a CSV or TSV file is laid out."""

    separator: str
    columns: tuple[str, ...]
    """Names of its header; `#1`, `#2`, … where there is none, or no name in it."""
    has_header: bool
    encoding: str
    fewest: int = 0
    """Fields that a row must have at least; 0: exactly as many as columns."""
    skip_short: bool = False
    """Whether rows of fewer fields are left out; GLUE's QQP has a few that are damaged."""

    def describe(self) -> str:
        """Say it in a few words."""
        kind = {"\t": "tab-separated", ";": "semicolon-separated"}.get(self.separator, "CSV")
        header = "with a header" if self.has_header else "without header"
        return f"{kind} {header}, {len(self.columns)} columns"

    def tolerant(self, named: Sequence[str]) -> "Delimited":
        """Let rows of a file without header have more fields than those named, as STS-B's have."""
        if self.has_header or not named:
            return self
        return replace(self, fewest=max(int(name.removeprefix("#")) for name in named))

    def rows(self, file: DataFile, stream: Stream) -> Iterator[Row]:
        """Yield the rows below the header; raises `InputError` where one has too few fields."""
        found = _records(file, stream, self.separator, self.encoding)
        if self.has_header:
            self._refuse_other_header(file, next(found, (1, []))[1])
        width = len(self.columns)
        for line, fields in found:
            if self.has_header and _named(fields) == self.columns:
                hint = "delete the line: of files that were joined, one header is enough"
                raise file.error(line, None, "the header again, expected a row", hint)
            if len(fields) != width:
                if self.skip_short and len(fields) < (self.fewest or width):
                    continue
                if not self.fewest or len(fields) < self.fewest:
                    raise self._wrong_width(file, line, fields)
            yield line, dict(zip(self.columns, fields, strict=False))

    def _refuse_other_header(self, file: DataFile, fields: Sequence[str]) -> None:
        if _named(fields) != self.columns:
            raise file.error(
                1,
                None,
                f"header {', '.join(fields)}, expected {', '.join(self.columns)}",
                "files that are read together need the same columns",
            )

    def _wrong_width(self, file: DataFile, line: int, fields: Sequence[str]) -> InputError:
        expected = f"at least {self.fewest}" if self.fewest else f"{len(self.columns)}"
        hint = (
            "a tab inside a text? write it as a space"
            if self.separator == "\t"
            else 'a text that holds the separator, a quote or a line end belongs in "quotes"'
        )
        extra = len(fields) - len(self.columns)
        if extra > 0 and not self.has_header:
            hint += "; where text and label name the columns, more may follow"
        column = None if extra > 0 else self.columns[len(fields)]
        found = f"{len(fields)} fields, expected {expected}"
        return file.error(line, column, found, hint)


def inspect(file: DataFile, encoding: str, header: bool | None, named: Sequence[str]) -> Delimited:
    """Find out how a file is laid out; `header` says whether it has one, None to look.

    `named` are columns that somebody asked for. Raises `InputError` where the file is empty or two
    of its columns have one name.
    """
    separator = _separator(file, encoding)
    with open_stream(file.path) as stream:
        records = _records(file, stream, separator, encoding)
        sample = [fields for _, fields in islice(records, SAMPLE_ROWS)]
    if not sample:
        raise file.empty()
    first = [field.strip() for field in sample[0]]
    if header is None:
        header = _looks_like_header(first, sample[1:], named)
    if not header:
        return Delimited(separator, numbered(len(first)), has_header=False, encoding=encoding)
    columns = _named(first)
    _refuse_twins(file, columns)
    return Delimited(separator, columns, has_header=True, encoding=encoding)


def _named(header: Sequence[str]) -> tuple[str, ...]:
    """Return the names of columns; pandas gives its index none."""
    return tuple(field.strip() or f"#{number}" for number, field in enumerate(header, start=1))


def _separator(file: DataFile, encoding: str) -> str:
    if file.kind == "tsv":
        return "\t"
    with open_stream(file.path) as stream:
        _, line = next(numbered_lines(stream.plain, file, encoding), (0, ""))
    return max(",;\t", key=line.count)  # the first of equals


def _records(
    file: DataFile, stream: Stream, separator: str, encoding: str
) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each row and the line in which it begins; blank lines are no rows."""
    lines = numbered_lines(stream.plain, file, encoding)
    if separator == "\t":
        for number, line in lines:
            if text := line.removesuffix("\n").removesuffix("\r"):
                yield number, text.split("\t")
        return
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader((line for _, line in lines), delimiter=separator, strict=True)
    begin = 1
    try:
        for fields in reader:
            if fields:
                yield begin, fields
            begin = reader.line_num + 1
    except csv.Error as error:
        raise file.error(
            begin,
            None,
            f"no valid CSV: {error}",
            'quote a field that holds quotes, and double them inside: "say ""yes"""',
        ) from None


def _looks_like_header(
    first: Sequence[str], rest: Sequence[Sequence[str]], named: Sequence[str]
) -> bool:
    """Tell a header from a row: by names that are asked for or usual, else by what is below."""
    if set(named) & set(first) or first == [str(i) for i in range(len(first))]:  # pandas's
        return True
    if len(first) > 1 and all(map(is_usual, first)):  # one of them may be a cell below as well
        return True
    others = (fields for fields in rest if len(fields) == len(first) and fields != first)
    below = [set(values) for values in zip(*others, strict=True)]
    if any(name and name in values for name, values in zip(first, below, strict=False)):
        return False
    if any(map(is_usual, first)):
        return True
    if any(not field or is_number(field) or len(field) > LONGEST_NAME for field in first):
        return False
    return bool(below)


def _refuse_twins(file: DataFile, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise file.error(
                1,
                name,
                f"columns {names.index(name) + 1} and {i + 1} have the same name",
                "rename one of them in the header",
            )
