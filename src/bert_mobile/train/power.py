"""What codecarbon can really read of this machine's energy, and what it only models.

Where no counter can be read, codecarbon goes on with constants and says so in its log alone. Here
each part of the machine comes with the method it was read by. codecarbon is kept quiet: no network,
no file that outlives the run, no log, none of its threads after the end; its configuration files
and `CODECARBON_*` variables change nothing that we read.
"""

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

NOT_INSTALLED = 'codecarbon is not installed: pip install "bert-mobile[emissions]"'

SAMPLE_SECONDS = 60.0
"""Between two samples. Counters add up by themselves; only they must not wrap round in between,
and those of a processor take some twenty minutes for that at full power."""

_CPU_COUNTERS = {
    "intel_rapl": "RAPL",
    "intel_power_gadget": "Intel Power Gadget",
    "windows_emi": "Windows Energy Meter Interface",
}
_PARTS = ("cpu", "gpu", "ram")


@dataclass(frozen=True)
class PartEnergy:
    """Energy of one part of the machine since the reader was started."""

    part: str
    """`cpu`, `gpu` or `ram`."""
    method: str
    """The counter, or how codecarbon models what it cannot read."""
    measured: bool
    """Whether a counter was read."""
    energy_kwh: float
    """kWh."""


class PowerReader:
    """Reads energy from beginning to end of a `with` block; never in the way of what runs in it.

    `gpus` is the number of GPUs in use, the first ones that are visible; None: all there are.
    """

    def __init__(self, *, iso3: str | None = None, gpus: int | None = None) -> None:
        self.reason: str | None = "the sitting has not begun"
        """Why nothing is measured; None where something is."""
        self._iso3, self._gpus = iso3, gpus
        self._methods: dict[str, tuple[str, bool]] = {}
        self._latest = _Latest()
        self._tracker: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start codecarbon where it is installed and can read something here."""
        if find_spec("codecarbon") is None:
            self.reason = NOT_INSTALLED
            return self
        self._stack.enter_context(_quiet())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it imports, not of the run
                self._start(self._stack.enter_context(tempfile.TemporaryDirectory()))
        except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
            self._stop(f"codecarbon failed to start: {type(error).__name__}: {error}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop codecarbon; what was read last stays readable."""
        self.read()
        self._stop(self.reason)

    def read(self) -> list[PartEnergy]:
        """Return the energy of each part so far; nothing where no counter can be read."""
        if self._tracker is not None:
            self._tracker.flush()  # keeps its own errors to itself
        energy = self._latest.energy
        return [
            PartEnergy(part, method, measured, energy[part])
            for part, (method, measured) in sorted(self._methods.items())
            if energy[part] > 0  # a virtual machine's counters may be there and stand still
        ]

    def _start(self, scratch: str) -> None:
        """Start a tracker; stop it again where all that it has is models."""
        from codecarbon import OfflineEmissionsTracker

        self._tracker = OfflineEmissionsTracker(
            **_settings(self._gpus),
            country_iso_code=self._iso3,
            output_dir=scratch,  # of the tools that some systems are read by
            output_handlers=[self._latest],
        )
        self._tracker.start()
        found = dict(_method(item) for item in getattr(self._tracker, "_hardware", []))
        if any(measured for _, measured in found.values()):
            self._methods, self.reason = found, None
            self.read()  # the first time imports more: not in the midst of the run
            return
        modelled = ", ".join(f"{part}: {method}" for part, (method, _) in sorted(found.items()))
        self._stop(f"codecarbon can read no energy counter here ({modelled or 'nothing found'})")

    def _stop(self, reason: str | None) -> None:
        """Stop the tracker and the timers that it may have left."""
        self.reason = reason
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            tracker.stop()
            _end_timers()
        self._stack.close()


class _Latest:
    """What codecarbon calls an output handler: it keeps the newest totals."""

    def __init__(self) -> None:
        self.energy = dict.fromkeys(_PARTS, 0.0)

    def out(self, total: Any, _delta: Any) -> None:
        self.energy = {part: float(getattr(total, f"{part}_energy")) for part in _PARTS}

    def live_out(self, total: Any, _delta: Any) -> None:
        """Take what is sent in between as well."""
        self.out(total, _delta)

    def task_out(self, _data: Any, _name: str) -> None:
        """We have no tasks."""

    def exit(self) -> None:
        """There is nothing to close."""


def _settings(gpus: int | None) -> dict[str, Any]:
    """Return settings that leave nothing to codecarbon's configuration files and variables."""
    chosen = bool(os.environ.get("CUDA_VISIBLE_DEVICES"))  # codecarbon heeds it by itself
    return {
        "measure_power_secs": SAMPLE_SECONDS,
        "api_call_interval": -1,
        "output_methods": [],
        "emissions_endpoint": None,
        "electricitymaps_api_token": "",  # None would have it look for an older name
        "cloud_provider": None,
        "cloud_region": None,
        "region": None,
        "tracking_mode": "machine",
        "log_level": "critical",
        "gpu_ids": None if gpus is None or chosen else list(range(gpus)),
        "force_cpu_power": None,
        "force_ram_power": None,
        "force_mode_cpu_load": False,
        "force_carbon_intensity_g_co2e_kwh": 0.0,  # we take the energy and use our own factors
        "pue": 1.0,
        "wue": 0.0,
        "rapl_include_dram": False,
        "rapl_prefer_psys": False,
        "allow_multiple_runs": True,  # else it leaves a lock behind where it is killed
    }


def _method(item: Any) -> tuple[str, tuple[str, bool]]:
    """Return a part of the machine, how codecarbon gets its energy, and whether that measures.

    `item` is one of its hardware objects. It has no public name for their modes.
    """
    kind = type(item).__name__
    if kind == "CPU":
        mode = str(getattr(item, "_mode", "unknown"))
        counter = _CPU_COUNTERS.get(mode)
        return "cpu", (counter or f"modelled ({mode})", counter is not None)
    if kind == "GPU":
        devices = getattr(getattr(item, "devices", None), "devices", [])
        library = "NVML" if any("Nvidia" in type(each).__name__ for each in devices) else "AMD SMI"
        used = len(devices if item.gpu_ids is None else item.gpu_ids)
        return "gpu", (f"{library}, {used} GPU" + "s" * (used != 1), used > 0 and bool(devices))
    if kind in ("AppleSiliconChip", "Raspberry"):
        counter = "powermetrics" if kind == "AppleSiliconChip" else "power management chip"
        return str(item.chip_part).lower(), (counter, True)
    return "ram", ("modelled (size)", False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence codecarbon's logger, which writes to standard error by a handler of its own."""
    logger = logging.getLogger("codecarbon")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _end_timers() -> None:
    """Wait for codecarbon's timers; one that was just firing has set the next already."""
    for _ in range(2):
        for thread in threading.enumerate():
            owner = getattr(getattr(thread, "function", None), "__self__", None)
            if isinstance(thread, threading.Timer) and type(owner).__module__.startswith(
                "codecarbon."
            ):
                thread.cancel()
                thread.join(timeout=5)


def instrument() -> str:
    """Return the name and version of what measures."""
    return f"codecarbon {version('codecarbon')}"
