"""What a computation emits, by the calculator of Lacoste et al. 2019 (arXiv:1910.09700).

kg CO2eq = watts × hours / 1000 × PUE × kg CO2eq per kWh of the region's grid. Their web calculator
(mlco2.github.io/impact) has no PUE, which is a PUE of 1. Nothing here needs more than the standard
library, and nothing asks the machine: names and figures come in as arguments.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bert_mobile.errors import InputError

METHOD = "Lacoste et al. 2019 (arXiv:1910.09700): watts × hours × PUE × kg per kWh"

GPU, PROCESSOR, UNKNOWN = "gpu", "processor", "unknown"

AVERAGE_PUE = 1.58
"""World average of data centres in Strubell et al. 2019 (arXiv:1906.02243); 1 where nothing but the
machine itself is to be counted, as with a workstation at home."""

WATTS_OF_UNKNOWN = 300.0
"""What a run counts for a device that no table knows: that of most server GPUs below."""

WATTS_PER_THREAD = 4.0
"""Of a processor, for each hardware thread: the default of codecarbon 3.3 for processors that it
does not know (`codecarbon.core.cpu.DEFAULT_POWER_PER_CORE`)."""

_WATTS = {
    # The words that a device's name must have, and its maximal power by the maker's data sheet. The
    # first match counts. https://www.nvidia.com/en-us/data-center/ for the server GPUs:
    "b200": 1000.0,
    "gh200": 1000.0,  # processor and memory included
    "h200 nvl": 600.0,
    "h200": 700.0,
    "h100 nvl": 400.0,
    "h100 pcie": 350.0,
    "h100": 700.0,
    "a100 pcie 80gb": 300.0,
    "a100 pcie": 250.0,
    "a100": 400.0,
    "v100 pcie": 250.0,  # the calculator's own list has it and SXM2 the other way round
    "v100s": 250.0,
    "v100": 300.0,
    "p100": 250.0,
    "k80": 300.0,
    "t4": 70.0,
    "l4": 72.0,
    "l40s": 350.0,
    "l40": 300.0,
    "a10": 150.0,
    "a10g": 300.0,
    "a30": 165.0,
    "a40": 300.0,
    "a6000": 300.0,
    "6000 ada": 300.0,
    # https://www.nvidia.com/en-us/geforce/graphics-cards/
    "rtx laptop": 150.0,
    "5090": 575.0,
    "4090": 450.0,
    "4080": 320.0,
    "4070 ti": 285.0,
    "4070": 200.0,
    "3090 ti": 450.0,
    "3090": 350.0,
    "3080 ti": 350.0,
    "3080": 320.0,
    "3070": 220.0,
    "3060": 170.0,
    "2080 ti": 250.0,
    "2080": 215.0,
    "1080 ti": 250.0,
    "1080": 180.0,
    # https://www.amd.com/en/products/accelerators/instinct.html
    "mi300x": 750.0,
    "mi250x": 560.0,
}

_PROCESSOR_WORDS = frozenset(
    ["aarch64", "amd", "apple", "arm", "arm64", "core", "cpu", "epyc", "graviton", "intel"]
) | {"neoverse", "processor", "ryzen", "x86", "xeon"}
_GPU_WORDS = frozenset(
    ["arc", "geforce", "gpu", "instinct", "nvidia", "quadro", "radeon", "tesla", "titan", "tpu"]
)


@dataclass(frozen=True)
class Region:
    """A grid."""

    code: str
    """ISO 3166-1 alpha-2, or WORLD."""
    name: str
    iso3: str | None
    """ISO 3166-1 alpha-3, which codecarbon asks for; None for the world."""
    kg_per_kwh: float
    """kg CO2eq emitted for a kWh."""
    source: str


def _country(code: str, name: str, iso3: str, grams: float) -> Region:
    source = "2023, as packaged in codecarbon 3.3 (global_energy_mix.json)"
    return Region(code, name, iso3, grams / 1000, source)


_ALL_REGIONS = (
    Region(
        "WORLD",
        "World average",
        None,
        0.475,
        "IEA, Global Energy & CO2 Status Report 2019, as packaged in codecarbon 3.3",
    ),
    _country("AU", "Australia", "AUS", 548.692),
    _country("BR", "Brazil", "BRA", 98.348),
    _country("CA", "Canada", "CAN", 170.043),
    _country("CH", "Switzerland", "CHE", 34.843),
    _country("CN", "China", "CHN", 582.317),
    _country("DE", "Germany", "DEU", 380.95),
    _country("ES", "Spain", "ESP", 174.05),
    _country("FI", "Finland", "FIN", 79.158),
    _country("FR", "France", "FRA", 56.039),
    _country("GB", "United Kingdom", "GBR", 237.589),
    _country("IE", "Ireland", "IRL", 290.805),
    _country("IN", "India", "IND", 713.441),
    _country("IT", "Italy", "ITA", 330.718),
    _country("JP", "Japan", "JPN", 485.392),
    _country("KR", "South Korea", "KOR", 430.567),
    _country("NL", "Netherlands", "NLD", 267.622),
    _country("NO", "Norway", "NOR", 30.08),
    _country("PL", "Poland", "POL", 661.926),
    _country("SE", "Sweden", "SWE", 40.695),
    _country("SG", "Singapore", "SGP", 470.783),
    _country("US", "United States", "USA", 369.473),
    _country("ZA", "South Africa", "ZAF", 707.686),
)
REGIONS = {region.code: region for region in _ALL_REGIONS}
"""By code. The grids of a country differ: who knows the own one gives `kg_per_kwh`."""


@dataclass(frozen=True)
class EmissionSettings:
    """Where a computation runs: properties of the place, not of what is computed."""

    region: str = "WORLD"
    """A key of `REGIONS`, or the three letters of one."""
    pue: float = AVERAGE_PUE
    """Power usage effectiveness: what the site draws for each watt of its computers."""
    watts: float | None = None
    """Of one device; None: the table's."""
    kg_per_kwh: float | None = None
    """kg CO2eq for a kWh of the grid; None: the region's."""

    def __post_init__(self) -> None:
        """Refuse what no place has; each message names the field."""
        find_region(self.region)
        if not 1 <= self.pue < math.inf:
            raise InputError(f"pue is {self.pue}, expected 1 or more", hint="1.58 is average")
        for name in ("watts", "kg_per_kwh"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}, expected 0 or more", hint="leave it out")


