"""bert-mobile emissions: a record printed, or the calculator."""

import json

import pytest

from bert_mobile.carbon import EmissionSettings
from bert_mobile.cli import main
from bert_mobile.files import write_json
from bert_mobile.train.emissions import Meter


@pytest.fixture
def run(capsys, monkeypatch):
    """Return a function that runs the command: status, output, errors."""
    for name in ("REGION", "PUE", "WATTS", "KG_PER_KWH"):
        monkeypatch.delenv(f"BERT_MOBILE_{name}", raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["emissions", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def folder(tmp_path):
    """The folder of a model with a parent, each with the record of a short run."""
    with Meter(EmissionSettings("FR"), hardware="AMD EPYC, 2 threads", devices=2) as meter:
        pass
    record = meter.read()
    facts = {"parents": [{"name": "first", "emissions": record}], "emissions": record}
    write_json(tmp_path / "second" / "provenance.json", facts)
    return tmp_path / "second"


def test_the_calculator(run):
    words = "--hardware H100 --hours 12 --devices 8 --region FR --pue 1.2".split()
    status, out, err = run(*words, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["kg"] == pytest.approx(8 * 0.7 * 12 * 1.2 * 0.056039)
    status, out, _ = run(*words)
    assert status == 0
    assert out.splitlines()[-1].split() == ["kg", "4.52"]


def test_the_place_may_come_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("BERT_MOBILE_REGION", "PL")
    monkeypatch.setenv("BERT_MOBILE_PUE", "2")
    words = "--hardware H100 --hours 1 --json".split()
    found = json.loads(run(*words)[1])
    assert (found["region"], found["pue"]) == ("PL", 2)
    found = json.loads(run(*words, "--pue", 1, "--watts", 500, "--kg-per-kwh", 0.1)[1])
    assert (found["pue"], found["kg"]) == (1, pytest.approx(0.05))


def test_a_lineage_as_table_and_as_json(run, folder):
    status, out, err = run(folder)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["run", "first", "second", "total"]
    assert "2 × 4 W (AMD EPYC, 2 threads)" in out
    document = json.loads(run(folder, "--json")[1])
    assert [each["model"] for each in document["runs"]] == ["first", "second"]
    assert document["total"]["hours"] == sum(each["hours"] for each in document["runs"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected either MODEL, or --hardware and --hours"),
        ("model --hardware H100 --hours 1", "expected either MODEL"),
        ("--hardware H100", "expected either MODEL"),
        ("model --hours 1", "expected either MODEL"),
        ("nowhere", "is no folder"),
        ("--hardware abacus --hours 1", "hardware 'abacus' is not known"),
        ("--hardware H100 --hours 1 --region XX", "region 'XX' is not known"),
        ("--hardware H100 --hours 0", "0.0 is not in the range"),
        ("--hardware H100 --hours 1 --pue 0.5", "pue is 0.5, expected 1 or more"),
    ],
)
def test_wrong_usage_and_input(run, line, message):
    status, out, err = run(*line.split())
    assert (status, out) == (2, "")
    assert message in err
    assert "\nhint: " in err
