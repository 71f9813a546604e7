"""What a run emits, all its sittings together: measured where a counter can be read, and estimated.

    with Meter(settings, hardware=torch.cuda.get_device_name(), before=earlier) as meter:
        ...                                   # at each save:
        facts["emissions"] = meter.read()     # into the provenance, and `before` on resuming

A killed run keeps what was read at its last save. Emissions never stop a run: what cannot be
measured or recognised is said in the record.
"""

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from bert_mobile.carbon import (
    GPU,
    METHOD,
    PROCESSOR,
    EmissionSettings,
    calculate,
    estimate,
    find_region,
    recognise,
)
from bert_mobile.errors import ArtifactError
from bert_mobile.train.power import PartEnergy, PowerReader, instrument

Row = dict[str, Any]

_SUMMED = ("hours", "energy_kwh", "kg")
"""Figures that add up where all else in two rows is the same."""


class Meter:
    """Counts hours, energy and kg CO2eq from beginning to end of a `with` block.

    `hardware` is the device's name as the system tells it; `devices` the number of GPUs, or of a
    processor's threads, in the whole run, of which `devices_here` are on this machine, whose
    counters alone are read. `before` is what the last `read` of the sitting before
    returned. Raises `ArtifactError` where `before` is something else.
    """

    def __init__(
        self,
        settings: EmissionSettings,
        *,
        hardware: str,
        devices: int = 1,
        devices_here: int | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings, self._hardware, self._devices = settings, hardware, devices
        self._before = _checked(before)
        self._devices_here = devices if devices_here is None else devices_here
        gpus = {GPU: self._devices_here, PROCESSOR: None}.get(recognise(hardware)[0])
        self._reader = PowerReader(iso3=find_region(settings.region).iso3, gpus=gpus)
        self._began: float | None = None
        self._ended: float | None = None

    def __enter__(self) -> Self:
        """Begin a sitting."""
        self._began = time.monotonic()
        self._reader.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the sitting; `read` goes on returning its totals."""
        self._ended = time.monotonic()
        self._reader.__exit__(kind, error, trace)

    def read(self) -> dict[str, Any]:
        """Return the totals over all sittings so far, as a JSON object.

        `estimated` is always there; `measured` is None where no counter was read in any sitting,
        and `reason` says why none was in this one. Its parts that are only modelled stand beside
        the measured ones and are not in its sums. kWh are those of the machine, kg count the PUE.
        """
        hours = self._hours
        parts = self._reader.read()
        measured = any(part.measured for part in parts)
        reason = self._reader.reason or (None if measured else "the energy counters stand still")
        if measured and self._devices_here < self._devices:
            reason = f"measured are {self._devices_here} of {self._devices} devices: this machine's"
        return {
            "hours": self._before["hours"] + hours,
            "sittings": self._before["sittings"] + (self._began is not None),
            "estimated": self._estimated(hours),
            "measured": self._measured(hours, parts if measured else []),
            "reason": reason or self._before["reason"],
        }

    @property
    def _hours(self) -> float:
        """Hours of this sitting."""
        if self._began is None:
            return 0.0
        return ((self._ended or time.monotonic()) - self._began) / 3600

    def _estimated(self, hours: float) -> dict[str, Any]:
        now = calculate(
            self._hardware, hours, self._settings, devices=self._devices, guess=True
        ).to_json()
        rows = _merged([*self._before["estimated"]["parts"], now])
        return {**_sums(rows, ("energy_kwh", "kg")), "method": METHOD, "parts": rows}

    def _measured(self, hours: float, parts: list[PartEnergy]) -> dict[str, Any] | None:
        """Return the measurement of all sittings; None where none had any."""
        before = self._before["measured"]
        if before is None and not parts:
            return None
        earlier = before or {"hours": 0.0, "parts": []}
        rows = _merged([*earlier["parts"], *(self._row(part) for part in parts)])
        return {
            "hours": earlier["hours"] + (hours if parts else 0),
            **_sums((row for row in rows if row["measured"]), ("energy_kwh", "kg")),
            "instrument": instrument() if parts else earlier["instrument"],
            "parts": rows,
        }

    def _row(self, part: PartEnergy) -> Row:
        """Return a part's energy and what it emitted, with the factors."""
        place = calculate(self._hardware, 0, self._settings, guess=True)
        return {
            "part": part.part,
            "method": part.method,
            "measured": part.measured,
            "pue": place.pue,
            "region": place.region,
            "kg_per_kwh": place.kg_per_kwh,
            "energy_kwh": part.energy_kwh,
            "kg": estimate(1000 * part.energy_kwh, 1, pue=place.pue, kg_per_kwh=place.kg_per_kwh),
        }


def _checked(before: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the totals to go on from; raise `ArtifactError` where they are none of a `Meter`."""
    if before is None:
        nothing: dict[str, Any] = {"parts": []}
        return {"hours": 0.0, "sittings": 0, "estimated": nothing, "measured": None, "reason": None}
    try:
        measured = before["measured"]
        rows = [*before["estimated"]["parts"], *(measured["parts"] if measured else [])]
        numbers = [before["hours"], before["sittings"], *(row["kg"] for row in rows)]
        numbers += [measured["hours"]] if measured else []
        sound = all(isinstance(number, int | float) for number in numbers) and "reason" in before
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise ArtifactError(
            "the emissions of the sittings before are no record of a run's",
            hint="resume from another checkpoint, or begin the run anew",
        )
    return before


def _merged(rows: Iterable[Row]) -> list[Row]:
    """Add rows up that differ in nothing but their sums: a run has few places, many sittings."""
    merged: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple((name, value) for name, value in row.items() if name not in _SUMMED)
        earlier = merged.get(key, {})
        merged[key] = row | {name: row[name] + earlier[name] for name in _SUMMED if name in earlier}
    return list(merged.values())


def _sums(rows: Iterable[Row], names: Iterable[str]) -> dict[str, float]:
    kept = list(rows)
    return {name: sum(row[name] for row in kept) for name in names}
