"""Write the character classes of BERT's tokenizer for JavaScript, read off `tokenizers`.

    python benchmarks/page_tables.py > src/bert_mobile/page/site/page/characters.js

Browsers bring tables of Unicode too, but of their own version; the library's is what a model was
trained with. Each class is asked for by showing the library every code point.
"""

import sys
from collections.abc import Callable

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

_HEAD = """// Character classes of BERT's tokenizer, made by benchmarks/page_tables.py: do not edit.
// Each is a row of numbers in base 36: how far the next range begins behind the last one's end, and
// how many code points it has.
"""


def normalizer(**on: bool) -> BertNormalizer:
    """Return BERT's normalizer with everything off but what is named."""
    off = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    return BertNormalizer(**(off | on))


def ranges(belongs: Callable[[str], bool]) -> list[tuple[int, int]]:
    """Return the first code point and the one behind the last of each range in a class."""
    found: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000 or not belongs(chr(code)):
            continue
        if found and found[-1][1] == code:
            found[-1] = found[-1][0], code + 1
        else:
            found.append((code, code + 1))
    return found


def packed(found: list[tuple[int, int]]) -> str:
    """Spell ranges as distances in base 36."""
    numbers, last = [], 0
    for start, stop in found:
        numbers += [start - last, stop - start]
        last = stop
    return " ".join(base36(number) for number in numbers)


def base36(number: int) -> str:
    """Spell a number as JavaScript's parseInt(…, 36) reads it."""
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        if not number:
            return digits


def classes() -> dict[str, Callable[[str], bool]]:
    """Return for each class how to tell that a character is of it."""
    clean, accents = normalizer(clean_text=True), normalizer(strip_accents=True)
    chinese, split = normalizer(handle_chinese_chars=True), BertPreTokenizer()
    return {
        "REMOVED": lambda c: clean.normalize_str(f"a{c}b") == "ab",
        "SPACE": lambda c: clean.normalize_str(f"a{c}b") == "a b",
        "ACCENT": lambda c: accents.normalize_str(f"a{c}b") == "ab",
        "CHINESE": lambda c: chinese.normalize_str(c) == f" {c} ",
        "PUNCTUATION": lambda c: len(split.pre_tokenize_str(f"a{c}b")) == 3,
    }


if __name__ == "__main__":
    print(_HEAD, end="")
    for name, belongs in classes().items():
        print(f'export const {name} =\n  "{packed(ranges(belongs))}";')
