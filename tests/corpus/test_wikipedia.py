"""Of a dump, articles; of an article, prose."""

import bz2
from collections import Counter
from pathlib import Path

import pytest

from bert_mobile.corpus.records import Piece, Reading, read_records
from bert_mobile.corpus.sources import find_files
from bert_mobile.corpus.wikipedia import prose
from bert_mobile.errors import InputError

ARTICLE = """{{Short description|A town}}
{{Infobox settlement
| name = Foo
| area = {{convert|3|km2|{{nested|x}}}}
}}
[[File:Foo.jpg|thumb|The [[church]] of Foo]]
'''Foo''' ({{IPA|fu}}) is a [[town]] in [[Bar (country)|Bar]].<ref name=a>{{cite}}</ref> It is
old.<ref name=x/>
<!-- a comment -->

== History ==
The town was ''founded'' in 1200&nbsp;AD by the [http://x.org Foo Society]. See also H<sub>2</sub>O.
{| class="wikitable"
|-
! A !! B
|-
| one || {{flag|two}}
{|
| nested table
|}
|}
* first item [[x]]
* second item
# numbered
; term : definition
:: indented <math>x^2</math>

<gallery>
File:A.jpg|caption
</gallery>
The hill is {{convert|30|m}} tall.<references />
A formula <math>E = mc^2</math> stands here.

=== External links ===
* [http://x.org Site]
{{Authority control}}
__NOTOC__
[[Category:Towns]]
[[de:Foo]]
Half a {{template that never ends
"""


def page(title: str, namespace: int, text: str, extra: str = "") -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>1</id>{extra}"
        f"<revision><id>2</id><text>{text}</text></revision></page>"
    )


DUMP = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo/>'
    + page("Foo", 0, ARTICLE)
    + page("Talk:Foo", 1, "Some talk.")
    + page("Fu", 0, "#REDIRECT [[Foo]]", '<redirect title="Foo"/>')
    + page("Empty", 0, "")
    + page("Template:X", 10, "{{x}}")
    + page("Bär", 0, "An animal.")
    + "</mediawiki>"
)


def test_prose_of_an_article() -> None:
    lines = [line for line in (prose(ARTICLE, Counter()) or "").split("\n") if line.strip()]
    assert lines == [
        "Foo is a town in Bar. It is old.",
        "The town was founded in 1200\u00a0AD by the Foo Society. See also H2O.",
        "The hill is  tall. A formula  stands here.",
    ]


@pytest.mark.parametrize(
    "markup",
    [
        "Text <ref>never closed. More text.",
        "{| never closed\n| cell\nText after.",
        "[[Never closed|x. '''bold",
        "{{" * 200 + "}}" * 150,
        "<div><b>crossed</div></b> text",
        "",
    ],
)
def test_broken_markup_leaves_no_markup(markup: str) -> None:
    found = prose(markup, Counter()) or ""
    for mark in ("{{", "}}", "[[", "]]", "{|", "'''", "<ref", "\x00"):
        assert mark not in found


@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_dump(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dump.xml{suffix}"
    data = DUMP.encode()
    path.write_bytes(bz2.compress(data) if suffix else data)
    reading = Reading()
    records = list(read_records(map(Piece, find_files([path], reading.dropped)), reading, "text"))
    assert [(r.source, r.title, r.wikitext) for r in records] == [
        ("wikipedia", "Foo", True),
        ("wikipedia", "Bär", True),
    ]
    assert records[0].text == ARTICLE
    assert reading.dropped == {
        "wikipedia: not an article": 2,
        "wikipedia: redirect": 1,
        "wikipedia: empty page": 1,
    }


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (DUMP[:-200], "is cut off or no valid XML"),
        ("", "is cut off or no valid XML"),
        ("<mediawiki><page>\x00", "is cut off or no valid XML"),
        ("<html><page/></html>", "root 'html', expected 'mediawiki'"),
    ],
)
def test_damaged_dump_is_named(tmp_path: Path, data: str, found: str) -> None:
    path = tmp_path / "dump.xml"
    path.write_text(data)
    with pytest.raises(InputError, match=f"dump.xml {found}|dump.xml.*{found}"):
        list(read_records(map(Piece, find_files([path], Counter())), Reading(), "text"))


def test_over_long_page_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bert_mobile.corpus.wikipedia.LONGEST_PAGE", 50)
    path = tmp_path / "dump.xml"
    path.write_text(DUMP)
    reading = Reading()
    assert len(list(read_records(map(Piece, find_files([path], Counter())), reading, "text"))) == 1
    assert reading.dropped["wikipedia: page too long"] == 1


def test_only_links_without_text_are_dropped() -> None:
    markup = (
        "He saw [[CSI: Miami]], [[GTA: Vice City|the game]], [[:fr:Paris|the Paris page]] and "
        "[[:Category:Towns]].[[fr:Paris]][[file:a.jpg|thumb|b]][[zh-yue:c]]"
    )
    shown = "He saw CSI: Miami, the game, the Paris page and Category:Towns."
    assert prose(markup, Counter()) == shown
