"""The calculator: its arithmetic, its tables, and the settings of a place."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from bert_mobile.carbon import (
    REGIONS,
    EmissionSettings,
    calculate,
    estimate,
    recognise,
    settings_from_environment,
)
from bert_mobile.errors import InputError


@pytest.mark.parametrize(
    ("watts", "hours", "kg"),
    [
        (300, 500, 64.8),  # V100, 500 h: the card of WangChanGLM 7.5B
        (400, 50_000, 8640),  # A100: a paper on LLaMA for Italian
        (300, 79, 10.24),  # RTX A6000
    ],
)
def test_figures_published_with_the_calculator_of_lacoste(watts, hours, kg):
    # Its sentence on "private infrastructure" goes by 0.432 kg/kWh and has no PUE.
    assert estimate(watts, hours, pue=1.0, kg_per_kwh=0.432) == pytest.approx(kg, abs=0.005)


def test_an_estimate_shows_every_factor():
    found = calculate("NVIDIA H100 80GB HBM3", 12, EmissionSettings("FR", pue=1.2), devices=8)
    assert (found.watts, found.devices, found.hours) == (700, 8, 12)
    assert (found.pue, found.region, found.kg_per_kwh) == (1.2, "FR", 0.056039)
    assert found.energy_kwh == pytest.approx(67.2)  # 8 × 0.7 kW × 12 h
    assert found.kg == pytest.approx(67.2 * 1.2 * 0.056039)
    assert "2023" in found.factor_source
    assert json.loads(json.dumps(found.to_json()))["kg"] == found.kg


def test_what_is_given_takes_precedence():
    place = EmissionSettings("CA", pue=1, watts=100, kg_per_kwh=0.002)
    found = calculate("anything at all", 10, place)
    assert found.kg == pytest.approx(0.002)
    assert (found.watts_source, found.factor_source, found.region) == ("given", "given", "CA")
    assert calculate("cpu", 1, EmissionSettings(kg_per_kwh=0.1)).region == "unnamed"


@pytest.mark.parametrize(
    ("name", "kind", "watts"),
    [
        ("NVIDIA H100 80GB HBM3", "gpu", 700),
        ("NVIDIA H100 PCIe", "gpu", 350),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "gpu", 700),
        ("NVIDIA H200", "gpu", 700),
        ("NVIDIA A100-SXM4-80GB", "gpu", 400),
        ("NVIDIA A100-PCIE-40GB", "gpu", 250),
        ("NVIDIA A100 80GB PCIe", "gpu", 300),
        ("Tesla V100-SXM2-16GB", "gpu", 300),
        ("Tesla V100-PCIE-16GB", "gpu", 250),
        ("Tesla T4", "gpu", 70),
        ("NVIDIA L4", "gpu", 72),
        ("NVIDIA L40S", "gpu", 350),
        ("NVIDIA GeForce RTX 4090", "gpu", 450),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "gpu", 150),
        ("NVIDIA GeForce RTX 3080 Ti", "gpu", 350),
        ("AMD Instinct MI300X", "gpu", 750),
        ("AMD EPYC 7763 64-Core Processor, 2 threads", "processor", 4),
        ("Intel(R) Xeon(R) Platinum 8480+", "processor", 4),
        ("Apple M2", "processor", 4),
        ("aarch64, 4 threads", "processor", 4),
        ("AMD Radeon RX 7900 XTX", "unknown", 300),
        ("", "unknown", 300),
    ],
)
def test_hardware_is_recognised_by_its_name(name, kind, watts):
    assert recognise(name) == (kind, watts)


def test_unknown_hardware_is_refused_or_guessed():
    with pytest.raises(InputError, match=r"hardware 'abacus' is not known, .*h100.*t4") as caught:
        calculate("abacus", 1, EmissionSettings())
    assert "--watts" in caught.value.hint
    guessed = calculate("abacus", 1, EmissionSettings(), guess=True)
    assert guessed.watts == 300
    assert guessed.watts_source.startswith("a guess")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"region": "XX"}, r"region 'XX' is not known, expected one of WORLD, AU, .*, ZA"),
        ({"pue": 0.9}, "pue is 0.9, expected 1 or more"),
        ({"pue": float("nan")}, "pue is nan"),
        ({"watts": -1}, "watts is -1, expected 0 or more"),
        ({"kg_per_kwh": float("inf")}, "kg_per_kwh is inf"),
    ],
)
def test_what_no_place_has_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        EmissionSettings(**settings)


@pytest.mark.parametrize("region", ["FR", "fr", "FRA"])
def test_a_region_goes_by_two_or_three_letters(region):
    assert calculate("cpu", 1, EmissionSettings(region)).region == "FR"


def test_settings_come_from_the_environment():
    assert settings_from_environment({}) == EmissionSettings("WORLD", 1.58, None, None)
    given = {"REGION": "SE", "PUE": "1.1", "WATTS": "55", "KG_PER_KWH": "0.03"}
    found = settings_from_environment({f"BERT_MOBILE_{k}": v for k, v in given.items()})
    assert found == EmissionSettings("SE", 1.1, 55.0, 0.03)
    with pytest.raises(InputError, match="BERT_MOBILE_PUE is 'low', expected a number"):
        settings_from_environment({"BERT_MOBILE_PUE": "low"})


def test_the_tables_are_those_of_codecarbon():
    pytest.importorskip("codecarbon")
    from codecarbon.core.cpu import DEFAULT_POWER_PER_CORE

    from bert_mobile.carbon import WATTS_PER_THREAD

    data = files("codecarbon") / "data" / "private_infra"
    mix = json.loads((data / "global_energy_mix.json").read_text(encoding="utf-8"))
    world = json.loads((data / "carbon_intensity_per_source.json").read_text(encoding="utf-8"))
    assert len(REGIONS) > 20
    for code, region in REGIONS.items():
        if region.iso3 is None:
            assert (code, region.kg_per_kwh) == ("WORLD", world["world_average"] / 1000)
            continue
        theirs = mix[region.iso3]
        assert region.kg_per_kwh == pytest.approx(theirs["carbon_intensity"] / 1000)
        assert (region.name, 2023) == (theirs["country_name"], theirs["year"])
    assert WATTS_PER_THREAD == DEFAULT_POWER_PER_CORE


def test_the_extra_that_measures_exists():
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["emissions"]
