"""Batches hold texts of like length and no more padding than they must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_mobile.errors import InputError
from bert_mobile.model.config import BertConfig
from bert_mobile.runtime.batches import Tokens, by_length, pad
from bert_mobile.runtime.model import Model
from bert_mobile.runtime.text import TextEncoder


@given(st.lists(st.integers(1, 512), max_size=50), st.integers(1, 9))
def test_each_index_comes_once_and_lengths_never_grow(lengths, batch_size):
    batches = list(by_length(lengths, batch_size))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_padding_is_marked():
    batch = pad([Tokens([2, 9, 3], [0, 0, 0]), Tokens([2, 3], [0, 1])], pad_id=7)
    np.testing.assert_array_equal(batch.ids, [[2, 9, 3], [2, 3, 7]])
    np.testing.assert_array_equal(batch.mask, [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(batch.types, [[0, 0, 0], [0, 1, 0]])


def test_batch_size_must_be_positive():
    with pytest.raises(InputError, match="batch size is 0, expected at least 1"):
        list(by_length([3], 0))


class RecordingSession:
    """A network that knows nothing, and remembers what it was given."""

    outputs = frozenset({"logits", "last_hidden_state", "seq_relationship_logits"})

    def __init__(self, config: BertConfig) -> None:
        self.config = config
        self.batches = []

    def run(self, output, batch, positions=None):
        self.batches.append(batch)
        if output == "logits":
            return np.zeros((len(positions), self.config.vocab_size), np.float32)
        width = self.config.hidden_size if output == "last_hidden_state" else 2
        shape = (*batch.ids.shape, width) if width > 2 else (len(batch.ids), 2)
        return np.zeros(shape, np.float32)


def test_no_question_pads_further_than_it_must(tiny_checkpoint, tiny_config):
    session = RecordingSession(tiny_config)
    model = Model(session, TextEncoder(tiny_checkpoint, tiny_config), tiny_config, tiny_checkpoint)
    texts = ["the " * length + "[MASK]" for length in (30, 1, 29, 2, 28, 3, 1)]
    model.fill_mask(texts, batch_size=3)
    model.embed(texts, batch_size=3)
    model.next_sentence(texts, ["we"] * len(texts), batch_size=3)
    assert [batch.ids.shape[0] for batch in session.batches] == [3, 3, 1] * 3
    assert [batch.ids.shape[1] for batch in session.batches[:3]] == [33, 6, 4]
    for batch in session.batches:
        assert batch.mask.sum(axis=1).max() == batch.ids.shape[1]
    session.batches.clear()
    model.score(texts, batch_size=8)
    for batch in session.batches:
        assert batch.mask.sum(axis=1).max() == batch.ids.shape[1]
