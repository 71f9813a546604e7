"""The proof opens what was written in another process, and notices what is wrong with it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import bert_mobile
from bert_mobile.checkpoint import PROVENANCE, verify
from bert_mobile.cli import main
from bert_mobile.errors import InputError, RunError
from bert_mobile.evaluate.figures import Question
from bert_mobile.export import TARGETS, export
from bert_mobile.export.onnx import write
from bert_mobile.export.proof import Proving, limit_of
from bert_mobile.export.proof.probes import batches, compare, write_probes
from bert_mobile.export.target import Target
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, BertConfig
from bert_mobile.runtime.sessions import open_session
from tests.conftest import document

PLACES = {"float32": "onnx/model.onnx"}


def spoiled(source, width, folder):
    """Write a file that opens, and answers something else: NaN, or other numbers."""
    write(source, width, folder)
    path = folder / PLACES[width]
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "bert.embeddings.LayerNorm.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(64, np.nan, np.float32), tensor.name))
    onnx.save(model, path)


def cut(source, width, folder):
    write(source, width, folder)
    path = folder / PLACES[width]
    path.write_bytes(path.read_bytes()[:-100])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "reviews.csv"
    rows = [f"we see it {i},{('neg', 'neutral', 'pos')[i % 3]}" for i in range(30)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_faithful_artifact_passes(tiny_task, labelled, tmp_path):
    folder = tiny_task(SEQUENCES)
    made = export(folder, "web", tmp_path / "out", proving=Proving(folder, Question(str(labelled))))
    proof = json.loads((tmp_path / "out" / "proof.json").read_text())
    assert proof == json.loads(json.dumps(made.proof))
    assert proof["passed"]
    assert proof["points_lost"] == 0
    assert proof["largest_difference"] < 1e-5
    assert proof["outputs"] == ["last_hidden_state", "logits"]
    assert [each["tokens"] for each in proof["latency"]] == [16, 64]  # it has 64 positions
    assert proof["peak_megabytes"] > 20
    assert (tmp_path / "out" / "proof.png").read_bytes().startswith(b"\x89PNG")
    verify(tmp_path / "out", ["proof.json", "proof.png"])
    named = json.loads((tmp_path / "out" / PROVENANCE).read_text())["files"]
    assert {"proof.json", "proof.png"} <= set(named)
    bert_mobile.load(tmp_path / "out")


@pytest.mark.parametrize(("wrong", "said"), [(spoiled, "not finite"), (cut, "cannot be loaded")])
def test_what_does_not_answer_is_not_left(wrong, said, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(TARGETS, "rows", Target("rows", PLACES, (), "export", wrong))
    with pytest.raises(RunError, match=said):
        export(tiny_checkpoint, "rows", tmp_path / "out", proving=Proving(tiny_checkpoint))
    assert list(tmp_path.iterdir()) == []


def test_limits():
    assert [limit_of(width, None) for width in ("float32", "int8", "int4", "mix")] == [
        0.5, 0.5, 1.0, 1.0,
    ]  # fmt: skip
    assert limit_of("mix", 0.0) == 0


def test_a_loss_beyond_the_limit_is_status_1(tiny_task, tmp_path, capsys):
    """The truth is what the float model says; four bits of so small a network say other things."""
    folder = tiny_task(SEQUENCES)
    texts = [document(i, 1) for i in range(60)]
    named = [found["label"] for found in bert_mobile.load(folder).classify(texts)]
    right = tmp_path / "right.csv"
    rows = [f'"{text}",{name}' for text, name in zip(texts, named, strict=True)]
    right.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    command = ["export", str(folder), "--to", "onnx", "--width", "int4", "--task", str(right)]
    with pytest.raises(SystemExit) as done:
        main([*command, "--limit", "0", "--out", str(tmp_path / "out")])
    assert done.value.code == 1
    assert "points of right.csv, expected at most 0" in capsys.readouterr().err
    assert not json.loads((tmp_path / "out" / "proof.json").read_text())["passed"]


def test_all_targets_but_those_that_are_not_installed(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["export", str(tiny_checkpoint), "--to", "all", "--no-proof", "--json"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--out", str(out)])
    found = {each["target"]: each for each in json.loads(capsys.readouterr().out)}
    assert set(found) == set(TARGETS)
    for name, each in found.items():
        if TARGETS[name].missing:
            assert each["problem"].startswith("not installed: pip install")
            assert not each["failed"]
        else:
            assert (out / name / each["made"]["place"]).exists()
    assert done.value.code == 0
    assert json.loads((out / "proofs.json").read_text()) == list(found.values())
    lines = (out / "proofs.md").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("| ")][2:] == [
        name for name, each in found.items() if each["made"]
    ]


def test_a_target_without_room_for_the_head_is_no_failure(tiny_task, tmp_path, capsys, monkeypatch):
    from bert_mobile.export import every

    row = TARGETS["onnx"]
    narrow = replace(row, name="narrow", heads=(PRETRAINING,))
    monkeypatch.setattr(every, "TARGETS", {"onnx": row, "narrow": narrow})
    command = ["export", str(tiny_task(SEQUENCES)), "--to", "all", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    assert "narrow: cannot hold a BertForSequenceClassification" in capsys.readouterr().out
    assert (tmp_path / "out" / "proofs.png").read_bytes().startswith(b"\x89PNG")
    [made, passed_over] = json.loads((tmp_path / "out" / "proofs.json").read_text())
    assert made["made"]["proof"]["passed"]
    assert passed_over["made"] is None


def test_each_of_all_targets_keeps_to_the_budget(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    pytest.importorskip("ai_edge_litert", reason="needs the extra [litert]")
    from bert_mobile.export import every

    monkeypatch.setattr(every, "TARGETS", {name: TARGETS[name] for name in ("onnx", "litert")})
    command = ["export", str(tiny_checkpoint), "--to", "all", "--max-bytes", "190_000"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--no-proof", "--json", "--out", str(tmp_path / "out")])
    assert done.value.code == 0
    made = [each["made"] for each in json.loads(capsys.readouterr().out)]
    assert [(each["target"], each["width"]) for each in made] == [
        ("onnx", "mix"),
        ("litert", "mix"),
    ]
    assert all(120_000 < each["bytes"] <= 190_000 for each in made)


def test_one_target_that_fails_leaves_the_others(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "web").mkdir(parents=True)
    (out / "web" / "mine.txt").write_text("somebody's")
    command = ["export", str(tiny_checkpoint), "--to", "all", "--no-proof", "--out", str(out)]
    with pytest.raises(SystemExit) as done:
        main(command)
    said = capsys.readouterr()
    assert done.value.code == 1
    assert "web: " in said.err
    assert "is not empty and was not written by this command" in said.err
    assert "1 of " in said.err
    assert (out / "onnx" / "onnx" / "model.onnx").exists()
    assert (out / "web" / "mine.txt").exists()
    assert [line.split()[0] for line in said.out.splitlines()][1] == "onnx"


def test_all_leave_what_is_not_theirs(tiny_checkpoint, tiny_task, tmp_path, capsys):
    """Neither a stranger's table nor the model itself; what is wrong with that is told once."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "proofs.md").write_text("mine")
    model = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    nameless = shutil.copytree(tiny_task(SEQUENCES), tmp_path / "nameless")
    config = json.loads((nameless / "config.json").read_text())
    del config["id2label"]
    (nameless / "config.json").write_text(json.dumps(config))
    (nameless / PROVENANCE).unlink()
    for name, out, said in (
        (model, foreign, "was not written by this command"),
        (model, model, "lie inside each other"),
        (nameless, tmp_path / "out", "has no id2label"),
    ):
        before = sorted(path.name for path in out.iterdir()) if out.exists() else None
        with pytest.raises(SystemExit) as done:
            main(["export", str(name), "--to", "all", "--no-proof", "--out", str(out)])
        assert done.value.code == 2
        found = capsys.readouterr().err
        assert said in found
        assert found.count("error: ") == 1
        assert (sorted(path.name for path in out.iterdir()) if out.exists() else None) == before
    assert (foreign / "proofs.md").read_text() == "mine"


