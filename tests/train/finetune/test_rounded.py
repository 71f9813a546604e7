"""Fine-tuning with rounded weights, end to end: the file's layout, size and score."""

import json
import random
import shutil

import pytest

from bert_mobile.errors import InputError
from bert_mobile.labelled import LabelledText, TaggedSentence
from bert_mobile.model.config import REGRESSION, SEQUENCES, BertConfig
from bert_mobile.quantize import read_packed
from bert_mobile.quantize.pack import PackedMatrix
from bert_mobile.quantize.report import folder_bytes
from bert_mobile.runtime.sessions import open_session
from bert_mobile.train.finetune import Data, finetune
from bert_mobile.train.finetune.prepared import prepare
from bert_mobile.train.sitting import Sitting
from tests.conftest import WORDS
from tests.train.finetune.conftest import sentence

HARD = 100_000
"""Bytes in which nearly every matrix has 2 bits."""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)
    monkeypatch.setattr("bert_mobile.tasks.reports.draw", lambda *_: None)


def texts(count):
    """Return texts whose label is the one word of them that is among five."""
    chance, found = random.Random(4), []
    for line in range(1, count + 1):
        words, key = sentence(chance), chance.choice(WORDS[60:65])
        words.insert(chance.randrange(len(words) + 1), key)
        found.append(LabelledText(line, (" ".join(words),), (key,), None))
    return found


def sentences(count):
    """Return sentences whose words each have one tag of four."""
    chance, found = random.Random(5), []
    for line in range(1, count + 1):
        words = tuple(sentence(chance))
        tags = tuple("ABCD"[WORDS.index(word) % 4] for word in words)
        found.append(TaggedSentence(line, words, tags))
    return found


def layouts(folder):
    """Return the layout of every matrix."""
    packed = read_packed(folder).items()
    return {name: each.layout for name, each in packed if isinstance(each, PackedMatrix)}


@pytest.mark.parametrize(("kind", "make"), [("classify", texts), ("tag", sentences)])
def test_the_small_file_has_the_layout_and_a_better_score(kind, make, settings, tmp_path):
    examples = make(600)
    data, folder = Data(examples[:400], examples[400:]), tmp_path / "float"
    finetune(settings(kind, train=""), folder, data=data)
    learning = settings(kind, train="", epochs=6, qat=True, max_bytes=HARD, model=str(folder))
    prepared, out = prepare(learning, data), tmp_path / "out"
    finetune(learning, out, prepared=prepared, sitting=Sitting(minutes=1e-9))
    plain, small = shutil.copytree(out / "start", tmp_path / "plain"), out / "quantized"
    learned = finetune(learning, out, prepared=prepared, resume=True)
    assert layouts(small) == layouts(plain)
    assert 2 in {layout.bits for layout in layouts(small).values()}
    assert folder_bytes(small) <= HARD
    before = prepared.judge.figures(open_session(plain, BertConfig.read(plain)))
    print(f"quantized {before}, and trained so {learned.quantized}")
    assert learned.quantized[learned.metric] > before[learned.metric]


def test_what_cannot_begin_leaves_nothing(tiny_task, settings, tmp_path):
    parent = str(tiny_task(SEQUENCES, labels=tuple(sorted(WORDS[60:65]))))
    examples, text = texts(40), tmp_path / "text.txt"
    text.touch()
    data, learning = Data(examples[:30], examples[30:]), {"qat": True, "model": parent}
    for changes in ({"max_bytes": 1}, {"max_bytes": HARD, "calibration": str(text)}):
        with pytest.raises(InputError):
            finetune(settings(train="", **learning | changes), tmp_path / "out", data=data)
        assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_another_text_is_not_gone_on_with(tiny_task, settings, tmp_path):
    parent = str(tiny_task(SEQUENCES, labels=tuple(sorted(WORDS[60:65]))))
    examples, out = texts(40), tmp_path / "out"
    data = Data(examples[:30], examples[30:])
    begun, other = tmp_path / "begun.txt", tmp_path / "other.txt"
    begun.write_text("the old man\nand the state\n", encoding="utf-8")
    other.write_text("we see the world\n", encoding="utf-8")

    def learn(text, **options):
        changes = {"qat": True, "max_bytes": HARD, "epochs": 1, "calibration": str(text)}
        finetune(settings(train="", model=parent, **changes), out, data=data, **options)

    learn(begun, sitting=Sitting(minutes=1e-9))
    record = (out / "finetune.json").read_text()
    for _ in ("while it lasts", "when it is over"):
        with pytest.raises(InputError, match=r"begun with another text than --calibration .*other"):
            learn(other, resume=True)
        assert (out / "finetune.json").read_text() == record
        learn(begun, resume=True)
    assert not (out / "start").exists()


def numbers(count):
    """Return texts of which a number counts some words, far from 0."""
    chance, found = random.Random(6), []
    for line in range(1, count + 1):
        times = chance.randrange(5)
        words = [*sentence(chance), *["good"] * times]
        chance.shuffle(words)
        found.append(LabelledText(line, (" ".join(words),), (), 100_000 + 20_000 * times))
    return found


def test_a_head_of_one_label_is_a_number_though_it_does_not_say_so(settings, tmp_path):
    """transformers' config.json states no problem_type where it was not given one."""
    examples, folder = numbers(300), tmp_path / "float"
    data = Data(examples[:200], examples[200:])
    finetune(settings("regress", train=""), folder, data=data)
    config = json.loads((folder / "config.json").read_text())
    del config["problem_type"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "provenance.json").unlink()
    learning = settings("regress", train="", epochs=1, qat=True, max_bytes=HARD, model=str(folder))
    learned = finetune(learning, tmp_path / "out", data=data)
    print(learned.figures, learned.quantized)
    assert learned.quantized["mean_absolute_error"] < 60_000
    assert BertConfig.read(tmp_path / "out" / "quantized").problem_type == REGRESSION


def test_the_start_is_kept_where_training_makes_it_worse(settings, tmp_path):
    examples = texts(200)
    data, folder = Data(examples[:150], examples[150:]), tmp_path / "float"
    finetune(settings("classify", train=""), folder, data=data)
    learning = settings(
        "classify", train="", epochs=1, qat=True, max_bytes=HARD, model=str(folder),
        learning_rate=30.0, clip_norm=1e9,
    )  # fmt: skip
    prepared, out = prepare(learning, data), tmp_path / "out"
    finetune(learning, out, prepared=prepared, sitting=Sitting(minutes=1e-9))
    plain = shutil.copytree(out / "start", tmp_path / "plain")
    learned = finetune(learning, out, prepared=prepared, resume=True)
    assert learned.best_step == 0
    for name, matrix in read_packed(plain).items():
        if isinstance(matrix, PackedMatrix):
            assert (read_packed(out / "quantized")[name].codes == matrix.codes).all()
