"""Pre-training with rounded weights: what it leaves, what it gains, and that nothing stops it."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import bert_mobile
from bert_mobile.checkpoint import expected_shapes, read_weights, write_checkpoint, write_tensors
from bert_mobile.cli import main
from bert_mobile.corpus import build_corpus
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.files import sha256
from bert_mobile.model.config import BertConfig
from bert_mobile.quantize import dequantize, quantize, read_packed
from bert_mobile.quantize.interface import LOGITS
from bert_mobile.quantize.interface import QUANTIZED as MODEL
from bert_mobile.quantize.pack import PackedMatrix
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.runtime.batches import Batch
from bert_mobile.train.calibration import calibration_pairs, write_lines
from bert_mobile.train.pretrain import pretrain
from bert_mobile.train.quantized import _Nearest
from bert_mobile.train.recipe import Phase
from bert_mobile.train.record import read_metrics
from bert_mobile.train.rounded import ROOM
from bert_mobile.train.sitting import Sitting
from tests.conftest import WORDS
from tests.train.runs import as_toml, assert_same_weights, crash, stop_after

HARD = 84_000
"""Bytes in which most matrices have 2 bits."""

WIDTH = 32
"""Tokens of a pair."""

TOPICS, WORDS_A_TOPIC = 40, 3
"""What there is to find out: a text's other words say which three a hidden one is among."""


def on_one_topic(seed):
    chance, first = random.Random(seed), WORDS_A_TOPIC * (seed % TOPICS)
    topic = WORDS[first : first + WORDS_A_TOPIC]
    sentences = [" ".join(chance.choices(topic, k=chance.randint(6, 11))) for _ in range(10)]
    return " ".join(f"{sentence.capitalize()}." for sentence in sentences)


@pytest.fixture(scope="module", autouse=True)
def undrawn():
    """Leave out the pictures, which take longer than the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_mobile.train.pretrain.draw_curve", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("topics")
    lines = [json.dumps({"text": on_one_topic(number)}) + "\n" for number in range(200)]
    (folder / "texts.jsonl").write_text("".join(lines), encoding="utf-8")
    out = folder / "corpus"
    build_corpus([folder / "texts.jsonl"], out, tokenizer=tiny_tokenizer, held_out=0.2)
    return out


@pytest.fixture(scope="module")
def common(recipe, corpus):
    """Return a function that makes a recipe for the corpus."""

    def common(**changes):
        settings = {
            "corpus": str(corpus),
            "phases": (Phase(1.0, WIDTH, 16),),
            "dropout": 0.0,
            "warmup_steps": 4,
            "next_sentence_weight": 0.2,
            "evaluate_every": 1000,
            "save_every": 1000,
        }
        return recipe(**settings | changes)

    return common


@pytest.fixture(scope="module")
def parent(common, corpus, tiny_tokenizer, tmp_path_factory):
    """A float model that has found it out, from large weights on: small ones would take minutes."""
    begun, out = (tmp_path_factory.mktemp("parent") / name for name in ("begun", "run"))
    config = BertConfig.of_variant("nano", vocab_size=Corpus(corpus, "train").vocabulary_size)
    rng, weights = np.random.default_rng(0), {}
    for name, shape in expected_shapes(config).items():
        values = rng.normal(0, 0.2 * (len(shape) == 2), shape)
        weights[name] = (values + ("LayerNorm.weight" in name)).astype(np.float32)
    begun.mkdir()
    write_checkpoint(begun, config, weights, tiny_tokenizer, {})
    pretrain(common(initialize_from=str(begun), steps=200, learning_rate=1e-2), out)
    return out


@pytest.fixture(scope="module")
def rounded(common, parent):
    """Return a function that makes a recipe with rounded weights."""

    def rounded(**changes):
        usual = {"qat": True, "max_bytes": HARD, "initialize_from": str(parent)}
        course = {"steps": 60, "learning_rate": 4e-3, "save_every": 10}
        return common(**usual | course | changes)

    return rounded


@pytest.fixture(scope="module")
def learned(rounded, tmp_path_factory):
    """The report of a run that nothing disturbed. Never write to its folder."""
    return pretrain(rounded(), tmp_path_factory.mktemp("runs") / "learned")


@pytest.fixture(scope="module")
def plain(corpus, parent, tmp_path_factory):
    """The parent quantized as it is, to the same layout. Never write to it."""
    folder = tmp_path_factory.mktemp("plain")
    text = folder / "text.txt"
    write_lines(text, calibration_pairs(Corpus(corpus, "train"), WIDTH))
    quantize(parent, folder / "small", max_bytes=HARD, spare=ROOM, calibration=text)
    return folder / "small"


def held_out_loss(folder, corpus):
    """Return the mean cross-entropy of the masked tokens, by the folder's very file."""
    split = Corpus(corpus, "held_out")
    batch = PairSampler(split, seed=0, sequence_length=WIDTH, batch_size=192).batch(0)
    mask = batch.attention_mask.astype(np.int64)
    inputs = Batch(batch.input_ids, mask, batch.token_type_ids)
    logits = bert_mobile.load(folder).session.run(LOGITS, inputs, batch.positions)  # (M, V)
    said = logits[np.arange(len(logits)), batch.targets]
    return float((np.log(np.exp(logits).sum(-1)) - said).mean())


