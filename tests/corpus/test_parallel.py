"""Order, bounded work in flight, and what goes wrong in a worker."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from bert_mobile.corpus.parallel import WAITING, ordered_map
from bert_mobile.errors import ArtifactError, RunError


def double(value: int) -> int:
    return 2 * value


def refuse(value: int) -> int:
    raise ArtifactError(f"bad {value}", hint="none")


def die(value: int) -> int:
    os._exit(value)


def test_order_and_bounded_reading() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            yield taken
            taken += 1

    with closing(ordered_map(double, endless(), 2)) as results:
        assert [next(results) for _ in range(20)] == [2 * i for i in range(20)]
    assert taken <= 20 + 2 + WAITING


def test_an_error_keeps_its_type_and_hint() -> None:
    with pytest.raises(ArtifactError, match="bad 1") as raised:
        list(ordered_map(refuse, [1], 2))
    assert raised.value.hint == "none"


def test_a_killed_worker_is_named() -> None:
    with pytest.raises(RunError, match="worker process ended unexpectedly"):
        list(ordered_map(die, [1], 2))
