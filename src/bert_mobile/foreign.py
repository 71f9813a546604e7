"""Packages of others, imported without what they do besides.

OpenVINO and NNCF tell Google Analytics that they were imported, wherever `openvino_telemetry` is
installed, which OpenVINO's wheel brings; without it they tell nobody. coremltools imports PyTorch
wherever that is installed, though what we build needs none of it. torchao and PyTorch warn, as
they are imported, of what only their own authors can mend.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TELEMETRY = "openvino_telemetry"
"""What OpenVINO and NNCF send their events with."""

TALKATIVE = ("torchao", "torch.utils._pytree")
"""Loggers that warn as ExecuTorch is imported."""


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let what is imported within take these packages for not installed.

    Nothing outlasts it: what had imported one of them before goes on with it.
    """
    before = {name: sys.modules[name] for name in packages if name in sys.modules}
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None forbids an import
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def muted(*loggers: str) -> Iterator[None]:
    """Keep the warnings of these loggers off the screen within; errors are still said."""
    named = [logging.getLogger(name) for name in loggers]
    for logger in named:
        logger.addFilter(_is_error)
    try:
        yield
    finally:
        for logger in named:
            logger.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
