"""Learning from a teacher: its labels by name, its own pieces, its relations."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_mobile.errors import InputError
from bert_mobile.labelled import LabelledText
from bert_mobile.model.config import SEQUENCES, BertConfig
from bert_mobile.model.heads import BertForTask
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, save_tokenizer
from bert_mobile.train.finetune import Data, finetune
from bert_mobile.train.finetune.prepared import prepare
from bert_mobile.train.finetune.teacher import Relations, teacher_logits
from bert_mobile.train.record import read_metrics
from tests.conftest import LETTERS, WORDS
from tests.train.finetune.conftest import reviews

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, settings):
    """A tiny network that tells reviews apart. Never write to it."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)
        assert finetune(settings(), out).figures["accuracy"] > 0.9
    return out


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, teacher):
    """The teacher with a vocabulary of its own, in another order and with words cut to letters."""
    folder = shutil.copytree(teacher, tmp_path_factory.mktemp("stranger") / "teacher")
    pieces = [*LETTERS, *("##" + letter for letter in LETTERS), "good", "down", *WORDS[:40]]
    vocabulary = dict.fromkeys([*SPECIAL_TOKENS, *pieces])
    (folder / "tokenizer.json").unlink()
    save_tokenizer(bert_wordpiece({piece: i for i, piece in enumerate(vocabulary)}), folder)
    (folder / "provenance.json").unlink()
    return folder


def examples(rows, flip=False):
    names = {"positive": "negative", "negative": "positive"} if flip else {}
    return [
        LabelledText(line, (text,), (names.get(label, label),), None)
        for line, (text, label) in enumerate(rows, 1)
    ]


def test_a_teacher_alone_teaches_in_the_data_s_order_of_labels(settings, teacher, tmp_path):
    """The data's labels are all wrong, and not listened to."""
    data = Data(
        examples(reviews(300, seed=5), flip=True),
        examples(reviews(60, seed=6)),
        labels=("positive", "negative"),
    )
    made = settings(train="", teacher=str(teacher), teacher_weight=1.0)
    report = finetune(made, tmp_path / "run", data=data)
    assert report.labels == ("positive", "negative")
    assert report.figures["accuracy"] > 0.85
    lines = [line for line in read_metrics(tmp_path / "run") if "loss" in line]
    assert all(line["loss"] == pytest.approx(line["teacher_loss"]) for line in lines)
    assert lines[-1]["label_loss"] > 1 > lines[-1]["teacher_loss"]


def test_a_teacher_reads_with_its_own_tokenizer(settings, stranger):
    data = Data(examples(reviews(30)), examples(reviews(4)))
    prepared = prepare(settings(train="", teacher=str(stranger)), data)
    found = teacher_logits(
        prepared.teacher, prepared.train, CPU, "fp32", scale=(0.0, 1.0), quiet=True
    )
    theirs = AutoModelForSequenceClassification.from_pretrained(stranger).eval()
    tokenizer = AutoTokenizer.from_pretrained(stranger)
    read = tokenizer([text for text, _ in reviews(30)], padding=True, truncation=True,
                     max_length=64, return_tensors="pt")  # fmt: skip
    with torch.inference_mode():
        wanted = theirs(**read).logits.numpy()
    difference = np.abs(found.astype(np.float32) - wanted).max()
    assert difference < 0.01, f"{difference:.1e}"  # float16's rounding


def test_relations_are_those_of_the_paper(tiny_config):
    torch.manual_seed(3)
    config = tiny_config.with_task(SEQUENCES, labels=("a", "b"))
    student, teacher = BertForTask(config).eval(), BertForTask(config).eval()
    for parameter in teacher.parameters():
        parameter.data *= 2
    relations = Relations(student, teacher)
    ids, types = torch.randint(5, 200, (3, 9)), torch.zeros((3, 9), dtype=torch.long)
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    student(ids, mask, types)
    found = relations(ids, mask, types).detach()
    wanted = 0.0
    for row in range(3):
        length = int(mask[row].sum())
        own = ids[row : row + 1, :length], None, types[row : row + 1, :length]
        sides = [by_hand(network, own, relations.heads) for network in (student, teacher)]
        for ours, theirs in zip(*sides, strict=True):
            each = (theirs * (theirs.log() - ours.log())).sum(-1)  # (R, T)
            wanted += float(each.mean()) / 3
    assert float(found) == pytest.approx(wanted, rel=1e-3)
    assert wanted > 0.001
    same = Relations(student, student)
    student(ids, mask, types)
    assert float(same(ids, mask, types).detach()) == pytest.approx(0, abs=1e-6)


def by_hand(network, batch, heads):
    """Return the relations of queries, keys and values of a batch of one, (R, T, T) each."""
    hidden = network.encoder.embeddings(batch[0], batch[2])
    *before, last = network.encoder.layers
    for layer in before:
        hidden = layer(hidden, None)
    found = []
    for matrix in (last.attention.query, last.attention.key, last.attention.value):
        parts = matrix(hidden)[0].unflatten(-1, (heads, -1)).transpose(0, 1)  # (R, T, D)
        scores = parts @ parts.transpose(1, 2) / parts.shape[-1] ** 0.5
        found.append(torch.softmax(scores, -1).detach())
    return found


def test_relations_are_learned(settings, teacher, tmp_path):
    data = Data(examples(reviews(100)), examples(reviews(20)))
    made = settings(train="", teacher=str(teacher), relation_weight=1.0, epochs=3)
    finetune(made, tmp_path / "run", data=data)
    losses = [line["relation_loss"] for line in read_metrics(tmp_path / "run") if "loss" in line]
    assert losses[-1] < losses[0]


def test_teachers_of_something_else_are_refused(
    settings, teacher, stranger, tiny_checkpoint, tmp_path
):
    data = Data(examples(reviews(30)), examples(reviews(4)))
    with pytest.raises(InputError, match="is a BertForPreTraining, expected a BertForSequenceCl"):
        prepare(settings(train="", teacher=str(tiny_checkpoint)), data)
    with pytest.raises(InputError, match="reads other pieces than the model"):
        prepare(settings(train="", teacher=str(stranger), relation_weight=1.0), data)
    renamed = shutil.copytree(stranger, tmp_path / "renamed")
    config = json.loads((renamed / "config.json").read_text())
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    config["label2id"] = {"LABEL_0": 0, "LABEL_1": 1}
    (renamed / "config.json").write_text(json.dumps(config))
    assert BertConfig.read(renamed).labels == ("LABEL_0", "LABEL_1")
    with pytest.raises(
        InputError, match="knows the labels LABEL_0, LABEL_1, the data has negative, positive"
    ) as caught:
        prepare(settings(train="", teacher=str(renamed)), data)
    assert "id2label" in caught.value.hint
    with pytest.raises(InputError, match="gives a text one label, expected any number"):
        prepare(settings(train="", teacher=str(teacher), several=True), data)
    numbers = [LabelledText(line, ("it was",), None, line / 2) for line in range(1, 9)]
    with pytest.raises(InputError, match="has 2 outputs, expected one number"):
        prepare(settings("regress", train="", teacher=str(teacher)), Data(numbers, numbers))
