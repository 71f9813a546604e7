"""Labelled data from the files that people have: tables, tagged sentences, questions and answers.

Everything streams: a file of ten million lines never lies in memory, and a file is read again in
every pass. What is wrong in it is an `InputError` that names the file, the line (or row) and the
column.

A file's kind follows from its name, compression aside (.gz, .bz2, .xz, .zst):

- `.csv`, `.tsv`: see `bert_mobile.labelled.delimited`; `#1`, `#2`, … name columns without header.
- `.jsonl`, `.ndjson`, `.json`: see `bert_mobile.labelled.objects`.
- `.parquet`: a record a row; the class names that the Hugging Face Hub keeps in it are used.
- `.conll`, `.bio`, `.iob`, …, `.conllu`: a word a line (`bert_mobile.labelled.conll`).
- `.json` of SQuAD's form: see `bert_mobile.labelled.questions`.
- `.txt`: what its content looks like.

A file may also lie elsewhere: `hf://datasets/OWNER/NAME/PATH`, or OWNER/NAME of a data set on the
Hub (`bert_mobile.labelled.hub`).
"""

from bert_mobile.labelled.columns import Columns
from bert_mobile.labelled.examples import (
    CLASS_KINDS,
    KINDS,
    AnswerSpan,
    Example,
    LabelledText,
    Question,
    TaggedSentence,
)
from bert_mobile.labelled.file import LabelledFile
from bert_mobile.labelled.labels import (
    label_counts,
    label_names,
    refuse_one_class,
)
from bert_mobile.labelled.opening import open_labelled

__all__ = [
    "CLASS_KINDS",
    "KINDS",
    "AnswerSpan",
    "Columns",
    "Example",
    "LabelledFile",
    "LabelledText",
    "Question",
    "TaggedSentence",
    "label_counts",
    "label_names",
    "open_labelled",
    "refuse_one_class",
]
