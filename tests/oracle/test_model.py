"""The network against `transformers`, weights copied in both directions."""

import pytest
import torch

from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.model.names import TIED, to_huggingface

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def config() -> BertConfig:
    return BertConfig(3, 48, 4, 96, vocab_size=211, max_position_embeddings=40)


@pytest.fixture(scope="module")
def ours(config, theirs) -> BertForPretraining:
    model = BertForPretraining(config).eval()
    model.from_huggingface({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    return model


def largest(a, b) -> float:
    difference = (a - b).abs().max().item()
    print(f"largest difference {difference:.2e}")
    return difference


@torch.no_grad()
def test_encoder(ours, theirs, batch) -> None:
    hidden = ours.encoder(**batch)
    reference = theirs.bert(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    assert largest(hidden[real], reference[real]) < TOLERANCE


@torch.no_grad()
def test_no_mask_is_a_mask_of_ones(ours, batch) -> None:
    ones = torch.ones_like(batch["attention_mask"])
    with_mask = ours.encoder(batch["input_ids"], ones, batch["token_type_ids"])
    without = ours.encoder(batch["input_ids"], None, batch["token_type_ids"])
    assert largest(with_mask, without) < TOLERANCE


@torch.no_grad()
def test_pretraining_heads(ours, theirs, batch) -> None:
    out, reference = ours(**batch), theirs(**batch)
    real = batch["attention_mask"].bool()
    assert largest(out.masked_tokens[real], reference.prediction_logits[real]) < TOLERANCE
    assert largest(out.next_sentence, reference.seq_relationship_logits) < TOLERANCE


@torch.no_grad()
def test_logits_at_masked_positions_only(ours, batch) -> None:
    positions = torch.tensor([1, 4, 20, 35])
    some = ours(**batch, positions=positions).masked_tokens
    everywhere = ours(**batch).masked_tokens.flatten(0, 1)
    assert some.shape == (4, ours.config.vocab_size)
    assert largest(some, everywhere[positions]) < TOLERANCE


def test_masked_language_model_of_transformers_reads_ours(ours, batch) -> None:
    state = {k: torch.from_numpy(v) for k, v in ours.to_huggingface().items()}
    oracle = transformers.BertForMaskedLM(transformers.BertConfig(**ours.config.to_json())).eval()
    missing, unexpected = oracle.load_state_dict(state, strict=False)
    assert set(missing) == set(TIED)
    assert {name.split(".")[-3] for name in unexpected} <= {"pooler", "cls"}
    oracle.tie_weights()
    with torch.no_grad():
        reference, out = oracle(**batch).logits, ours(**batch).masked_tokens
    real = batch["attention_mask"].bool()
    assert largest(out[real], reference[real]) < TOLERANCE


def test_state_dicts_are_equal_as_sets(ours, theirs) -> None:
    named = to_huggingface(ours.state_dict(), ours.config.num_hidden_layers)
    expected = set(theirs.state_dict())
    assert set(named) | set(TIED) == expected
    assert len(named) == len(expected) - len(TIED)
    for name, tensor in named.items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_gradients_agree(config, theirs, batch) -> None:
    """One backward pass: the tied embedding must collect both of its gradients."""
    model = BertForPretraining(config).eval()
    model.from_huggingface({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    out, reference = model(**batch), theirs(**batch)
    real = batch["attention_mask"].bool()
    out.masked_tokens[real].logsumexp(-1).sum().backward()
    reference.prediction_logits[real].logsumexp(-1).sum().backward()
    mine = model.encoder.embeddings.words.weight.grad
    other = theirs.bert.embeddings.word_embeddings.weight.grad
    theirs.zero_grad()
    assert largest(mine, other) / other.abs().max().item() < TOLERANCE
