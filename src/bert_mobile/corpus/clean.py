r"""Unicode clean-up: what a reader would not see, or would see as rubbish, goes.

Line ends become `\n`, odd spaces one space, text NFC; control characters (NUL among them), soft
hyphens, zero-width and direction marks, and lone surrogates are taken out. Text that was decoded
with the wrong table (`donâ€™t`) is mended by ftfy, which is right but slow (3 MB/s), so only
paragraphs with a pair of characters that such a mistake leaves behind are given to it.
"""

import re
import unicodedata
from collections import Counter

from bert_mobile.corpus.libraries import library

_LINE_ENDS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
_ODD_SPACES = re.compile("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_SPACES = re.compile("  +")
_SURROGATES = re.compile("[\ud800-\udfff]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\uffff]"
)

# UTF-8 read as Latin-1 or Windows-1252: a lead byte (Â Ã â ã ð ï), then what 0x80-0xBF turn into.
_WRONG_TABLE = re.compile(
    "[\u00c2\u00c3\u00e2\u00e3\u00f0\u00ef]"
    "[\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]"
)


def clean(text: str, repaired: Counter[str]) -> str:
    """Return `text` cleaned, paragraphs still one a line; `repaired` counts what was mended."""
    text = _LINE_ENDS.sub("\n", text.replace("\r\n", "\n"))
    if not text.isascii():
        text, count = _SURROGATES.subn("", text)
        repaired["lone surrogate"] += count
        if _WRONG_TABLE.search(text):
            text = "\n".join(_decoded_anew(line, repaired) for line in text.split("\n"))
        text = unicodedata.normalize("NFC", text)
    text, count = _INVISIBLE.subn("", text)
    repaired["invisible character"] += count
    return _SPACES.sub(" ", _ODD_SPACES.sub(" ", text))


def _decoded_anew(paragraph: str, repaired: Counter[str]) -> str:
    if not _WRONG_TABLE.search(paragraph):
        return paragraph
    mended: str = library("ftfy").fix_encoding(paragraph)
    repaired["wrongly decoded paragraph"] += mended != paragraph
    return mended
