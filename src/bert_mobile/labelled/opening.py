"""Open labelled data: find the files, see what kind they are, choose the columns.

What will be read is told by `LabelledFile.describe`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bert_mobile.corpus.streams import open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled import delimited, kinds, objects
from bert_mobile.labelled.columns import NAMED, Chooser, Chosen, Columns
from bert_mobile.labelled.delimited import Delimited
from bert_mobile.labelled.examples import KINDS
from bert_mobile.labelled.file import LabelledFile, Reader
from bert_mobile.labelled.lines import encoding_name
from bert_mobile.labelled.names import is_position
from bert_mobile.labelled.objects import Objects
from bert_mobile.labelled.places import SAMPLE_ROWS, DataFile
from bert_mobile.labelled.sample import Sample, refuse_swapped
from bert_mobile.labelled.texts import SEPARATORS, TextRows

Table = Delimited | Objects


def open_labelled(
    source: str | Path,
    kind: str,
    *,
    text: Sequence[str] = (),
    label: str | None = None,
    several: bool = False,
    needs_labels: bool = True,
    columns_like: Columns | None = None,
    split: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    form: str | None = None,
    skip_unlabelled: bool = False,
) -> LabelledFile:
    """Open labelled data of one kind (`KINDS`); the kinds of files: `bert_mobile.labelled`.

    `text` and `label` name columns (`#2` by place), else they are guessed; `columns_like` are
    those of another file that this one must be like. `several`: a text may have any number of
    labels, as a list or in one string parted by `|` or `,`. Without `needs_labels`, a file without
    labels will do. `split` names one of several in the file or data set. `header` says whether a
    CSV or TSV file has one, and `form` what kind of file it is, whatever its name (`csv`, `tsv`,
    `jsonl`, `json`, `parquet`, `conll`, `conllu`). `skip_unlabelled` leaves out what has no label.

    Raises `InputError` where the file is not what was expected; so does reading it.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}", hint="check it")
    if several and kind not in {"classify", "pairs"}:
        raise InputError(
            f"several labels are asked for {kind}, expected classify or pairs",
            hint="leave out several (--several)",
        )
    encoding = encoding_name(encoding)
    wishes = _Wishes(kind, tuple(text), label, columns_like, several, needs_labels, skip_unlabelled)
    files = kinds.find(source, kind, split, form)
    table = _table(files[0], wishes, split, encoding, header)
    sample = _sample(files[0], table)
    chosen = wishes.choose(files[0], sample)
    if isinstance(table, Delimited) and wishes.named():
        table = table.tolerant(*chosen.columns.texts, *filter(None, [chosen.columns.label]))
    reader, note = _reader(table, sample, chosen, wishes)
    told = "; ".join(filter(None, (table.describe(), chosen.describe(kind), note)))
    return LabelledFile(str(source), files[0].name, kind, chosen.columns, files, told, reader)


@dataclass(frozen=True)
class _Wishes:
    """What somebody asked for."""

    kind: str
    text: tuple[str, ...]
    label: str | None
    columns_like: Columns | None
    several: bool
    needs_labels: bool
    skip_unlabelled: bool

    def named(self) -> tuple[str, ...]:
        """Return all columns that are named."""
        like = self.columns_like
        names = (
            *self.text,
            self.label,
            *(like.texts if like else ()),
            like.label if like else None,
        )
        return tuple(name for name in names if name is not None)

    def choose(self, file: DataFile, sample: Sample) -> Chosen:
        """Return the columns to read; those of `columns_like` where nothing else is named."""
        chooser = Chooser(file, sample, self.kind, self.needs_labels)
        text, label = self.text, self.label
        if self.columns_like:
            text = text or self.columns_like.texts
            label = label or self.columns_like.label
            if not self.needs_labels and label not in sample.names:
                return Chosen(Columns(tuple(map(chooser.found, text)), None), NAMED, NAMED)
        chosen = chooser.choose(text, label)
        if chosen.columns.label is not None and self.needs_labels:
            refuse_swapped(file, sample, chosen.columns.texts, chosen.columns.label)
        return chosen


def _table(
    file: DataFile, wishes: _Wishes, split: str | None, encoding: str, header: bool | None
) -> Table:
    if file.kind in {"csv", "tsv"}:
        like = wishes.columns_like
        if header is None and like and all(map(is_position, like.texts)):
            header = False
        return delimited.inspect(file, encoding, header, wishes.named())
    return objects.inspect(file, encoding, split)


def _sample(file: DataFile, table: Table) -> Sample:
    with open_stream(file.path) as stream:
        rows = [cells for _, cells in islice(table.rows(file, stream), SAMPLE_ROWS)]
    if not rows:
        raise InputError(
            f"{file.name} has a header and no rows, expected labelled examples",
            hint="check what wrote it; a file without header can be read with header=False",
        )
    return Sample(table.columns, rows)


def _reader(table: Table, sample: Sample, chosen: Chosen, wishes: _Wishes) -> tuple[Reader, str]:
    """Return what makes examples of a file, and a remark on how."""
    separator, note = None, ""
    label = chosen.columns.label
    if wishes.several and label is not None:
        separator, note = _label_separator(sample, label)
    rows = TextRows(
        chosen.columns,
        wishes.kind == "regress",
        wishes.needs_labels,
        wishes.skip_unlabelled,
        separator,
        None,
    )
    return lambda file, stream: rows.examples(file, table.rows(file, stream)), note


def _label_separator(sample: Sample, label: str) -> tuple[str, str]:
    """Return what parts several labels in one string, and a remark."""
    cells = [row.get(label) for row in sample.rows]
    if any(isinstance(cell, list) for cell in cells):
        return SEPARATORS[-1], "several labels as lists"
    strings = [cell for cell in cells if isinstance(cell, str)]
    for separator in SEPARATORS:
        if any(separator in cell for cell in strings):
            return separator, f"several labels parted by {separator!r}"
    return SEPARATORS[-1], "several labels parted by ',' (none has two)"
