"""What a model's lineage emitted, as its provenance tells."""

import pytest

from bert_mobile.errors import ArtifactError
from bert_mobile.evaluate.emissions import read_emissions, total
from bert_mobile.files import write_json


def record(hours, kg, measured=None):
    factors = {
        "hardware": "Tesla T4", "devices": 1, "watts": 70.0, "pue": 1.58, "region": "FR",
        "kg_per_kwh": 0.056, "hours": hours, "energy_kwh": 0.07 * hours, "kg": kg,
    }  # fmt: skip
    parts = [
        {"part": "ram", "method": "modelled (size)", "measured": False},
        {"part": "gpu", "method": "NVML, 1 GPU", "measured": True},
    ]
    return {
        "hours": hours,
        "sittings": 1,
        "estimated": {"energy_kwh": 0.07 * hours, "kg": kg, "parts": [factors]},
        "measured": measured and {"energy_kwh": 1.0, "kg": measured, "hours": 2, "parts": parts},
        "reason": None if measured else "codecarbon is not installed",
    }


def test_the_parents_records_come_first(tmp_path):
    parents = [
        {"name": "first", "emissions": record(10, 2.0)},
        {"name": "of another program"},
    ]
    own = record(3, 0.5, measured=0.25)
    write_json(tmp_path / "second" / "provenance.json", {"parents": parents, "emissions": own})
    first, second = runs = read_emissions(tmp_path / "second")
    assert (first.model, first.hours, first.estimated_kg) == ("first", 10, 2.0)
    assert (first.measured_kg, first.measured_parts) == (None, "– (codecarbon is not installed)")
    assert first.factors == "1 × 70 W (Tesla T4), 10 h, PUE 1.58, 0.056 kg/kWh (FR)"
    assert (second.model, second.measured_kg, second.measured_hours) == ("second", 0.25, 2)
    assert second.measured_parts == "gpu: NVML, 1 GPU"
    sums = total(runs)
    assert (sums["hours"], sums["estimated_kg"], sums["measured_kg"]) == (13, 2.5, 0.25)
    assert total([first])["measured_kg"] is None


def test_an_unfinished_run_has_its_record_in_the_newest_checkpoint(tmp_path):
    for step, hours in ((500, 1), (1000, 2)):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        write_json(folder / "provenance.json", {"emissions": record(hours, 1.0)})
    assert [run.hours for run in read_emissions(tmp_path)] == [2]


def test_a_run_without_a_record_can_be_calculated(tmp_path):
    facts = {"parents": [], "hardware": "AMD EPYC, 2 threads", "figures": {"seconds": 4500.0}}
    write_json(tmp_path / "provenance.json", facts)
    with pytest.raises(ArtifactError, match="says nothing of emissions") as caught:
        read_emissions(tmp_path)
    assert caught.value.hint == (
        'bert-mobile emissions --hardware "AMD EPYC, 2 threads" --hours 1.25'
    )


@pytest.mark.parametrize("odd", [3, {}, {"estimated": {}, "measured": None, "reason": ""}])
def test_a_record_of_another_shape_is_refused(tmp_path, odd):
    write_json(tmp_path / "provenance.json", {"emissions": odd})
    with pytest.raises(ArtifactError, match="emissions that cannot be read"):
        read_emissions(tmp_path)


def test_a_folder_without_provenance_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"provenance\.json does not exist"):
        read_emissions(tmp_path)
