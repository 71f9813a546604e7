"""The judgement of a model's masked tokens, against transformers one pair at a time."""

import json
import math
import shutil

import pytest
import torch
from transformers import BertForPreTraining

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.lm import SEED, evaluate_masked_tokens
from bert_mobile.examples import Corpus, PairSampler

PAIRS = 20  # more than one batch of 16


@pytest.fixture(scope="module")
def judgement(tiny_checkpoint, tiny_corpus):
    return evaluate_masked_tokens(str(tiny_checkpoint), tiny_corpus, pairs=PAIRS, threads=1)


@pytest.fixture(scope="module")
@torch.no_grad()
def expected(tiny_checkpoint, tiny_corpus, tiny_config):
    """The same figures by transformers, slowly; two whole batches are judged."""
    oracle = BertForPreTraining.from_pretrained(tiny_checkpoint).eval()
    length = tiny_config.max_position_embeddings
    held_out = Corpus(tiny_corpus, "held_out")
    sampler = PairSampler(held_out, seed=SEED, sequence_length=length, batch_size=16)
    losses, ranks, told = [], [], []
    for batch in (sampler.batch(0), sampler.batch(1)):
        width, answers = batch.input_ids.shape[1], iter(batch.targets.tolist())
        for row in range(16):
            real = batch.attention_mask[row]
            ids = torch.from_numpy(batch.input_ids[row][real])[None]
            types = torch.from_numpy(batch.token_type_ids[row][real])[None]
            output = oracle(ids, token_type_ids=types)
            told.append(output.seq_relationship_logits.argmax().item() == batch.is_random[row])
            for place in batch.positions[batch.positions // width == row] % width:
                target = next(answers)
                logs = output.prediction_logits[0, place].double().log_softmax(-1)
                losses.append(-logs[target].item())
                ranks.append(int((logs > logs[target]).sum()))
        assert next(answers, None) is None
    return losses, ranks, told


def test_figures_equal_transformers(judgement, expected):
    losses, ranks, told = expected
    assert judgement.masked_tokens == len(losses) > 100
    assert judgement.pairs == len(told) == 32
    loss = sum(losses) / len(losses)
    assert judgement.masked_token_loss == pytest.approx(loss, abs=1e-4)
    assert judgement.perplexity == pytest.approx(math.exp(loss), rel=1e-4)
    assert judgement.top_1_accuracy == pytest.approx(sum(r < 1 for r in ranks) / len(ranks))
    assert judgement.top_5_accuracy == pytest.approx(sum(r < 5 for r in ranks) / len(ranks))
    assert judgement.next_sentence_accuracy == pytest.approx(sum(told) / len(told))


def test_every_model_is_asked_the_same_questions(judgement, tiny_checkpoint, tiny_corpus):
    again = evaluate_masked_tokens(str(tiny_checkpoint), tiny_corpus, pairs=PAIRS, threads=1)
    assert again == judgement


def test_another_tokenizer_is_refused(tiny_checkpoint, tiny_corpus, tmp_path):
    corpus = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    (corpus / "tokenizer.json").write_text((corpus / "tokenizer.json").read_text() + " ")
    with pytest.raises(InputError, match="was encoded with another tokenizer") as caught:
        evaluate_masked_tokens(str(tiny_checkpoint), corpus, pairs=PAIRS)
    assert caught.value.hint.startswith(f"bert-mobile corpus tokenize {corpus}")


def test_what_is_no_corpus_is_refused(tiny_checkpoint, tmp_path):
    shutil.copyfile(tiny_checkpoint / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist"):
        evaluate_masked_tokens(str(tiny_checkpoint), tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(ArtifactError, match="is of format 'another'"):
        evaluate_masked_tokens(str(tiny_checkpoint), tmp_path)
