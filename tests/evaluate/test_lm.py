"""The judgement of a model's masked tokens, against transformers one pair at a time."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, BertForPreTraining

from bert_mobile.checkpoint import write_tensors
from bert_mobile.corpus import tokenize_corpus
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.lm import SEED, evaluate_masked_tokens
from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.files import sha256
from bert_mobile.tokenizer import bert_wordpiece, load_tokenizer

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


def test_another_tokenizer_is_refused(tiny_checkpoint, tiny_corpus, tiny_tokenizer, tmp_path):
    corpus = shutil.copytree(tiny_corpus, tmp_path / "corpus")
    pieces = load_tokenizer(tiny_tokenizer).get_vocab()
    bert_wordpiece(pieces, lowercase=False).save(str(tmp_path / "cased.json"))
    tokenize_corpus(corpus, tmp_path / "cased.json")
    with pytest.raises(InputError, match="was encoded with another tokenizer") as caught:
        evaluate_masked_tokens(str(tiny_checkpoint), corpus, pairs=PAIRS)
    assert caught.value.hint.startswith(f"bert-mobile corpus tokenize {corpus}")


def test_a_tokenizer_saved_anew_is_the_same(judgement, tiny_checkpoint, tiny_corpus, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "resaved")
    (folder / "provenance.json").unlink()
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    assert sha256(folder / "tokenizer.json") != sha256(tiny_corpus / "tokenizer.json")
    again = evaluate_masked_tokens(str(folder), tiny_corpus, pairs=PAIRS, threads=1)
    assert replace(again, model=judgement.model) == judgement


def test_a_model_without_the_head_is_not_judged_by_it(
    tiny_checkpoint, tiny_config, tiny_weights, tiny_corpus, tmp_path
):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "headless")
    (folder / "provenance.json").unlink()
    kept = {k: v for k, v in tiny_weights.items() if "seq_relationship" not in k}
    write_tensors(folder / "model.safetensors", kept)
    judged = evaluate_masked_tokens(str(folder), tiny_corpus, pairs=PAIRS, threads=1)
    assert judged.next_sentence_accuracy is None
    assert judged.masked_tokens > 100


def test_what_is_no_corpus_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist"):
        evaluate_masked_tokens(str(tiny_checkpoint), tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(ArtifactError, match="is of format 'another'"):
        evaluate_masked_tokens(str(tiny_checkpoint), tmp_path)
