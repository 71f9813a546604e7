"""A small network grown into a larger one does nearly the same."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import transformers

from bert_mobile.checkpoint import read_weights
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import read_json, sha256
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.progress import Progress
from bert_mobile.train.grow import grow, layers, text
from tests.train.grow import answers, larger


@torch.no_grad()
def hidden_states(folder, ids):
    model = BertForPretraining(BertConfig.read(folder)).eval()
    model.from_huggingface(read_weights(folder, model.config))
    return model.encoder(ids, None, torch.zeros_like(ids))


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 0.05),  # heads of the same width, as many layers
        ({"num_hidden_layers": 5}, 0.15),
        ({"hidden_size": 128, "num_attention_heads": 4}, 0.1),  # wider heads
    ],
    ids=["wider", "deeper", "wider heads"],
)
def test_the_larger_network_does_nearly_the_same(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path, ids, changes, limit
):
    config, out = larger(tiny_config, **changes), tmp_path / "g"
    report = grow(source, out, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    expected, found = hidden_states(source, ids), hidden_states(out, ids)[..., :64]
    error = ((found - expected).norm() / expected.norm()).item()
    assert error < limit
    assert len(report.hidden_state_error) == config.num_hidden_layers + 1
    assert max(report.hidden_state_error) < limit


def test_the_result_is_a_checkpoint_like_any_other(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path
):
    config = larger(tiny_config, num_hidden_layers=3)
    out = tmp_path / "g"
    report = grow(source, out, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    theirs, notes = transformers.BertForPreTraining.from_pretrained(out, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    assert theirs.config.num_hidden_layers == 3
    record = read_json(out / "provenance.json", "")
    parent = record["parents"][-1]
    assert parent["name"] == source.name
    assert parent["sha256"] == sha256(source / "model.safetensors")
    assert record["grow"] == report.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 48, "num_attention_heads": 3}, "hidden_size is 48, the source's is 64"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, the source's is 2"),
        ({"intermediate_size": 100}, "intermediate_size is 100, the source's is 128"),
        ({"num_attention_heads": 12}, "head_size is 8, the source's is 16"),
        ({"vocab_size": 99}, "has 206 pieces, expected 99"),
    ],
)
def test_shrinking_is_refused(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path, changes, message
):
    config = larger(tiny_config, **changes)
    with pytest.raises(InputError, match=message):
        grow(source, tmp_path / "g", config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    assert not (tmp_path / "g").exists()


def test_a_foreign_folder_is_kept(source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    config = larger(tiny_config)
    with pytest.raises(ArtifactError, match="not written by this command"):
        grow(source, tmp_path, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_progress_counts_what_is_done(written, tiny_config, tiny_corpus, tmp_path, monkeypatch):
    seen = {}

    @contextmanager
    def counted(label, total, unit):
        class Counter(Progress):
            def advance(self, amount=1, note=""):
                seen[label][1] += amount

        seen[label] = [total, 0, unit]
        yield Counter()

    for module in (layers, text):
        monkeypatch.setattr(module, "progress", counted)
    config = larger(tiny_config, num_hidden_layers=3)
    source = written("BertModel")
    grow(source, tmp_path / "g", config=config, tokenizer=source, corpus=tiny_corpus)
    assert seen == {
        "reading text": [64 * 30, 64 * 30, "pieces"],
        "growing": [2 + 3, 2 + 3, "layers"],  # the source's are surveyed first
        "counting pieces": [5000, 160, "documents"],
    }


@pytest.mark.parametrize(("before", "after"), [(20, 64), (64, 12), (9, 9)])
def test_other_numbers_of_positions(
    written, tiny_config, tiny_corpus, tmp_path, ids, before, after
):
    """The first positions are the source's, more than it has repeat them, fewer do no harm."""
    source = written(max_position_embeddings=before)
    config = BertConfig(**{**vars(tiny_config), "max_position_embeddings": after})
    grow(source, tmp_path / "g", config=config, tokenizer=source, corpus=tiny_corpus)
    short = ids[:, : min(before, after)]
    for expected, found in zip(answers(source, short), answers(tmp_path / "g", short), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    rows = read_weights(tmp_path / "g", config)["bert.embeddings.position_embeddings.weight"]
    if after > before:
        np.testing.assert_array_equal(rows[before : 2 * before - 1], rows[1:before])


def test_one_segment_is_enough(written, tiny_config, tiny_corpus, tmp_path):
    source = written(type_vocab_size=1)
    grow(source, tmp_path / "g", config=tiny_config, tokenizer=source, corpus=tiny_corpus)
    rows = read_weights(tmp_path / "g", tiny_config)["bert.embeddings.token_type_embeddings.weight"]
    np.testing.assert_array_equal(rows[0], rows[1])
