"""The loss against that of transformers, its extras by hand, and that it compiles once."""

import pytest
import torch
from torch.nn import functional
from transformers import BertForPreTraining

from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.train.feed import fixed_shape
from bert_mobile.train.objective import NO_TARGET, Objective
from bert_mobile.train.pretrain import pretrain


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """A checkpoint of a short run."""
    out = tmp_path_factory.mktemp("runs") / "short"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bert_mobile.train.pretrain.draw_curve", lambda *_: None)
        pretrain(recipe(steps=3), out)
    return out


@pytest.fixture(scope="module")
def model(finished):
    from bert_mobile.checkpoint import read_weights

    config = BertConfig.read(finished)
    loaded = BertForPretraining(config)
    loaded.from_huggingface(read_weights(finished, config))
    return loaded.eval()


@pytest.fixture(scope="module")
def batches(tiny_corpus):
    sampler = PairSampler(Corpus(tiny_corpus, "train"), seed=1, sequence_length=48, batch_size=8)
    slots = 8 * sampler.most_asked
    return [fixed_shape(sampler.batch(step), 48, slots) for step in range(12)]


def shares(batch):
    return torch.tensor([1 / batch.counts[0], 1 / batch.counts[1]])


def test_the_loss_is_that_of_transformers(recipe, finished, model, batches):
    reference = BertForPreTraining.from_pretrained(finished).eval()
    objective = Objective(model, recipe(next_sentence_weight=1.0))
    for batch in batches:
        labels = torch.full(batch.input_ids.shape, NO_TARGET)
        asked = batch.targets != NO_TARGET
        labels.view(-1)[batch.positions[asked]] = batch.targets[asked]
        mask = batch.attention_mask
        expected = reference(
            input_ids=batch.input_ids,
            attention_mask=torch.ones_like(batch.input_ids) if mask is None else mask.long(),
            token_type_ids=batch.token_type_ids,
            labels=labels,
            next_sentence_label=batch.is_random,
        ).loss
        total, masked, following = objective(*batch[:-1], shares(batch)).detach()
        print(f"largest difference: {abs(total - expected.detach()):.1e}")
        torch.testing.assert_close(total, expected.detach(), atol=1e-5, rtol=0)
        torch.testing.assert_close(total, masked + following)


def test_the_next_sentence_weighs_what_the_recipe_says(recipe, model, batches):
    batch = batches[0]
    objective = Objective(model, recipe(next_sentence_weight=0.25))
    total, masked, following = objective(*batch[:-1], shares(batch)).detach()
    torch.testing.assert_close(total, masked + 0.25 * following)


def test_z_loss_by_hand(recipe, model, batches):
    batch = batches[0]
    settings = recipe(next_sentence_weight=0.0, z_loss_weight=0.01)
    total, masked, _ = Objective(model, settings)(*batch[:-1], shares(batch)).detach()
    asked = batch.targets != NO_TARGET
    output = model(*batch[:3], batch.positions[asked])
    squares = output.masked_tokens.exp().sum(-1).log() ** 2
    torch.testing.assert_close(total, masked + 0.01 * squares.mean().detach())


def test_a_parent_teaches_by_hand(recipe, model, batches):
    batch = batches[0]
    torch.manual_seed(5)
    parent = BertForPretraining(model.config).eval()
    settings = recipe(next_sentence_weight=0.25, teacher_weight=0.3)
    objective = Objective(model, settings, parent)
    assert objective.figures == ("loss", "masked_token_loss", "next_sentence_loss", "teacher_loss")
    total, masked, following, taught = objective(*batch[:-1], shares(batch)).detach()
    asked = batch.targets != NO_TARGET
    inputs = *batch[:3], batch.positions[asked]
    means = []
    for ours, theirs in zip(model(*inputs), parent(*inputs), strict=True):
        wanted = theirs.softmax(-1)
        soft = functional.cross_entropy(ours, wanted) - functional.cross_entropy(theirs, wanted)
        means.append(soft.detach())
    torch.testing.assert_close(taught, means[0] + 0.25 * means[1])
    torch.testing.assert_close(total, 0.7 * (masked + 0.25 * following) + 0.3 * taught)


def test_a_parent_does_not_learn(recipe, model, batches):
    parent = BertForPretraining(model.config).eval()
    objective = Objective(model, recipe(), parent).train()
    assert not parent.training
    objective(*batches[0][:-1], shares(batches[0]))[0].backward()
    assert all(parameter.grad is None for parameter in parent.parameters())
    assert set(map(id, objective.parameters())) == set(map(id, model.parameters()))
    model.eval().zero_grad()


@pytest.mark.slow
def test_it_compiles_whole_and_once_for_all_batches_of_a_shape(recipe, model, batches):
    """Once without a mask, and once with one. `aot_eager` traces all that a GPU's compiler does."""
    torch._dynamo.reset()
    objective = Objective(model, recipe())
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    masked = [batch for batch in batches if batch.attention_mask is not None]
    bare = [batch._replace(attention_mask=None) for batch in masked]
    for batch in (masked[0], bare[0]):
        compiled(*batch[:-1], shares(batch))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch in [*masked[1:], *bare[1:]]:
            found = compiled(*batch[:-1], shares(batch))
            torch.testing.assert_close(found, objective(*batch[:-1], shares(batch)))
