"""Open labelled data: find the files, see what kind they are, choose the columns.

What will be read is told by `LabelledFile.describe`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from bert_mobile.corpus.streams import open_stream
from bert_mobile.errors import InputError
from bert_mobile.labelled import delimited, kinds, objects, parquet
from bert_mobile.labelled.columns import NAMED, Chooser, Chosen, Columns
from bert_mobile.labelled.conll import Words
from bert_mobile.labelled.delimited import Delimited
from bert_mobile.labelled.examples import KINDS
from bert_mobile.labelled.file import LabelledFile, Reader
from bert_mobile.labelled.lines import encoding_name
from bert_mobile.labelled.lists import is_bracketed
from bert_mobile.labelled.names import is_position
from bert_mobile.labelled.objects import Objects
from bert_mobile.labelled.parquet import Parquet
from bert_mobile.labelled.places import SAMPLE_ROWS, DataFile
from bert_mobile.labelled.questions import QuestionRows, Squad, is_squad
from bert_mobile.labelled.sample import Sample, refuse_single_words, refuse_swapped
from bert_mobile.labelled.tagged import TaggedRows
from bert_mobile.labelled.texts import SEPARATORS, TextRows

Table = Delimited | Objects | Parquet


def open_labelled(
    source: str | Path,
    kind: str,
    *,
    text: str | Sequence[str] = (),
    label: str | None = None,
    several: bool = False,
    needs_labels: bool = True,
    columns_like: Columns | None = None,
    split: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    form: str | None = None,
    skip_unlabelled: bool = False,
    skip_short_rows: bool = False,
) -> LabelledFile:
    """Open labelled data of one kind (`KINDS`); the kinds of files: `bert_mobile.labelled`.

    `text` and `label` name columns (`#2` by place), else they are guessed; `columns_like` are
    those of another file that this one must be like. `several`: a text may have any number of
    labels, as a list or in one string parted by `|` or `,`. Without `needs_labels`, a file without
    labels will do. `split` names one of several in the file or data set, as does `FILE.json:SPLIT`
    or `OWNER/NAME:SPLIT`. `header` says whether a
    CSV or TSV file has one, and `form` what kind of file it is, whatever its name (`csv`, `tsv`,
    `jsonl`, `json`, `parquet`, `conll`, `conllu`). `skip_unlabelled` leaves out what
    has no label, and `skip_short_rows` rows of too few fields.

    Raises `InputError` where the file is not what was expected; so does reading it.
    """
    given = str(source)
    source, split = kinds.with_split(source, split)
    layout = Layout(encoding_name(encoding), header, split, skip_short_rows)
    text = (text,) if isinstance(text, str) else tuple(text)
    wishes = Wishes(kind, text, label, columns_like, several, needs_labels, skip_unlabelled)
    files = kinds.find(source, kind, split, form)
    opened = _without_columns(files, wishes, layout) or _table(files, wishes, layout)
    return replace(opened, path=given)


@dataclass(frozen=True)
class Layout:
    """What somebody knows of a file."""

    encoding: str
    header: bool | None
    split: str | None
    skip_short_rows: bool


@dataclass(frozen=True)
class Wishes:
    """What somebody asked for; see `open_labelled`."""

    kind: str
    text: tuple[str, ...]
    label: str | None
    columns_like: Columns | None
    several: bool
    needs_labels: bool
    skip_unlabelled: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for."""
        if self.kind not in KINDS:
            raise InputError(
                f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}", hint="check it"
            )
        if self.several and self.kind not in {"classify", "pairs"}:
            raise InputError(
                f"several labels are asked for {self.kind}, expected classify or pairs",
                hint="leave out several (--several)",
            )

    def named(self) -> tuple[str, ...]:
        """Return all columns that are named."""
        like = self.columns_like or Columns((), None)
        return tuple(filter(None, (*self.text, self.label, *like.texts, like.label)))

    def choose(self, file: DataFile, sample: Sample) -> Chosen:
        """Return the columns to read; those of `columns_like` where nothing else is named."""
        chooser = Chooser(
            file, sample, self.kind, self.needs_labels, alike=self.columns_like is not None
        )
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


def _without_columns(
    files: tuple[DataFile, ...], wishes: Wishes, layout: Layout
) -> LabelledFile | None:
    """Open CoNLL, CoNLL-U and SQuAD's JSON; None for any other file."""
    file = files[0]
    if file.kind in {"conll", "conllu"}:
        return _words(files, wishes, layout.encoding)
    if wishes.kind != "answer" or file.kind != "json":
        return None
    with open_stream(file.path) as stream:
        document = objects.read_document(file, stream, layout.encoding)
    if not is_squad(document):
        return None
    files = tuple(replace(each, unit="question") for each in files)
    reader = Squad(wishes.needs_labels, layout.encoding).questions
    with open_stream(file.path) as stream:
        if next(reader(files[0], stream), None) is None:
            raise file.empty()
    told = f"SQuAD {document.get('version', 'JSON')}".strip()
    return _labelled_file(files, wishes, None, told, reader)


