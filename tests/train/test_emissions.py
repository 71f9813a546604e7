"""Emissions of a run: estimated always; measured only where a counter was really read."""

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from types import SimpleNamespace

import pytest

from bert_mobile.carbon import EmissionSettings
from bert_mobile.errors import ArtifactError
from bert_mobile.train import power
from bert_mobile.train.emissions import Meter

PLACE = EmissionSettings("FR", pue=1.2)
JOULES = 3.6e6  # in a kWh


@pytest.fixture
def codecarbon():
    """codecarbon, with nothing remembered of the machine it is on."""
    module = pytest.importorskip("codecarbon")
    from codecarbon.core.hardware_cache import clear_cache

    clear_cache()
    yield module
    clear_cache()


@pytest.fixture
def no_counters(codecarbon, monkeypatch):
    """A machine whose power cannot be read, as most virtual ones."""
    for name in ("is_rapl_available", "is_raspberry", "is_powergadget_available"):
        monkeypatch.setattr(f"codecarbon.core.cpu.{name}", lambda: False)
    for name in ("is_nvidia_system", "is_rocm_system"):
        monkeypatch.setattr(f"codecarbon.core.gpu.{name}", lambda: False)


@pytest.fixture
def counter(no_counters, monkeypatch, tmp_path):
    """A processor's energy counter; return a function that lets it count joules."""
    from codecarbon.core.cpu import IntelRAPL

    domain = tmp_path / "powercap" / "intel-rapl" / "intel-rapl:0"
    domain.mkdir(parents=True)
    (domain / "name").write_text("package-0")
    (domain / "max_energy_range_uj").write_text(str(10**15))
    (domain / "energy_uj").write_text("5000000")
    tree = str(domain.parents[1])
    monkeypatch.setattr("codecarbon.core.cpu.is_rapl_available", lambda: True)
    monkeypatch.setattr(
        "codecarbon.external.hardware.IntelRAPL",
        lambda rapl_dir, **settings: IntelRAPL(rapl_dir=tree, **settings),
    )

    def count(joules):
        before = int((domain / "energy_uj").read_text())
        (domain / "energy_uj").write_text(str(before + int(joules * 1e6)))
        time.sleep(0.06)  # it takes no notice of readings closer than 0.05 s

    return count


class FakeTracker:
    """Stands in for codecarbon's; `hardware` is what it says it reads."""

    hardware = ()

    def __init__(self, *, output_handlers, **settings):
        self.settings, self.handlers = settings, output_handlers
        self._hardware = list(self.hardware)

    def start(self):
        pass

    def flush(self):
        for handler in self.handlers:
            total = SimpleNamespace(cpu_energy=0.25, gpu_energy=0.5, ram_energy=0.125)
            handler.out(total, None)

    stop = flush


def fake(kind, **attributes):
    return type(kind, (), attributes)()


def nvidia(count):
    devices = [fake("NvidiaGPUDevice") for _ in range(count)]
    return fake("GPU", gpu_ids=list(range(count)), devices=SimpleNamespace(devices=devices))


@pytest.fixture
def tracker(codecarbon, monkeypatch):
    """Return a function that has codecarbon claim to read given hardware."""

    def tracker(*hardware):
        kind = type("Tracker", (FakeTracker,), {"hardware": hardware})
        monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", kind)

    return tracker


def meter(**changes):
    return Meter(PLACE, **{"hardware": "AMD EPYC, 2 threads", "devices": 2} | changes)


# --- estimated ----------------------------------------------------------------------------------


