"""Questions about a context: SQuAD's JSON (v1.1, v2.0), and rows of a table.

A row has a question, a context and answers: a list of `{"text", "answer_start"}`, or, as the Hub
keeps them, `{"text": [...], "answer_start": [...]}`; an empty list says that the context holds no
answer. Answers must stand in their context where they say.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bert_mobile.corpus.streams import Stream
from bert_mobile.errors import InputError
from bert_mobile.labelled.columns import Columns
from bert_mobile.labelled.examples import AnswerSpan, Question
from bert_mobile.labelled.objects import read_document
from bert_mobile.labelled.places import DataFile, Row
from bert_mobile.labelled.texts import text_of

_FORM = 'expected {"text": "...", "answer_start": 0}'


@dataclass(frozen=True)
class QuestionRows:
    """How the rows of a table, or SQuAD's articles, become questions."""

    columns: Columns
    needs_labels: bool

    def examples(self, file: DataFile, rows: Iterable[Row]) -> Iterator[Question]:
        """Yield a question a row; raises `InputError` at the first row that makes none."""
        about, where = self.columns.texts
        for line, cells in rows:
            question = text_of(file, line, about, cells)
            context = text_of(file, line, where, cells)
            answers = self._answers(file, line, context, cells)
            name = cells.get("id")
            name = line if name is None else name
            yield Question(line, str(name), question, context, answers)

    def _answers(
        self, file: DataFile, line: int, context: str, cells: Mapping[str, Any]
    ) -> tuple[AnswerSpan, ...] | None:
        name = self.columns.label
        cell = cells.get(name) if name is not None else None
        impossible = cells.get("is_impossible") is True
        if cell is None and impossible:
            return ()
        if cell is None:
            if self.needs_labels:
                raise file.error(
                    line, name, "no answers", "a question without an answer has an empty list"
                )
            return None
        spans = tuple(
            self._span(file, line, context, each) for each in self._listed(file, line, cell)
        )
        if impossible and spans:
            raise file.error(
                line,
                name,
                f"the answer {spans[0].text!r} to a question that is marked as impossible",
                "correct is_impossible or empty the list of answers",
            )
        return tuple(dict.fromkeys(spans))

    def _listed(self, file: DataFile, line: int, cell: Any) -> list[Any]:
        if isinstance(cell, dict) and all(isinstance(v, list) for v in cell.values()):
            texts, starts = cell.get("text"), cell.get("answer_start")
            if texts is not None and starts is not None and len(texts) == len(starts):
                pairs = zip(texts, starts, strict=True)
                return [{"text": text, "answer_start": start} for text, start in pairs]
        if isinstance(cell, list):
            return cell
        found = str(cell)[:60]
        raise file.error(line, self.columns.label, f"{found}, expected a list of answers", _FORM)

    def _span(self, file: DataFile, line: int, context: str, answer: Any) -> AnswerSpan:
        text = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            found = f"the answer {str(answer)[:60]}"
            raise file.error(line, self.columns.label, f"{found}, {_FORM}", "write it so")
        if not text.strip():
            raise file.error(
                line,
                self.columns.label,
                "an answer without text",
                "a question without an answer has an empty list of answers",
            )
        if start < 0 or context[start : start + len(text)] != text:
            raise self._misplaced(file, line, context, text, start)
        return AnswerSpan(text, start)

    def _misplaced(
        self, file: DataFile, line: int, context: str, text: str, start: int
    ) -> InputError:
        at = context.find(text)
        also = context.lower().find(text.lower())
        hint = f"it begins at character {at}: correct answer_start"
        if at < 0:
            hint = "the context does not hold it: correct the answer or delete the question"
            if also >= 0:
                hint = f"at character {also} it is {context[also : also + len(text)]!r}"
        there = context[max(start, 0) : max(start, 0) + len(text)]
        found = (
            f"the answer {text!r} is not at character {start} of its context: there is {there!r}"
        )
        return file.error(line, self.columns.label, found, hint)


SQUAD_COLUMNS = Columns(("question", "context"), "answers")


@dataclass(frozen=True)
class Squad:
    """A file of SQuAD's form: articles of paragraphs of questions; they are counted from 1."""

    needs_labels: bool
    encoding: str

    def questions(self, file: DataFile, stream: Stream) -> Iterator[Question]:
        """Yield the questions; raises `InputError` where the form is another, or for an answer."""
        document = read_document(file, stream, self.encoding)
        rows = QuestionRows(SQUAD_COLUMNS, self.needs_labels)
        return rows.examples(file, enumerate(_cells(file, document), start=1))


def is_squad(document: Any) -> bool:
    """Tell SQuAD's form from other JSON."""
    articles = document.get("data") if isinstance(document, dict) else None
    return (
        isinstance(articles, list)
        and bool(articles)
        and isinstance(articles[0], dict)
        and "paragraphs" in articles[0]
    )


def _cells(file: DataFile, document: Any) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    cells = dict(question, context=paragraph["context"])
                    number += 1
                    yield cells
    except (KeyError, TypeError, ValueError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else "another form"
        raise InputError(
            f"{file.name}, question {number + 1}: {found}, expected SQuAD's form",
            hint='{"data": [{"paragraphs": [{"context": "...", "qas": [...]}]}]}',
        ) from None
