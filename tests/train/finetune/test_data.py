"""Arrays of examples, the order they are read in, and what is refused before training starts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples_of
from hypothesis import strategies as st

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.judging.data import Reading, in_order, read_examples
from bert_mobile.judging.sequences import Collector, Order
from bert_mobile.labelled import AnswerSpan, LabelledText, Question, TaggedSentence
from bert_mobile.model.config import BertConfig
from bert_mobile.runtime.batches import Tokens, pad
from bert_mobile.runtime.text import TextEncoder, TruncationWarning
from bert_mobile.train.devices import World
from bert_mobile.train.finetune import Data, finetune
from bert_mobile.train.finetune.batches import Batches
from bert_mobile.train.finetune.prepared import prepare
from bert_mobile.train.loop import DivergedError
from tests.train.finetune.conftest import reviews, write_csv

ALONE = World(0, 1, torch.device("cpu"))

tokens = st.builds(
    lambda first, second: Tokens([1, *first, *second], [0] * (1 + len(first)) + [1] * len(second)),
    st.lists(st.integers(1, 60_000), max_size=9),
    st.lists(st.integers(1, 60_000), max_size=5),
)


@examples_of(max_examples=30, deadline=None)
@given(st.lists(tokens, min_size=1, max_size=12), st.data())
def test_collected_sequences_are_padded_as_single_ones_are(given_tokens, data):
    collector = Collector(60_001)
    collector.add(given_tokens[:3])
    collector.add(given_tokens[3:])
    sequences = collector.collected()
    assert sequences.ids.dtype == np.uint16
    rows = data.draw(st.lists(st.integers(0, len(given_tokens) - 1), min_size=1, max_size=5))
    found, wanted = sequences.batch(rows, 0), pad([given_tokens[row] for row in rows], 0)
    for name in ("ids", "mask", "types"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    taken = sequences.taken(np.array(rows)).batch(range(len(rows)), 0)
    assert np.array_equal(taken.ids, wanted.ids)


@examples_of(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=300), st.integers(1, 8))
def test_every_epoch_reads_every_example_once(lengths, batch_size):
    order = Order(np.array(lengths), batch_size, seed=4)
    for epoch in range(2):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        read = np.concatenate([order.rows(step) for step in steps])
        assert sorted(read.tolist()) == list(range(len(lengths)))


def test_batches_are_alike_in_length_and_never_the_same():
    lengths = np.random.default_rng(1).integers(3, 120, 5_000)
    order = Order(lengths, 32, seed=1)
    batches = [order.rows(step) for step in range(order.steps_per_epoch)]
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert padded / lengths.sum() < 1.06
    with_first = [
        set(order.rows(step).tolist())
        for step in range(3 * order.steps_per_epoch)
        if 0 in order.rows(step)
    ]
    assert len(set.intersection(*with_first)) < 8
    # another object, asked in another sequence, says the same
    other = Order(lengths, 32, seed=1)
    for step in (200, 3, 400):
        assert np.array_equal(other.rows(step), order.rows(step))


def test_parts_of_a_batch_are_the_whole(tiny_checkpoint):
    found = encoded(tiny_checkpoint, "classify", [text(line) for line in range(1, 12)])
    order = Order(found.sequences.lengths, 11, seed=1)
    [whole] = Batches(found, order, ALONE, pad_id=0)(0)
    for size in (2, 4, 16):  # more processes than examples: some have nothing to do
        parts = [
            Batches(found, order, World(r, size, ALONE.device), pad_id=0)(0) for r in range(size)
        ]
        sums = [sum(part.counts[i] for [part] in parts) for i in range(3)]
        assert sums == list(whole.counts)
        kept = [part.targets[part.weights > 0] for [part] in parts]
        assert sorted(torch.cat(kept).tolist()) == sorted(whole.targets.tolist())


def text(line, *, label=None, words="it was good"):
    return LabelledText(line, (words + " and" * (line % 7),), (label or "ab"[line % 2],), None)


def encoded(folder, kind, examples, limit=None):
    encoder = TextEncoder(folder, BertConfig.read(folder), limit)
    reading = Reading(encoder)
    return in_order(read_examples(examples, kind, reading), reading)[0]


def test_labels_are_numbered_in_their_fixed_order(tiny_checkpoint):
    examples = [text(1, label="c"), text(2, label="a"), text(3, label="b"), text(4, label="c")]
    assert encoded(tiny_checkpoint, "classify", examples).targets.tolist() == [2, 0, 1, 2]


def test_places_are_first_pieces_and_words_beyond_the_limit_are_left_out(tiny_checkpoint):
    sentences = [
        TaggedSentence(1, ("it", "zz", "was"), ("A", "B", "C")),  # zz is two pieces
        TaggedSentence(2, ("good",) * 9, tuple("CBABCABCA")),
    ]
    found = encoded(tiny_checkpoint, "tag", sentences, limit=8)
    assert found.places.tolist() == [1, 2, 4, *range(1, 7)]
    assert found.place_offsets.tolist() == [0, 3, 9]
    assert found.targets.tolist() == [0, 1, 2, 2, 1, 0, 1, 2, 0]
    assert found.taken(np.array([1])).targets.tolist() == [2, 1, 0, 1, 2, 0]


def test_spans_are_those_of_windows_that_hold_the_whole_answer(tiny_checkpoint):
    words = ["it"] * 30
    words[20:22] = ["good", "down"]
    context = " ".join(words)
    start = context.index("good")
    asked = Question(1, "q", "was it?", context, (AnswerSpan("good down", start),))
    none = Question(2, "r", "was it?", "it it", ())
    encoder = TextEncoder(tiny_checkpoint, BertConfig.read(tiny_checkpoint), 24)
    found = read_examples([asked, none], "answer", Reading(encoder, (), stride=6))
    assert found.windows.tolist() == [0, 2, 3]
    good, down = (encoder.first_piece(word) for word in ("good", "down"))
    spans = []
    for number, (first, last) in enumerate(found.targets.tolist()):
        ids = found.sequences.batch([number], 0).ids[0]
        spans.append([ids[first], ids[last]] if first else None)
        assert bool(first) == (good in ids and down in ids)
    assert [good, down] in spans
    assert spans[-1] is None


# --- what is refused ----------------------------------------------------------------------------


def refused(settings, said, data=None, kind="classify", error=InputError, **changes):
    with pytest.raises(error, match=said):
        prepare(settings(kind, **changes), data)


def test_bad_files_are_refused_by_line_and_column(settings, reviews_csv, tmp_path):
    dev = write_csv(
        tmp_path / "dev.csv", ("what", "mood"), [("it was", "negative"), ("so", "happy")]
    )
    refused(settings, "dev.csv, line 3, column 'mood': label 'happy'", dev=str(dev))
    one = write_csv(tmp_path / "one.csv", ("what", "mood"), [(t, "good") for t, _ in reviews(30)])
    refused(settings, "one.csv, column 'mood': the only label is 'good'", train=str(one),
            text=("what",), label="mood")  # fmt: skip
    refused(settings, "'nope'", text=("nope",))
    refused(settings, "reviews.csv", text=("mood",), label="what")  # swapped
    empty = write_csv(tmp_path / "empty.csv", ("what", "mood"), [])
    refused(settings, "empty.csv", train=str(empty))
    few = write_csv(tmp_path / "few.csv", ("what", "mood"), reviews(6))
    refused(settings, "there are 6 examples, too few to hold some out", train=str(few))
    blank = write_csv(tmp_path / "blank.csv", ("what", "mood"), [*reviews(30), ("", "negative")])
    refused(settings, "blank.csv, line 32, column 'what'", train=str(blank))
    refused(settings, "there is no file to train on", train="")


def test_numbers_that_teach_nothing_are_refused(settings, tmp_path):
    def numbers(name, values):
        rows = [(words, value) for (words, _), value in zip(reviews(30), values, strict=False)]
        return str(write_csv(tmp_path / name, ("what", "score"), rows))

    good = numbers("good.csv", range(-15, 15))
    of = {"kind": "regress", "label": "score"}
    huge = numbers("huge.csv", [*range(29), 2e30])
    refused(settings, "huge.csv, line 31, column 'score': 2e.30, expected at most 1e.30", **of,
            train=huge)  # fmt: skip
    one = numbers("one.csv", [5.0] * 30)
    refused(settings, "one.csv, column 'score': the only number is 5, expected different", **of,
            train=one)  # fmt: skip
    close = numbers("close.csv", [10**12 + i for i in range(30)])
    refused(settings, "close.csv, column 'score': all are from 1e.12 to 1e.12", **of, train=close)
    few = numbers("few.csv", [3.0])
    refused(settings, "few.csv, column 'score': the only number is 3, by which pearson_spearman",
            **of, train=good, dev=few)  # fmt: skip
    prepare(settings(**of, train=good, dev=few, metric="mean_absolute_error"))


def test_what_is_odd_about_data_is_told(settings, reviews_csv, tmp_path):
    with pytest.warns(UserWarning, match="reviews.csv has the very examples of .*reviews.csv"):
        prepare(settings(dev=str(reviews_csv)))
    rows = [(words, label.title() if n == 9 else label) for n, (words, label) in
            enumerate(reviews(30))]  # fmt: skip
    mixed = write_csv(tmp_path / "mixed.csv", ("what", "mood"), rows)
    with pytest.warns(UserWarning, match="mixed.csv: labels 'Negative' and 'negative' differ"):
        prepare(settings(train=str(mixed)))
    rows = [(words, f"{n / 4}") for n, (words, _) in enumerate(reviews(30))]
    numbers = write_csv(tmp_path / "numbers.csv", ("what", "label"), rows)
    found = (
        r"numbers.csv, column 'label': 30 labels for 30 examples, .*; numbers are learned by reg"
    )
    with pytest.warns(UserWarning, match=found):
        prepare(settings(train=str(numbers)))
    tags = tmp_path / "tags.conll"
    tags.write_text("".join(f"it {tag}\nwas O\n\n" for tag in ["B-PER", "I-LOC"] * 15))
    with pytest.warns(UserWarning, match="tags.conll: tags of BIO and IO are mixed"):
        prepare(settings("tag", train=str(tags)))


def test_files_are_read_as_the_settings_say(settings, tmp_path):
    path = tmp_path / "table.data"
    lines = [f"caf\xe9 {words},{label}" for words, label in reviews(30)]
    path.write_text("\n".join([*lines, "it was,"]), encoding="latin-1")
    say = {"train": str(path), "form": "csv", "encoding": "latin-1", "header": False}
    refused(settings, "table.data, line 31, column '#2': no label", **say)
    found = prepare(settings(**say, skip_unlabelled=True))
    assert len(found.train) + len(found.judge.encoded) == 30


def test_bad_examples_of_programs_are_refused(settings):
    good = [text(line) for line in range(1, 9)]
    unlabelled = LabelledText(9, ("it",), None, None)
    refused(settings, "example 9: there is no label", Data([*good, unlabelled], good))
    two = LabelledText(9, ("it",), ("a", "b"), None)
    refused(settings, "example 9: 2 labels, expected one", Data([*good, two], good))
    other = text(9, label="c")
    refused(settings, "example 9: label 'c', expected one of .*: a, b", Data(good, [other]))
    nothing = LabelledText(9, ("\u200b",), ("a",), None)
    refused(settings, "example 9: the text is empty", Data([*good, nothing], good))
    refused(settings, "example 1: 1 text.s., expected 2", Data(good, good), kind="pairs")
    refused(settings, "has no example", Data([], good))
    refused(settings, "there is one class only, a", Data([text(2, label="a")], good))


def test_lengths_beyond_the_positions_are_refused(settings):
    refused(settings, "max_length is 65, the model has 64 positions", max_length=65)


def test_long_texts_are_cut_with_one_warning(settings):
    long = [text(line, words="it " * 90) for line in range(1, 9)]
    with pytest.warns(TruncationWarning, match="8 train examples have more than 16 tokens"):
        prepare(settings(max_length=16), Data(long, [text(1)]))


def test_other_folders_are_left_alone(settings, tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ArtifactError, match="is not empty and was not written by this command"):
        finetune(settings(), tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(settings, tmp_path):
    with pytest.raises(DivergedError, match="the loss is nan"):
        finetune(settings(learning_rate=1e30, warmup_share=0.0), tmp_path / "run")