def layouts(folder):
    """Return the layout of every matrix."""
    packed = read_packed(folder).items()
    return {name: each.layout for name, each in packed if isinstance(each, PackedMatrix)}


# --- what a run leaves --------------------------------------------------------------------------


def test_it_ends_in_a_small_folder_that_answers_as_the_float_one_does(learned, plain, parent):
    out, small = learned.folder, learned.folder / "quantized"
    assert learned.quantized_bytes == folder_bytes(small) <= HARD
    assert not (out / "start").exists()
    assert not (out / "calibration.txt").exists()
    models = [bert_mobile.load(folder) for folder in (out, small)]
    said = [model.fill_mask("the of [MASK] of and the")[0]["token_str"] for model in models]
    assert said[0] == said[1] in WORDS[:WORDS_A_TOPIC]
    stored, floats = dequantize(small), read_weights(out, BertConfig.read(out))
    assert stored.keys() == floats.keys()
    assert all(np.array_equal(stored[name], floats[name]) for name in stored)
    assert layouts(small) == layouts(plain)
    assert 2 in {layout.bits for layout in layouts(small).values()}
    parents = json.loads((small / "provenance.json").read_text())["parents"]
    weights = [folder / "model.safetensors" for folder in (parent, out)]
    assert [each["sha256"] for each in parents[-2:]] == [sha256(path) for path in weights]
    said, before = (
        json.loads((folder / "provenance.json").read_text()) for folder in (small, plain)
    )
    assert said["calibration"] == before["calibration"]
    assert said["measured_on"] == before["measured_on"]


def test_the_metrics_have_the_teachers_loss(learned):
    losses = [line["teacher_loss"] for line in read_metrics(learned.folder) if "loss" in line]
    assert len(losses) == 60
    assert min(losses) > 0


def test_the_rounded_matrices_learn(learned, plain, parent, rounded, corpus, tmp_path, monkeypatch):
    """More than the biases and LayerNorms alone, which are not rounded, could make up for."""

    def cut(_ctx, gradient):
        return torch.zeros_like(gradient), None, None, None, None

    monkeypatch.setattr(_Nearest, "backward", staticmethod(cut))
    pretrain(rounded(), tmp_path / "cut")
    folders = parent, plain, tmp_path / "cut/quantized", learned.folder / "quantized"
    exact, rounding, biases, taught = (held_out_loss(folder, corpus) for folder in folders)
    print(f"float {exact:.3f}, quantized {rounding:.3f}, then {taught:.3f}, cut off {biases:.3f}")
    assert exact + 0.1 < rounding
    assert taught + 0.02 < biases < rounding


# --- going on -----------------------------------------------------------------------------------


