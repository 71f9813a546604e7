"""Lists within a field of a CSV or TSV file, as pandas and JSON write them."""

import ast
import json
from contextlib import suppress
from typing import Any

NO_LIST = 'write ["a", "b"] or a b; of an array of NumPy, its tolist()'
"""What to do where a field seems to hold a list and does not."""


def is_bracketed(field: str) -> bool:
    """Tell whether a field seems to hold a list."""
    return field.startswith("[") and field.endswith("]")


def written_list(field: str) -> list[Any] | None:
    """Return the list that a field holds as Python or JSON writes it; None where there is none.

    What NumPy writes is none: there `['a' 'b']`, without a comma, has two items, which Python reads
    as one.
    """
    if not is_bracketed(field):
        return None
    found: Any = None
    with suppress(ValueError, RecursionError):
        return list(json.loads(field))
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        found = ast.literal_eval(field)
    is_whole = isinstance(found, list) and "".join(str(found).split()) == "".join(field.split())
    return found if is_whole else None