@dataclass(frozen=True)
class Estimate:
    """What a computation emitted, with every factor of the product."""

    hardware: str
    devices: int
    """GPUs, or hardware threads of a processor."""
    watts: float
    """Of one device."""
    watts_source: str
    pue: float
    region: str
    """Its code; `unnamed` where the factor was given alone."""
    kg_per_kwh: float
    factor_source: str
    hours: float
    energy_kwh: float
    """Of the devices themselves, the PUE left out."""
    kg: float
    """kg CO2eq, the PUE counted in."""

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as a JSON object."""
        return asdict(self)


def estimate(watts: float, hours: float, *, pue: float, kg_per_kwh: float) -> float:
    """Return kg CO2eq of `watts` drawn for `hours` (Lacoste et al. 2019, section 2)."""
    return watts * hours / 1000 * pue * kg_per_kwh


def calculate(
    hardware: str,
    hours: float,
    settings: EmissionSettings,
    *,
    devices: int = 1,
    guess: bool = False,
) -> Estimate:
    """Return what `devices` of `hardware`, a name as the system tells it, emit in `hours`.

    Raises `InputError` where no table knows the hardware and the settings have no watts; `guess`
    counts `WATTS_OF_UNKNOWN` instead, and the estimate says so.
    """
    watts, watts_source = _watts(hardware, settings, guess=guess)
    region, factor, factor_source = _grid(settings)
    return Estimate(
        hardware=hardware,
        devices=devices,
        watts=watts,
        watts_source=watts_source,
        pue=settings.pue,
        region=region,
        kg_per_kwh=factor,
        factor_source=factor_source,
        hours=hours,
        energy_kwh=watts * devices * hours / 1000,
        kg=estimate(watts * devices, hours, pue=settings.pue, kg_per_kwh=factor),
    )


def recognise(hardware: str) -> tuple[str, float]:
    """Return what a device is by its name (`GPU`, `PROCESSOR` or `UNKNOWN`) and its watts.

    A processor's are those of one hardware thread. A slice of a GPU (MIG) counts as the whole one.
    """
    words = frozenset(re.findall(r"[a-z0-9]+", hardware.lower()))
    for name, watts in _WATTS.items():
        if words.issuperset(name.split()):
            return GPU, watts
    if words & _PROCESSOR_WORDS and not words & _GPU_WORDS:
        return PROCESSOR, WATTS_PER_THREAD
    return UNKNOWN, WATTS_OF_UNKNOWN


def find_region(region: str) -> Region:
    """Return a region by two letters, three letters or WORLD.

    Raises `InputError`, which lists the known ones, where there is no such region.
    """
    wanted = region.upper()
    for found in _ALL_REGIONS:
        if wanted in (found.code, found.iso3):
            return found
    raise InputError(
        f"region {region!r} is not known, expected one of {', '.join(REGIONS)}",
        hint="choose one of these, or give the grid's own kg_per_kwh",
    )


def settings_from_environment(environment: Mapping[str, str] = os.environ) -> EmissionSettings:
    """Return the settings of this place.

    They are in `BERT_MOBILE_REGION`, `BERT_MOBILE_PUE`, `BERT_MOBILE_WATTS` and
    `BERT_MOBILE_KG_PER_KWH`, for one recipe runs in many places. Raises `InputError` naming the
    variable that is no number.
    """
    given: dict[str, Any] = {}
    for name in ("pue", "watts", "kg_per_kwh"):
        variable = f"BERT_MOBILE_{name.upper()}"
        if text := environment.get(variable):
            try:
                given[name] = float(text)
            except ValueError:
                raise InputError(
                    f"{variable} is {text!r}, expected a number", hint=f"unset {variable}"
                ) from None
    if region := environment.get("BERT_MOBILE_REGION"):
        given["region"] = region
    return EmissionSettings(**given)


def _watts(hardware: str, settings: EmissionSettings, *, guess: bool) -> tuple[float, str]:
    """Return the watts of a device and where they come from."""
    if settings.watts is not None:
        return settings.watts, "given"
    kind, watts = recognise(hardware)
    if kind == GPU:
        return watts, "the maker's data sheet"
    if kind == PROCESSOR:
        return watts, "codecarbon 3.3's default for a hardware thread"
    if guess:
        return watts, "a guess: no table knows this hardware; BERT_MOBILE_WATTS corrects it"
    raise InputError(
        f"hardware {hardware!r} is not known, expected a processor or one of {', '.join(_WATTS)}",
        hint="give the watts of one device with --watts",
    )


def _grid(settings: EmissionSettings) -> tuple[str, float, str]:
    """Return the region's code, kg CO2eq per kWh there and where that comes from."""
    region = find_region(settings.region)
    if settings.kg_per_kwh is None:
        return region.code, region.kg_per_kwh, region.source
    return "unnamed" if region.iso3 is None else region.code, settings.kg_per_kwh, "given"
