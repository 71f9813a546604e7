"""The judgement of a language model, against transformers one pair and one gap at a time."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, BertForPreTraining

from bert_mobile.checkpoint import write_tensors
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.evaluate.held_out import SEED, open_held_out
from bert_mobile.evaluate.lm import GroupFigures, evaluate_language_models
from bert_mobile.examples import Corpus, PairSampler
from bert_mobile.files import sha256
from bert_mobile.model.config import SEQUENCES, TOKENS
from bert_mobile.tokenizer import bert_wordpiece, load_tokenizer
from tests.conftest import document

PAIRS = 20  # more than one batch of 16
SENTENCES = 6


def judge(*models, data, **options):
    """Return the groups of each model."""
    given = {"pairs": PAIRS, "sentences": SENTENCES, "threads": 1, **options}
    data = data if isinstance(data, list) else [data]
    judged = evaluate_language_models([str(model) for model in models], data, **given)
    assert [each.model for each in judged] == [str(model) for model in models]
    return [each.groups for each in judged]


@pytest.fixture(scope="module")
def judgement(tiny_checkpoint, tiny_corpus) -> GroupFigures:
    ((group,),) = judge(tiny_checkpoint, data=tiny_corpus)
    return group


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Raw text, two documents."""
    path = tmp_path_factory.mktemp("raw") / "raw.jsonl"
    path.write_text("".join(json.dumps({"text": document(n)}) + "\n" for n in (1, 2)))
    return path


@pytest.fixture
def without(tiny_checkpoint, tiny_weights, tmp_path):
    """Return a function that makes a checkpoint less the weights of some names."""

    def without(*parts):
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "headless")
        (folder / "provenance.json").unlink()
        kept = {k: v for k, v in tiny_weights.items() if not any(part in k for part in parts)}
        write_tensors(folder / "model.safetensors", kept)
        return folder

    return without