def test_a_run_stopped_and_crashed_ends_with_the_same_bytes(
    learned, rounded, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    first = pretrain(rounded(), out, sitting=Sitting(minutes=1e-9))
    assert (first.metrics["step"], first.quantized_bytes) == (1, None)
    assert (out / "start").is_dir()
    with monkeypatch.context() as patch:
        stop_after(patch, 24, crash)
        with pytest.raises(RuntimeError, match="the power went"):
            pretrain(rounded(), out, resume=True)
    assert pretrain(rounded(), out, resume=True).resumed_from == 20
    assert_same_weights(out, learned.folder)
    ours, theirs = (folder / "quantized" / MODEL for folder in (out, learned.folder))
    assert sha256(ours) == sha256(theirs)


def test_a_run_that_is_over_says_so_again(learned, rounded, tmp_path, capsys):
    out = shutil.copytree(learned.folder, tmp_path / "run")
    (tmp_path / "recipe.toml").write_text(as_toml(rounded()))
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", str(tmp_path / "recipe.toml"), "--out", str(out), "--resume", "auto"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    last = f"{out}/quantized: {learned.quantized_bytes:,} bytes of at most {HARD:,}"
    assert said.out.splitlines()[-1] == last


def test_another_parent_is_not_gone_on_with(learned, rounded, parent, tmp_path):
    out = shutil.copytree(learned.folder, tmp_path / "run")
    other = shutil.copytree(parent, tmp_path / "other")
    config = BertConfig.read(other)
    weights = {name: 2 * weight for name, weight in read_weights(other, config).items()}
    write_checkpoint(other, config, weights, parent, {})
    with pytest.raises(InputError, match="was begun with another parent"):
        pretrain(rounded(initialize_from=str(other)), out, resume=True)


def test_another_text_is_not_gone_on_with(learned, rounded, tmp_path):
    out = shutil.copytree(learned.folder, tmp_path / "run")
    write_lines(tmp_path / "other.txt", ["the of and to in is"])
    with pytest.raises(InputError, match="was begun with another text than --calibration"):
        pretrain(rounded(calibration=str(tmp_path / "other.txt")), out, resume=True)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_bytes": None}, "qat is given without max_bytes"),
        ({"initialize_from": None}, "qat is given without initialize_from"),
        ({"qat": False}, "max_bytes is given without qat"),
        ({"qat": False, "max_bytes": None, "calibration": "t"}, "calibration is given without qat"),
        ({"teacher_weight": 0.0}, "teacher_weight is 0.0, expected over 0 up to 1"),
    ],
)
def test_contradictions_are_refused(rounded, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        rounded(**changes)
    assert caught.value.hint


def refused(settings, out, message, kind=InputError):
    """Check that a run is refused with a hint before it begins."""
    with pytest.raises(kind, match=message) as caught:
        pretrain(settings, out)
    assert caught.value.hint
    assert not out.exists()


def test_a_budget_too_small_is_refused_and_another_taken(rounded, common, parent, tmp_path, capsys):
    out, least = tmp_path / "run", r"--max-bytes is 50,000, expected at least 8\d,\d{3} "
    refused(rounded(max_bytes=50_000), out, least)
    (tmp_path / "recipe.toml").write_text(as_toml(common()))
    (tmp_path / "text.txt").write_text("the of and\tthe of\n" * 9)
    words = ["pretrain", tmp_path / "recipe.toml", "--qat", "--max-bytes", HARD, "--steps", 1]
    words += ["--initialize-from", parent, "--calibration", tmp_path / "text.txt"]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--out", str(out), "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert json.loads(said.out)["quantized_bytes"] == folder_bytes(out / "quantized") <= HARD


def test_a_calibration_file_that_is_none_is_refused(rounded, tmp_path):
    missing = str(tmp_path / "gone.txt")
    refused(rounded(calibration=missing), tmp_path / "run", "gone.txt cannot be read as text")


def test_a_parent_of_another_shape_is_refused(rounded, tiny_checkpoint, tmp_path):
    settings = rounded(initialize_from=str(tiny_checkpoint))
    refused(settings, tmp_path / "run", "has hidden_size 64, the recipe's nano has 32")


def test_a_parent_with_fewer_positions_is_refused(rounded, parent, tmp_path):
    short = shutil.copytree(parent, tmp_path / "short")
    config = replace(BertConfig.read(short), max_position_embeddings=64)
    (short / "config.json").write_text(json.dumps(config.to_json()))
    settings = rounded(initialize_from=str(short))
    refused(settings, tmp_path / "run", "has max_position_embeddings 64, the recipe's nano has 512")


def test_a_quantized_parent_is_refused(rounded, plain, tmp_path):
    settings = rounded(initialize_from=str(plain))
    refused(settings, tmp_path / "run", "is quantized already, expected the float model")


def test_a_parent_without_a_head_is_refused(rounded, parent, tmp_path):
    bare = shutil.copytree(parent, tmp_path / "bare")
    weights = read_weights(bare, BertConfig.read(bare))
    kept = {name: weight for name, weight in weights.items() if "seq_relationship" not in name}
    (bare / "provenance.json").unlink()
    write_tensors(bare / "model.safetensors", kept)
    settings = rounded(initialize_from=str(bare))
    refused(
        settings, tmp_path / "run", r"lacks cls\.seq_relationship\.bias, expected a pre-trained"
    )


def test_a_parent_that_is_not_there_is_refused(rounded, tmp_path):
    settings = rounded(initialize_from=str(tmp_path / "gone"))
    refused(settings, tmp_path / "run", "does not exist", ArtifactError)


def test_the_command_refuses_as_the_recipe_does(common, tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text(as_toml(common()))
    words = ["pretrain", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run")]
    for more, error in [
        (["--max-bytes", "90_000"], "max_bytes is given without qat"),
        (["--qat", "--max-bytes", "90_000"], "qat is given without initialize_from"),
        (["--qat", "--initialize-from", "x"], "qat is given without max_bytes"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        said = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2
        assert said[-2].startswith("error: ")
        assert error in said[-2]
        assert said[-1].startswith("hint: ")
    assert not (tmp_path / "run").exists()
