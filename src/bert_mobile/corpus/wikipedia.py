"""Articles of a Wikipedia dump (`pages-articles.xml`), and the prose of an article.

Two existing parsers do the work: the standard library's for the XML, one page at a time, and
mwparserfromhell for the markup. Paragraphs stay, with the text of links. Templates go (with them
infoboxes and converted units: "tall is ."), and so do tables, lists, headings, references, files,
categories, galleries, formulas, comments and magic words.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from bert_mobile.corpus.libraries import library
from bert_mobile.errors import InputError

if TYPE_CHECKING:
    from bert_mobile.corpus.records import Record

LONGEST_PAGE = 2**20
"""Characters of markup; only lists are longer, and parsing takes a hundred times that in memory."""

_DROPPED_TAGS = {
    "ref", "references", "table", "gallery", "math", "chem", "timeline", "imagemap", "score",
    "syntaxhighlight", "source", "code", "pre", "ul", "ol", "dl", "graph", "mapframe", "hr",
    "templatestyles", "section", "indicator", "inputbox", "categorytree", "style", "noinclude",
}  # fmt: skip

_LIST_TAGS = {"li", "dt", "dd"}

_DROPPED_LINK = re.compile(r"\s*((?i:file|image|category|media)|[a-z]{2,3}(-[a-z]+)*)\s*:")
"""Namespaces that show no text, and other languages; a colon before them makes a plain link."""

_LIST_MARK = "\x00"
"""Stands where a list item began; its line is dropped."""

# What unclosed or exotic markup leaves: a table's rows, half a template, half a link or a tag.
_LEFTOVER = re.compile(r"^\s*[|!]|\{\||\|\}|\{\{|\}\}|\[\[|\]\]|</?\w+[^<>]*>|" + _LIST_MARK)

_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
"""A line end inside a paragraph, which counts as a space; paragraphs are parted by two."""

_MAGIC_WORD = re.compile(r"__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r" ?\([\s,;:\u2013-]*\)")


def read_dump(path: str, stream: IO[bytes], dropped: Counter[str]) -> Iterator["Record"]:
    """Yield the articles of a dump as records of markup; other pages are counted in `dropped`.

    Raises `InputError` where the XML is cut off or broken, or is no MediaWiki dump.
    """
    events = ET.iterparse(stream, events=("start", "end"))  # noqa: S314 - expat bounds expansion
    try:
        _, root = next(events)
        if _local(root) != "mediawiki":
            raise InputError(
                f"{path} is XML with root {_local(root)!r}, expected 'mediawiki'",
                hint="give a pages-articles.xml from dumps.wikimedia.org",
            )
        for event, element in events:
            if event == "end" and _local(element) == "page":
                record = _article(element, dropped)
                root.clear()  # else the tree of all pages stays in memory
                if record:
                    yield record
    except ET.ParseError as error:
        raise InputError(
            f"{path} is cut off or no valid XML: {error}", hint="download the file again"
        ) from None


def _local(element: ET.Element) -> str:
    """Return a tag without its namespace, which changes with the dump's version."""
    return element.tag.rpartition("}")[2]


def _article(page: ET.Element, dropped: Counter[str]) -> "Record | None":
    from bert_mobile.corpus.records import Record

    found = {_local(child): child for child in page.iter()}
    text = found["text"].text if "text" in found else None
    reason = None
    if "ns" not in found or found["ns"].text != "0":
        reason = "wikipedia: not an article"
    elif "redirect" in found:
        reason = "wikipedia: redirect"
    elif not text:
        reason = "wikipedia: empty page"
    elif len(text) > LONGEST_PAGE:
        reason = "wikipedia: page too long"
    if reason or not text:
        dropped[reason or ""] += 1
        return None
    title = found["title"].text if "title" in found else None
    return Record("wikipedia", title or "", text, wikitext=True)


def prose(markup: str, dropped: Counter[str]) -> str | None:
    """Return an article's paragraphs, one a line, or None and a count in `dropped`."""
    parser = library("mwparserfromhell")
    try:
        # Style tags ('' and ''') are skipped: unbalanced ones cost the parser quadratic time.
        code = parser.parse(markup, skip_style_tags=True)
    except parser.parser.ParserError:
        dropped["wikipedia: unreadable markup"] += 1
        return None
    parts: list[str] = []
    _collect(code, parts)
    text = _MAGIC_WORD.sub("", "".join(parts).replace("'''", "").replace("''", ""))
    lines = ("" if _LEFTOVER.search(line) else line.strip() for line in text.split("\n"))
    return _EMPTY_BRACKETS.sub("", _LINE_BREAK.sub(" ", "\n".join(lines)))


def _collect(code: Any, parts: list[str]) -> None:
    """Append the text of the nodes of `code` that belong to the prose."""
    for node in code.nodes:
        match type(node).__name__:
            case "Text":
                parts.append(node.value)
            case "HTMLEntity":
                parts.append(node.normalize())
            case "Wikilink" if not _DROPPED_LINK.match(str(node.title)):
                parts.append(_shown(node))
            case "ExternalLink" if node.title:
                _collect(node.title, parts)
            case "Tag":
                _collect_tag(node, parts)
            case "Heading":
                parts.append("\n")


def _shown(link: Any) -> str:
    words: list[str] = []
    _collect(link.text or link.title, words)
    return "".join(words) if link.text else "".join(words).lstrip().removeprefix(":")


def _collect_tag(tag: Any, parts: list[str]) -> None:
    name = str(tag.tag).strip().lower()
    if name in _LIST_TAGS:
        parts.append(_LIST_MARK)
    elif name == "br":
        parts.append(" ")
    elif name not in _DROPPED_TAGS and tag.contents:
        _collect(tag.contents, parts)