def _words(files: tuple[DataFile, ...], wishes: Wishes, encoding: str) -> LabelledFile:
    file = files[0]
    if wishes.kind != "tag":
        raise InputError(
            f"{file.name} has a word a line, expected texts for {wishes.kind}",
            hint="learn it with tag, or say what the file is with form (--form)",
        )
    if len(wishes.text) > 1:
        raise InputError(
            f"{len(wishes.text)} columns are named for the words, expected 1", hint="name one"
        )
    words = Words(next(iter(wishes.text), None), wishes.label, wishes.needs_labels, encoding)
    with open_stream(file.path) as stream:
        if next(words.sentences(file, stream), None) is None:
            raise file.empty()
    told = words.describe(file)
    return _labelled_file(files, wishes, None, told, words.sentences)


def _table(files: tuple[DataFile, ...], wishes: Wishes, layout: Layout) -> LabelledFile:
    file = files[0]
    table = _inspected(file, wishes, layout)
    sample = _sample(file, table)
    chosen = wishes.choose(file, sample)
    if wishes.kind == "tag":
        refuse_single_words(file, sample, chosen.columns.texts[0])
    label = chosen.columns.label
    used = (*chosen.columns.texts, *([label] if label else []))
    if isinstance(table, Delimited) and table.fewest:
        table = table.tolerant(used)
    if isinstance(table, Parquet):
        table = table.only((*used, *_ALSO))
    reader, note = _reader(table, sample, chosen.columns, wishes)
    told = "; ".join(filter(None, (table.describe(), chosen.describe(wishes.kind), note)))
    return _labelled_file(files, wishes, chosen.columns, told, reader)


def _labelled_file(
    files: tuple[DataFile, ...], wishes: Wishes, columns: Columns | None, told: str, reader: Reader
) -> LabelledFile:
    name = files[0].name
    short = name.rpartition("/")[2] if len(files) == 1 else name.rpartition("/")[0]
    return LabelledFile(name, short, wishes.kind, columns, files, told, reader)


_ALSO = ("id", "is_impossible")
"""Columns of questions that are read where they are there."""


def _inspected(file: DataFile, wishes: Wishes, layout: Layout) -> Table:
    if file.kind in {"json", "jsonl"}:
        return objects.inspect(file, layout.encoding, layout.split)
    if file.kind == "parquet":
        return parquet.inspect(file)
    like, header = wishes.columns_like, layout.header
    if header is None and like and all(map(is_position, (*like.texts, like.label or "#1"))):
        header = False
    found = delimited.inspect(file, layout.encoding, header, wishes.named())
    found = replace(found, skip_short=layout.skip_short_rows)
    return found.tolerant(tuple(filter(is_position, wishes.named())))


def _sample(file: DataFile, table: Table) -> Sample:
    with open_stream(file.path) as stream:
        rows = [cells for _, cells in islice(table.rows(file, stream), SAMPLE_ROWS)]
    if not rows:
        hint = "check what wrote it"
        if isinstance(table, Delimited):
            hint += "; if the first row is no header, say so (--no-header)"
        raise InputError(
            f"{file.name} has columns ({', '.join(table.columns)}) and no rows, expected labelled "
            "examples",
            hint=hint,
        )
    return Sample(table.columns, rows)


def _reader(table: Table, sample: Sample, columns: Columns, wishes: Wishes) -> tuple[Reader, str]:
    """Return what makes examples of a file, and a remark on how."""
    classes = table.classes.get(columns.label or "") if isinstance(table, Parquet) else None
    note = ""
    rows: TextRows | TaggedRows | QuestionRows
    if wishes.kind == "tag":
        rows = TaggedRows(columns, wishes.needs_labels, wishes.skip_unlabelled, classes)
    elif wishes.kind == "answer":
        rows = QuestionRows(columns, wishes.needs_labels)
    else:
        separator = None
        if wishes.several and columns.label is not None:
            separator, note = _label_separator(sample, columns.label)
        rows = TextRows(
            columns,
            wishes.kind == "regress",
            wishes.needs_labels,
            wishes.skip_unlabelled,
            separator,
            classes,
        )
    return lambda file, stream: rows.examples(file, table.rows(file, stream)), note


def _label_separator(sample: Sample, label: str) -> tuple[str, str]:
    """Return what parts several labels in one string, and a remark."""
    cells = [row.get(label) for row in sample.rows]
    strings = [cell for cell in cells if isinstance(cell, str)]
    if any(isinstance(cell, list) for cell in cells) or any(map(is_bracketed, strings)):
        return SEPARATORS[-1], "several labels as lists"
    for separator in SEPARATORS:
        if any(separator in cell for cell in strings):
            return separator, f"several labels parted by {separator!r}"
    return SEPARATORS[-1], "several labels parted by ',' (none has two)"