def test_nothing_for_any_target_is_a_failure(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    from bert_mobile.export import every

    monkeypatch.setattr(every, "TARGETS", {"onnx": TARGETS["onnx"]})
    command = ["export", str(tiny_checkpoint), "--to", "all", "--width", "mix"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--out", str(tmp_path / "out")])
    assert done.value.code == 1
    assert "nothing was made for any target; onnx: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_width_that_a_target_lacks_is_no_failure(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    from bert_mobile.export import every

    narrow = replace(TARGETS["onnx"], name="narrow", places=PLACES)
    monkeypatch.setattr(every, "TARGETS", {"onnx": TARGETS["onnx"], "narrow": narrow})
    command = ["export", str(tiny_checkpoint), "--to", "all", "--width", "float16", "--no-proof"]
    with pytest.raises(SystemExit) as done:
        main([*command, "--out", str(tmp_path / "out")])
    assert done.value.code == 0
    assert "narrow: has no width float16" in capsys.readouterr().out


def test_llama_cpp_is_proven_on_single_texts(tiny_checkpoint, tmp_path):
    pytest.importorskip("gguf", reason="needs the extra [gguf]")
    pytest.importorskip("xllamacpp", reason="needs the extra [gguf]")
    out = tmp_path / "out"
    made = export(tiny_checkpoint, "gguf", out, proving=Proving(tiny_checkpoint))
    assert made.proof["outputs"] == ["last_hidden_state"]
    assert made.proof["pairs"] is False
    assert made.proof["largest_difference"] < 0.05


def test_what_answers_no_task_is_compared_and_not_judged(tiny_checkpoint, tmp_path, monkeypatch):
    def without_heads(source, width, folder):
        kept = {
            n: w for n, w in source.weights.items() if not n.startswith(("cls.", "bert.pooler"))
        }
        write(replace(source, weights=kept), width, folder)

    rows = Target("rows", PLACES, (), "export", without_heads, is_judged=False)
    monkeypatch.setitem(TARGETS, "rows", rows)
    proving = Proving(tiny_checkpoint, Question("mlm", "nowhere"))  # never looked at
    made = export(tiny_checkpoint, "rows", tmp_path / "out", proving=proving)
    assert made.proof["passed"]
    assert set(made.proof["differences"]) == {"last_hidden_state"}
    assert "figures" not in made.proof
    assert "not judged by mlm: nothing here gives rows's answers" in made.notes


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--task", "nosuch", "--data", "."], "no task is called 'nosuch'"),
        (["--task", "sst2"], "sst2"),
        (["--task", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told_first(
    tiny_task, tmp_path, capsys, monkeypatch, asked, said
):
    monkeypatch.setitem(TARGETS, "onnx", replace(TARGETS["onnx"], write=None))  # never called
    command = ["export", str(tiny_task(SEQUENCES)), "--to", "onnx", *asked]
    with pytest.raises(SystemExit) as done:
        main([*command, "--out", str(tmp_path / "out")])
    found = capsys.readouterr().err
    assert done.value.code == 2
    assert said in found
    assert "proof" not in found
    assert list(tmp_path.iterdir()) == []


def test_a_reference_of_another_kind_is_refused(tiny_task, tiny_checkpoint, tmp_path):
    proving = Proving(tiny_task(ANSWERS))
    with pytest.raises(InputError, match="has the architecture BertForQuestionAnswering"):
        export(tiny_task(SEQUENCES), "onnx", tmp_path / "out", proving=proving)
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_is_one_line(tiny_checkpoint, tmp_path, monkeypatch):
    def broken(source, width, folder):
        raise RuntimeError("ios::clear:\n  iostream error")

    monkeypatch.setitem(TARGETS, "rows", Target("rows", PLACES, (), "export", broken))
    with pytest.raises(RunError, match=r"rows failed to write .*: ios::clear: iostream error"):
        export(tiny_checkpoint, "rows", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_one_segment_is_asked_for_single_texts(tiny_config):
    assert any(batch.types.any() for batch in batches(tiny_config))
    config = replace(tiny_config, type_vocab_size=1)
    assert not any(batch.types.any() for batch in batches(config))


def test_the_longest_text_is_asked_for(tiny_config):
    config = replace(tiny_config, max_position_embeddings=1024)
    assert max(batch.ids.shape[1] for batch in batches(config)) == 1024


class Off:
    """A classifier of as many labels as a batch has tokens, wrong by 100 in every second one."""

    outputs = frozenset({"logits"})

    def __init__(self, session):
        self._session = session

    def run(self, output, batch):
        found = self._session.run(output, batch)
        found[:, 1::2] += 100
        return found


def test_as_many_labels_as_tokens_are_no_tokens(tiny_task, tmp_path):
    folder = tiny_task(SEQUENCES, labels=tuple(f"l{i}" for i in range(16)))
    write_probes(folder, tmp_path / "probes.npz")
    config = BertConfig.read(folder)
    [found] = compare(Off(open_session(folder, config)), config, tmp_path / "probes.npz")
    assert 99 < found.largest < 101