def test_the_estimate_is_power_times_hours(no_counters, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with meter(hardware="NVIDIA H100 80GB HBM3", devices=2) as running:
        now[0] += 1800
        halfway = running.read()
        now[0] += 1800
    now[0] += 1e6  # what comes after is not the run's
    totals = running.read()
    assert (halfway["hours"], totals["hours"], totals["sittings"]) == (0.5, 1.0, 1)
    assert totals["estimated"]["energy_kwh"] == pytest.approx(1.4)
    assert totals["estimated"]["kg"] == pytest.approx(1.4 * 1.2 * 0.056039)
    (factors,) = totals["estimated"]["parts"]
    shown = factors["watts"], factors["devices"], factors["pue"], factors["kg_per_kwh"]
    assert shown == (700, 2, 1.2, 0.056039)
    assert "Lacoste" in totals["estimated"]["method"]


def test_a_resumed_run_adds_up(no_counters, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    totals = None
    for _ in range(2):  # each killed an hour after its last save
        running = meter(before=totals).__enter__()
        now[0] += 3600
        totals = json.loads(json.dumps(running.read()))
        now[0] += 3600
        running.__exit__(None, None, None)
    assert (totals["hours"], totals["sittings"]) == (2, 2)
    assert len(totals["estimated"]["parts"]) == 1
    assert totals["estimated"]["energy_kwh"] == pytest.approx(2 * 0.008)
    with Meter(EmissionSettings("PL"), hardware="Tesla T4", before=totals) as elsewhere:
        now[0] += 3600
    totals = elsewhere.read()
    assert [part["region"] for part in totals["estimated"]["parts"]] == ["FR", "PL"]
    assert totals["hours"] == sum(part["hours"] for part in totals["estimated"]["parts"]) == 3
    assert totals["estimated"]["kg"] == pytest.approx(
        0.016 * 1.2 * 0.056039 + 0.07 * 1.58 * 0.661926
    )


def test_reading_before_the_beginning_gives_what_was_there(no_counters):
    with meter() as running:
        pass
    totals = running.read()
    again = meter(before=totals).read()
    assert again | {"reason": ""} == totals | {"reason": ""}


def test_hardware_that_no_table_knows_stops_no_run(no_counters):
    with meter(hardware="abacus", devices=1) as running:
        pass
    (factors,) = running.read()["estimated"]["parts"]
    assert factors["watts_source"].startswith("a guess")


@pytest.mark.parametrize("before", [{}, {"hours": 1}, {"measured": 1, "estimated": {"parts": 3}}])
def test_what_is_no_record_is_refused(before):
    with pytest.raises(ArtifactError, match="no record of a run"):
        meter(before=before)


# --- measured -----------------------------------------------------------------------------------


def test_without_codecarbon_the_reason_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with meter() as running:
        totals = running.read()
    assert totals["measured"] is None
    assert totals["reason"] == power.NOT_INSTALLED
    assert 'pip install "bert-mobile[emissions]"' in totals["reason"]
    assert totals["estimated"]["kg"] > 0


def test_what_codecarbon_only_models_is_not_called_measured(no_counters):
    with meter() as running:
        assert running.read()["measured"] is None
    totals = running.read()
    assert totals["measured"] is None
    assert "no energy counter" in totals["reason"]
    assert "cpu: modelled" in totals["reason"]


def test_a_counter_is_measured(counter):
    with meter() as running:
        counter(3600)
        first = running.read()
        counter(7200)
    totals = running.read()
    assert first["measured"]["energy_kwh"] == pytest.approx(3600 / JOULES)
    measured = totals["measured"]
    assert measured["energy_kwh"] == pytest.approx(10800 / JOULES)
    assert measured["kg"] == pytest.approx(10800 / JOULES * 1.2 * 0.056039)
    assert measured["hours"] == totals["hours"]
    assert measured["instrument"].startswith("codecarbon 3.")
    assert totals["reason"] is None
    cpu, ram = measured["parts"]
    assert (cpu["part"], cpu["method"], cpu["measured"]) == ("cpu", "RAPL", True) != ram
    assert (ram["part"], ram["measured"]) == ("ram", False)


def test_measurements_of_all_sittings_add_up(counter, monkeypatch):
    totals = None
    for joules in (3600, 1800):
        with meter(before=totals) as running:
            counter(joules)
        totals = json.loads(json.dumps(running.read()))
    assert totals["measured"]["energy_kwh"] == pytest.approx(5400 / JOULES)
    assert totals["measured"]["hours"] == pytest.approx(totals["hours"])
    monkeypatch.setitem(sys.modules, "codecarbon", None)  # the third one is somewhere else
    with meter(before=totals) as running:
        time.sleep(0.01)
    last = running.read()
    assert last["measured"] == totals["measured"]
    assert last["hours"] > totals["hours"]
    assert last["reason"] == power.NOT_INSTALLED


def test_a_counter_that_stands_still_measures_nothing(counter):
    with meter() as running:
        counter(0)
    totals = running.read()
    assert totals["measured"] is None
    assert totals["reason"] == "the energy counters stand still"


def test_a_measured_gpu_beside_a_modelled_processor(tracker):
    tracker(fake("RAM"), fake("CPU", _mode="cpu_load"), nvidia(2))
    with meter(hardware="NVIDIA H100 80GB HBM3", devices=2) as running:
        measured = running.read()["measured"]
    assert measured["energy_kwh"] == 0.5
    assert measured["kg"] == pytest.approx(0.5 * 1.2 * 0.056039)
    found = {p["part"]: (p["method"], p["measured"], p["energy_kwh"]) for p in measured["parts"]}
    assert found == {
        "ram": ("modelled (size)", False, 0.125),
        "cpu": ("modelled (cpu_load)", False, 0.25),
        "gpu": ("NVML, 2 GPUs", True, 0.5),
    }


@pytest.mark.parametrize(
    ("item", "part", "method", "measured"),
    [
        (fake("CPU", _mode="intel_rapl"), "cpu", "RAPL", True),
        (fake("CPU", _mode="intel_power_gadget"), "cpu", "Intel Power Gadget", True),
        (fake("CPU", _mode="windows_emi"), "cpu", "Windows Energy Meter Interface", True),
        (fake("CPU", _mode="constant"), "cpu", "modelled (constant)", False),
        (fake("CPU"), "cpu", "modelled (unknown)", False),
        (nvidia(1), "gpu", "NVML, 1 GPU", True),
        (nvidia(0), "gpu", "AMD SMI, 0 GPUs", False),
        (fake("AppleSiliconChip", chip_part="GPU"), "gpu", "powermetrics", True),
        (fake("Raspberry", chip_part="RAM"), "ram", "power management chip", True),
        (fake("RAM"), "ram", "modelled (size)", False),
        (fake("Anything"), "ram", "modelled (size)", False),
    ],
)
def test_what_counts_as_measured(item, part, method, measured):
    assert power._method(item) == (part, (method, measured))


# --- in nobody's way ----------------------------------------------------------------------------


def test_it_leaves_no_trace(counter, monkeypatch, tmp_path, capfd):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".codecarbon.config").write_text("[codecarbon]\nsave_to_file = true\nnonsense = 1\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CODECARBON_OUTPUT_METHODS", "csv,logger")
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://localhost:9")
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "1000")
    monkeypatch.setenv("CODECARBON_LOG_LEVEL", "debug")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(power.tempfile, "tempdir", str(scratch))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    before = set(threading.enumerate())
    with meter() as running:
        assert set(threading.enumerate()) > before
        counter(3600)
    assert running.read()["measured"]["energy_kwh"] == pytest.approx(3600 / JOULES)
    assert set(threading.enumerate()) == before
    assert list(work.iterdir()) == list(scratch.iterdir()) == []
    assert [path.name for path in home.iterdir()] == [".codecarbon.config"]
    assert capfd.readouterr() == ("", "")


