"""What each kind of task learns, and that transformers says the same of the result."""

import random

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from bert_mobile.labelled import AnswerSpan, LabelledText, Question, TaggedSentence
from bert_mobile.model.config import BertConfig
from bert_mobile.train.finetune import Data, finetune
from tests.train.finetune.conftest import reviews, sentence, write_csv


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("bert_mobile.train.finetune.command.draw_curve", lambda *_: None)


def opened(folder, auto=AutoModelForSequenceClassification):
    return AutoTokenizer.from_pretrained(folder), auto.from_pretrained(folder).eval()


def test_numbers_are_learned_in_their_own_scale(settings, tmp_path):
    """Of thousands, which no head of BERT's initial size would reach."""
    chance = random.Random(3)
    examples = []
    for line in range(300):
        words = sentence(chance)
        value = 7_000.0 if "good" in words else 5_000.0
        examples.append(LabelledText(line + 1, (" ".join(words),), None, value))
        more = [*words, "good"]
        examples.append(LabelledText(line + 1, (" ".join(more),), None, 7_000.0))
    made = settings("regress", train="")
    report = finetune(made, tmp_path / "run", data=Data(examples[:500], examples[500:]))
    assert report.metric == "pearson_spearman"
    assert report.figures["pearson"] > 0.8
    assert report.figures["mean_absolute_error"] < 500
    tokenizer, theirs = opened(tmp_path / "run")
    texts = [each.texts[0] for each in examples[500:]]
    with torch.inference_mode():
        said = theirs(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0].numpy()
    wanted = np.array([each.value for each in examples[500:]])
    error = np.abs(said - wanted).mean()
    assert error == pytest.approx(report.figures["mean_absolute_error"], rel=1e-3)


def test_several_labels(settings, tmp_path):
    rows = []
    for text, label in reviews(250):
        rows += [(f"{text} came", f"{label}|mixed"), (text, label)]
    train = write_csv(tmp_path / "topics.csv", ("text", "topics"), rows)
    made = settings(train=str(train), several=True, epochs=4, class_weights="balanced")
    report = finetune(made, tmp_path / "run")
    assert report.labels == ("mixed", "negative", "positive")
    assert report.figures["micro_f1"] > 0.8
    tokenizer, theirs = opened(tmp_path / "run")
    assert theirs.config.problem_type == "multi_label_classification"
    said = theirs(**tokenizer("it was good came", return_tensors="pt")).logits[0] > 0
    assert said.tolist() == [True, False, True]


def test_tags(settings, tmp_path):
    chance = random.Random(5)
    examples = []
    for line in range(300):
        words = tuple(sentence(chance))
        tags = tuple("B-X" if len(word) == 3 else "O" for word in words)
        examples.append(TaggedSentence(line + 1, words, tags))
    made = settings("tag", train="", epochs=8)
    report = finetune(made, tmp_path / "run", data=Data(examples[:250], examples[250:]))
    assert report.metric == "entity_f1"
    assert report.figures["entity_f1"] > 0.8
    tokenizer, theirs = opened(tmp_path / "run", AutoModelForTokenClassification)
    right, asked = 0, 0
    for example in examples[250:]:
        read = tokenizer(list(example.words), is_split_into_words=True, return_tensors="pt")
        with torch.inference_mode():
            said = theirs(**read).logits[0].argmax(-1).tolist()
        numbers = read.word_ids()
        firsts = [numbers.index(word) for word in range(len(example.words))]
        found = [theirs.config.id2label[said[first]] for first in firsts]
        right += sum(map(str.__eq__, found, example.tags))
        asked += len(found)
    assert right / asked == pytest.approx(report.figures["token_accuracy"])


def test_pairs(settings, tmp_path):
    chance = random.Random(8)
    examples = []
    for line in range(600):
        a, b = sentence(chance, 4), sentence(chance, 4)
        b.insert(1, "good" if line % 2 else "down")
        examples.append(
            LabelledText(line + 1, (" ".join(a), " ".join(b)), ("yny"[line % 2],), None)
        )
    made = settings("pairs", train="", epochs=2)
    data = Data(examples[:500], examples[500:], labels=("y", "n"), metrics=("f1", "accuracy"))
    report = finetune(made, tmp_path / "run", data=data)
    assert report.labels == ("y", "n")
    assert (report.metric, [*report.figures]) == ("f1", ["f1", "accuracy"])
    assert report.figures["accuracy"] > 0.9


def questions(count, seed, answerable):
    chance = random.Random(seed)
    found = []
    for line in range(count):
        words = sentence(chance, chance.randint(4, 90))  # 64 positions: windows
        place, mood = chance.randrange(len(words)), chance.choice(["good", "down"])
        answers = ()
        if line % answerable:
            words[place] = mood
            answers = (AnswerSpan(mood, len(" ".join([*words[:place], ""]))),)
        else:
            words = [word for word in words if word not in ("good", "down")]
        found.append(Question(line + 1, str(line), "how is it?", " ".join(words), answers))
    return found


def test_answers_in_long_contexts_and_none(settings, tmp_path):
    data = Data(questions(300, 1, answerable=4), questions(60, 2, answerable=4))
    report = finetune(settings("answer", train="", epochs=4), tmp_path / "run", data=data)
    assert report.metric == "answer_f1"
    assert report.figures["answer_f1"] > 0.8
    config = BertConfig.read(tmp_path / "run")
    assert (config.architecture, config.max_length) == ("BertForQuestionAnswering", 64)
    assert config.no_answer_threshold is not None
    opened(tmp_path / "run", AutoModelForQuestionAnswering)
