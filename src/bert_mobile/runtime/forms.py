"""What the weights of a quantized file may be in memory; `unpacking` makes them so."""

from bert_mobile.errors import InputError

PACKED, INT8, FLOAT32 = "packed", "int8", "float32"
FORMS = (PACKED, INT8, FLOAT32)


def check_form(form: str) -> None:
    """Raise `InputError` where weights cannot be held so."""
    if form not in FORMS:
        raise InputError(
            f"weights are to be {form!r}, expected one of {', '.join(FORMS)}",
            hint="packed, as they are stored, is the default",
        )