def test_it_asks_nobody(counter, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("codecarbon went to the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for name in ("ELECTRICITYMAPS_API_TOKEN", "CO2_SIGNAL_API_TOKEN", "SAVE_TO_API"):
        monkeypatch.setenv(f"CODECARBON_{name}", "true")
    with meter() as running:
        counter(10)
    assert running.read()["measured"]["energy_kwh"] > 0


def test_the_run_keeps_its_own_warnings_and_errors(no_counters):
    with meter(), pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)
    with pytest.raises(ZeroDivisionError), meter() as running:
        raise ZeroDivisionError
    assert running.read()["hours"] > 0


@pytest.mark.parametrize("error", [ImportError, OSError, TypeError, RuntimeError, ValueError])
def test_a_codecarbon_that_fails_is_a_reason(codecarbon, monkeypatch, error):
    def fail(**_):
        raise error("no such thing")

    monkeypatch.setattr(codecarbon, "OfflineEmissionsTracker", fail)
    with meter() as running:
        totals = running.read()
    assert totals["measured"] is None
    assert totals["reason"] == f"codecarbon failed to start: {error.__name__}: no such thing"


def test_a_detection_that_fails_is_a_reason(codecarbon, monkeypatch, capfd):
    def fail(*_):
        raise KeyError("hardware")

    monkeypatch.setattr("codecarbon.core.resource_tracker.ResourceTracker.set_RAM_tracking", fail)
    with meter() as running:
        totals = running.read()
    assert totals["measured"] is None
    assert totals["reason"] == "codecarbon can read no energy counter here (nothing found)"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("visible", "hardware", "ids"),
    [
        ("", "NVIDIA H100 80GB HBM3", [0, 1]),
        ("2,3", "NVIDIA H100 80GB HBM3", None),  # codecarbon reads the variable itself
        ("", "AMD EPYC", None),
    ],
)
def test_only_the_gpus_of_the_run_are_measured(tracker, monkeypatch, visible, hardware, ids):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    tracker(nvidia(2))
    with meter(hardware=hardware) as running:
        assert running._reader._tracker.settings["gpu_ids"] == ids


def test_a_timer_set_while_stopping_is_ended_too(codecarbon):
    from codecarbon.external.scheduler import PeriodicScheduler

    before = set(threading.enumerate())
    PeriodicScheduler(interval=60, function=partial(int)).start()
    other = threading.Timer(60, int)
    other.start()
    power._end_timers()
    assert set(threading.enumerate()) - before == {other}
    other.cancel()
    other.join()


def test_importing_loads_neither_torch_nor_codecarbon():
    code = """
import sys
import bert_mobile.evaluate.emissions, bert_mobile.train.emissions
heavy = {"torch", "codecarbon", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
