"""Size against score, on a micro model."""

import json
from importlib.util import find_spec

import pytest

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.figures import Question, figures_of
from bert_mobile.evaluate.latency import latencies
from bert_mobile.evaluate.pareto import FLOAT, OURS, pareto
from bert_mobile.evaluate.peers import PEERS
from bert_mobile.export.table import TARGETS
from bert_mobile.model.config import SEQUENCES
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.runtime.sessions import open_session


@pytest.fixture(scope="module")
def question(tiny_corpus):
    return Question("mlm", tiny_corpus, pairs=16)


@pytest.fixture(scope="module")
def made(tiny_checkpoint, question, tmp_path_factory):
    out = tmp_path_factory.mktemp("pareto") / "out"
    budgets = (60_000, 130_000, 200_000)
    return pareto(tiny_checkpoint, question, out, budgets=budgets, peers=True)


def installed():
    """Return the names of the peers that can be asked here."""
    absent = [
        runtime
        for runtime, target in (("OpenVINO", "openvino"), ("ExecuTorch", "executorch"))
        if not all(find_spec(name) for name in TARGETS[target].modules)
    ]
    return [peer.name for peer in PEERS if not any(name in peer.name for name in absent)]


def test_every_point_is_a_file_that_was_judged(made, question):
    names = [point.name for point in made.points]
    assert sorted(names) == sorted([FLOAT, OURS, OURS, *installed()])
    for point in made.points:
        assert {"top_1_accuracy", "masked_token_loss"} <= point.figures.keys()
        assert [each.tokens for each in point.latency] == [16, 64]  # as many as it has
    for budget in (130_000, 200_000):
        [point] = [point for point in made.points if point.budget == budget]
        folder = made.folder / "models" / f"{OURS}-{budget}"
        assert point.bytes == folder_bytes(folder) <= budget
        assert point.figures == figures_of([folder], question)[0].figures
    assert (made.folder / "pareto.png").is_file()


def test_a_budget_that_nothing_meets_is_a_note(made):
    note, *others = made.notes
    assert len(others) == len(PEERS) - len(installed())
    assert note.startswith("60,000 bytes: --max-bytes is 60,000, expected at least")


def test_peers_answer_as_the_float_model_does(made):
    loss = {point.name: point.figures["masked_token_loss"] for point in made.points}
    for name in installed():
        assert loss[name] == pytest.approx(loss[FLOAT], abs=0.3), name
    assert loss[PEERS[0].name] != loss[FLOAT]


def test_a_run_goes_on_with_what_is_new(made, tiny_checkpoint, question, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise AssertionError("nothing is made twice")

    before = json.loads((made.folder / "pareto.json").read_text())["points"]
    monkeypatch.setattr("bert_mobile.evaluate.pareto.write_peer", forbidden)
    there = [peer for peer in PEERS if peer.name in installed()]  # others are asked for each time
    monkeypatch.setattr("bert_mobile.evaluate.pareto.PEERS", there)
    budgets = (130_000, 150_000)
    again = pareto(tiny_checkpoint, question, made.folder, budgets=budgets, peers=True)
    assert len(again.points) == len(before) + 1
    known = {(p["name"], p["budget"]): p["figures"] for p in before}
    assert all(known.get((p.name, p.budget), p.figures) == p.figures for p in again.points)


def test_another_question_is_another_run(made, tiny_checkpoint, tiny_corpus):
    other = Question("mlm", tiny_corpus, pairs=32)
    with pytest.raises(InputError, match="another question"):
        pareto(tiny_checkpoint, other, made.folder)


def test_changed_data_is_another_question(tiny_task, tmp_path):
    folder, labelled = tiny_task(SEQUENCES), tmp_path / "reviews.csv"
    labelled.write_text("text,label\nwe see it,pos\nnot now,neg\n", encoding="utf-8")
    pareto(folder, Question(str(labelled)), tmp_path / "out", budgets=())
    labelled.write_text("text,label\nwe see it,neg\nnot now,pos\n", encoding="utf-8")
    with pytest.raises(InputError, match="another question"):
        pareto(folder, Question(str(labelled)), tmp_path / "out", budgets=())


def test_bad_input_is_told_before_anything_is_judged(made, tiny_checkpoint, question, tmp_path):
    quantized = made.folder / "models" / f"{OURS}-200000"
    with pytest.raises(ArtifactError, match=r"has no model\.safetensors") as refused:
        pareto(quantized, question, tmp_path / "out")
    assert refused.value.hint.startswith("it is quantized already")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"empty\.txt"):
        pareto(tiny_checkpoint, question, tmp_path / "out", calibration=tmp_path / "empty.txt")
    assert not (tmp_path / "out").exists()


def test_sessions_take_turns(tiny_checkpoint, tiny_config):
    session = open_session(tiny_checkpoint, tiny_config)
    found = latencies({"a": session, "b": session}, tiny_config, ((1, 8), (2, 4)), seconds=0.01)
    assert [(each.sequences, each.tokens) for each in found["a"]] == [(1, 8), (2, 4)]
    assert all(0 < each.fastest <= each.median for each in found["b"])