@pytest.fixture
def cased(tiny_checkpoint, tmp_path):
    """The tiny model with a cased tokenizer."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "cased")
    (folder / "provenance.json").unlink()
    pieces = load_tokenizer(tiny_checkpoint).get_vocab()
    bert_wordpiece(pieces, lowercase=False).save(str(folder / "tokenizer.json"))
    return folder


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


@torch.no_grad()
def test_pseudo_perplexity_equals_transformers(judgement, tiny_checkpoint, tiny_corpus):
    oracle = BertForPreTraining.from_pretrained(tiny_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    options = {"pairs": PAIRS, "sentences": SENTENCES, "text_field": "text"}
    (corpus,) = open_held_out([tiny_corpus], **options)
    (group,) = corpus.groups(tiny_checkpoint)
    losses = []
    for sentence in group.sentences:
        ids = tokenizer(sentence, return_tensors="pt").input_ids
        for place in range(1, ids.shape[1] - 1):
            gapped = ids.clone()
            gapped[0, place] = tokenizer.mask_token_id
            logs = oracle(gapped).prediction_logits[0, place].double().log_softmax(-1)
            losses.append(-logs[ids[0, place]].item())
    assert judgement.sentences == len(group.sentences) == SENTENCES
    assert judgement.sentence_pieces == len(losses)
    expected = math.exp(sum(losses) / len(losses))
    assert judgement.pseudo_perplexity == pytest.approx(expected, rel=1e-4)


def test_every_model_is_asked_the_same_questions(judgement, tiny_checkpoint, tiny_corpus):
    """Also where one is named twice."""
    assert judge(tiny_checkpoint, tiny_checkpoint, data=tiny_corpus) == [[judgement]] * 2


def test_another_tokenizer_is_refused_for_a_built_corpus(tiny_checkpoint, cased, tiny_corpus):
    with pytest.raises(InputError, match="was encoded with another tokenizer") as caught:
        judge(tiny_checkpoint, cased, data=tiny_corpus)
    assert caught.value.hint == f"bert-mobile corpus tokenize {tiny_corpus} --tokenizer {cased}"


def test_other_tokenizers_read_raw_text_with_a_warning(tiny_checkpoint, cased, raw):
    with pytest.warns(UserWarning, match="different tokenizers.*do not compare") as caught:
        (one,), (two,) = judge(tiny_checkpoint, cased, data=raw, pairs=4)
    assert len(caught) == 1
    assert one.masked_token_loss != two.masked_token_loss
    assert (one.data, one.kind, one.documents, one.pairs) == ("raw.jsonl", "all", 2, 4)


def test_a_tokenizer_saved_anew_is_the_same(judgement, tiny_checkpoint, tiny_corpus, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "resaved")
    (folder / "provenance.json").unlink()
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    assert sha256(folder / "tokenizer.json") != sha256(tiny_corpus / "tokenizer.json")
    assert judge(folder, data=tiny_corpus) == [[judgement]]


def test_several_data_are_groups_of_their_own(judgement, tiny_checkpoint, tiny_corpus, raw):
    ((built, read),) = judge(tiny_checkpoint, data=[tiny_corpus, raw])
    assert built == judgement
    assert (built.data, read.data) == ("corpus", "raw.jsonl")


def test_kinds_are_judged_by_their_own_text(tiny_checkpoint, write_corpus):
    """A kind alone in a corpus has the figures that it has beside another."""
    texts = [(f"{'ab'[n % 2]}/1", document(n).split(". ")) for n in range(6)]
    ((whole, a, b),) = judge(tiny_checkpoint, data=write_corpus(texts))
    assert [(each.kind, each.documents) for each in (whole, a, b)] == [
        ("all", 6),
        ("a", 3),
        ("b", 3),
    ]
    ((alone,),) = judge(tiny_checkpoint, data=write_corpus(texts[1::2]))
    assert replace(alone, kind="b") == b
    assert a.masked_token_loss != b.masked_token_loss != whole.masked_token_loss


def test_a_model_without_next_sentence_head(judgement, without, tiny_corpus):
    ((judged,),) = judge(without("seq_relationship"), data=tiny_corpus)
    assert judged == replace(judgement, next_sentence_accuracy=None)


def test_a_model_without_masked_token_head(judgement, without, tiny_corpus):
    ((judged,),) = judge(without("cls.predictions"), data=tiny_corpus)
    assert judged.next_sentence_accuracy == judgement.next_sentence_accuracy
    assert (judged.masked_token_loss, judged.perplexity, judged.pseudo_perplexity) == (None,) * 3
    assert (judged.top_1_accuracy, judged.top_5_accuracy) == (None,) * 2
    assert (judged.masked_tokens, judged.sentences, judged.sentence_pieces) == (0, 0, 0)


def test_a_model_without_heads_is_refused(without, tiny_corpus):
    with pytest.raises(ArtifactError, match="has neither a masked-token nor a next-sentence head"):
        judge(without("cls."), data=tiny_corpus)


@pytest.mark.parametrize("architecture", [SEQUENCES, TOKENS])
def test_logits_of_a_task_are_no_masked_tokens(tiny_task, tiny_corpus, architecture):
    with pytest.raises(ArtifactError, match="has neither a masked-token nor a next-sentence head"):
        judge(tiny_task(architecture), data=tiny_corpus)


def test_without_sentences_there_is_no_pseudo_perplexity(judgement, tiny_checkpoint, tiny_corpus):
    ((judged,),) = judge(tiny_checkpoint, data=tiny_corpus, sentences=0)
    nothing = {"pseudo_perplexity": None, "sentences": 0, "sentence_pieces": 0}
    assert judged == replace(judgement, **nothing)


def test_text_that_is_all_unknown_is_refused(tiny_checkpoint, write_corpus):
    word = "a" * 101  # longer than any word that is cut into pieces
    corpus = write_corpus([("a/1", [f"{word} {word}"] * 9), ("a/2", [word] * 9)])
    with pytest.raises(InputError, match=r"is nothing but \[UNK\] to the tokenizer of"):
        judge(tiny_checkpoint, data=corpus)


def test_one_document_of_a_built_corpus_is_too_few(tiny_checkpoint, write_corpus):
    with pytest.raises(InputError, match=r"has 1 document\(s\), expected two or more"):
        judge(tiny_checkpoint, data=write_corpus([("a/1", ["the man was here"] * 3)]))


def test_weights_that_give_no_usable_loss_are_refused(without, tiny_weights, tiny_corpus):
    folder = without()
    bias = "cls.predictions.bias"
    broken = {**tiny_weights, bias: tiny_weights[bias].copy()}
    broken[bias][0] = 1e30
    write_tensors(folder / "model.safetensors", broken)
    with pytest.raises(ArtifactError, match=r"has a mean loss of \S+ nats"):
        judge(folder, data=tiny_corpus)
