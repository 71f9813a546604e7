"""One error shape for the whole package: what was found, what was expected, and a hint.

The command line prints `error: MESSAGE` and `hint: HINT` and exits with `exit_code`; a caller in
Python catches `BertMobileError`. Anything else that escapes is a bug of ours, not of the user's.
"""

from importlib.metadata import PackageNotFoundError, metadata
from typing import Any


class BertMobileError(Exception):
    """Something the user can act on.

    `message` says what was found and what was expected, in one line; `hint` says what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process raise it in its parent: pickle loses keyword arguments."""
        return _unpickled, (type(self), self.message, self.hint)


class InputError(BertMobileError):
    """What was given (a text, an option, a recipe, a corpus) is not what was expected."""

    exit_code = 2


class ArtifactError(BertMobileError):
    """A file or folder on disk is missing, damaged or of another kind than expected."""

    exit_code = 2


class RunError(BertMobileError):
    """A run that began properly could not go on: a full disk, an interrupt, a loss of NaN."""

    exit_code = 1


class MissingExtraError(BertMobileError):
    """The command belongs to an optional part of the package that is not installed."""

    exit_code = 2

    def __init__(self, module: str, extra: str) -> None:
        try:
            known = metadata("bert-mobile").get_all("Provides-Extra") or []
        except PackageNotFoundError:  # run from a source tree that is not installed
            known = [extra]
        if extra not in known:
            raise LookupError(f"pyproject.toml has no extra {extra!r}; it has {known}")
        super().__init__(
            f"this needs the Python package {module!r}, which is not installed",
            hint=f'pip install "bert-mobile[{extra}]"',
        )


def _unpickled(kind: type[BertMobileError], message: str, hint: str) -> BertMobileError:
    error = kind.__new__(kind)
    BertMobileError.__init__(error, message, hint=hint)
    return error
