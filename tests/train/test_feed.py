"""Batches in fixed shapes, made by other processes, in the same order whoever makes them."""

import multiprocessing

import pytest
import torch

from bert_mobile.errors import RunError
from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.train.devices import World
from bert_mobile.train.feed import fixed_shape, pair_feed
from bert_mobile.train.objective import NO_TARGET

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def sampler(tiny_corpus):
    return PairSampler(Corpus(tiny_corpus, "train"), seed=1, sequence_length=48, batch_size=8)


def taken(feed, count):
    with feed:
        return [feed.next() for _ in range(count)]


def assert_equal(one, other):
    for ours, theirs in zip(one, other, strict=True):
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)
        else:
            assert ours == theirs


def test_fixed_shapes_hold_the_same_questions(sampler):
    batch = sampler.batch(3)
    fixed = fixed_shape(batch, 48, 8 * sampler.most_asked)
    rows, width = batch.input_ids.shape
    assert fixed.input_ids.shape == (8, 48)
    assert (fixed.input_ids[:, :width].numpy() == batch.input_ids).all()
    asked = fixed.targets != NO_TARGET
    assert len(fixed.targets) == 8 * sampler.most_asked
    assert fixed.targets[asked].tolist() == batch.targets.tolist()
    shown = fixed.input_ids.flatten()[fixed.positions[asked]]
    assert shown.tolist() == batch.input_ids.ravel()[batch.positions].tolist()
    assert fixed.counts == (len(batch.targets), rows, batch.attention_mask.sum())


def test_a_batch_without_padding_needs_no_mask(sampler):
    sampler = PairSampler(sampler.corpus, seed=1, sequence_length=48, batch_size=1)
    steps = [fixed_shape(sampler.batch(step), 48, 100) for step in range(100)]
    bare = [batch.attention_mask is None for batch in steps]
    assert bare == [batch.counts[2] == 48 for batch in steps]
    assert {True, False} == set(bare)


def test_all_tokens_are_asked_for_where_all_are_wanted(tiny_corpus):
    sampler = PairSampler(
        Corpus(tiny_corpus, "train"), seed=1, sequence_length=48, batch_size=8, ask_all=True
    )
    batch = sampler.batch(0)
    assert len(batch.targets) == sampler.special.is_text[batch.targets].sum() <= 8 * 45
    assert sampler.most_asked == 45
    hidden = (batch.input_ids.ravel()[batch.positions] != batch.targets).mean()
    assert 0.1 < hidden < 0.15  # a tenth of the 15 % are shown as they are


def test_other_processes_make_the_same_batches(sampler):
    alone = taken(pair_feed(sampler, 5, ALONE, workers=0), 6)
    helped = taken(pair_feed(sampler, 5, ALONE, workers=2), 6)
    for [one], [other] in zip(alone, helped, strict=True):
        assert_equal(one, other)


def test_micro_batches_and_processes_share_the_same_rows(sampler):
    [[whole]] = taken(pair_feed(sampler, 2, ALONE), 1)
    [halves] = taken(pair_feed(sampler, 2, ALONE, accumulation=2), 1)
    worlds = [World(rank, 2, torch.device("cpu")) for rank in range(2)]
    shared = [taken(pair_feed(sampler, 2, world), 1)[0][0] for world in worlds]
    for one, other in zip(halves, shared, strict=True):
        assert_equal(one, other)
    assert torch.equal(torch.cat([half.input_ids for half in halves]), whole.input_ids)
    assert sum(half.counts[0] for half in halves) == whole.counts[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_worker_is_named(sampler):
    def feed_of_the_dead():
        with pair_feed(sampler, 0, ALONE, workers=1) as feed:
            feed.next()
            for worker in multiprocessing.active_children():
                worker.kill()
            list(iter(feed.next, None))  # what was made before the worker's death may still come

    with pytest.raises(RunError, match="a process that makes batches is lost"):
        feed_of_the_dead()


def test_a_worker_that_is_lost_without_a_word_is_named(sampler):
    with pair_feed(sampler, 0, ALONE, workers=1) as feed:
        made, feed._batches = feed._batches, broken_pipe()
        with pytest.raises(RunError, match="a process that makes batches is lost: EOFError"):
            feed.next()
        feed._batches = made


def broken_pipe():
    raise EOFError
    yield


def test_a_closed_feed_gives_nothing(sampler):
    with pytest.raises(ValueError, match="not open"):
        pair_feed(sampler, 0, ALONE).next()
