"""Classifying, tagging and answering against transformers, on float folders and in ONNX Runtime.

transformers has no question-answering pipeline any more; answers are compared with a reference
written out plainly here, over the logits of its network.
"""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertForQuestionAnswering, pipeline

import bert_mobile
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS

TEXTS = ["the way we go", "an Old man, and the state of the wörld.", "we", "don't see it!"]
CONTEXT = "The old man, who came from the state, is here. " * 6 + "We don't see the wörld now."


@pytest.fixture(scope="module", params=["single", "multi", "regression", "one"])
def classifier(request, tiny_task):
    changes = {
        "single": {},
        "multi": {"problem_type": "multi_label_classification"},
        "regression": {"problem_type": "regression", "labels": ("score",)},
        "one": {"labels": ("spam",)},
    }[request.param]
    return tiny_task(SEQUENCES, **changes)


def assert_same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
        return
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == (pytest.approx(value, abs=1e-5) if key == "score" else value)


@pytest.mark.parametrize("texts", [TEXTS[0], TEXTS, [TEXTS[1]]])
def test_classify(classifier, texts):
    model = bert_mobile.load(classifier)
    oracle = pipeline("text-classification", model=str(classifier), device="cpu")
    assert_same(model.classify(texts, batch_size=3), oracle(texts))
    for top_k in (2, None):
        assert_same(model.classify(texts, top_k=top_k), oracle(texts, top_k=top_k))


def test_classify_pairs(classifier):
    model = bert_mobile.load(classifier)
    oracle = pipeline("text-classification", model=str(classifier), device="cpu")
    seconds = TEXTS[::-1]
    given = [{"text": a, "text_pair": b} for a, b in zip(TEXTS, seconds, strict=True)]
    assert_same(model.classify(TEXTS, seconds), oracle(given))
    assert_same(model.classify(TEXTS[0], seconds[0], top_k=None), oracle(given[0], top_k=None))


@pytest.fixture(scope="module")
def tagger(tiny_task):
    folder = tiny_task(TOKENS)
    oracle = pipeline("token-classification", model=str(folder), device="cpu")
    return bert_mobile.load(folder), oracle


def lowered(entities):
    """Return entities without their words, which transformers spells in pieces put together."""
    return [{key: each[key] for key in each if key != "word"} for each in entities]


def test_entities(tagger):
    model, oracle = tagger
    assert len(oracle(TEXTS[1], aggregation_strategy="first")) > 1
    for text in TEXTS:
        ours, theirs = model.tag(text), oracle(text, aggregation_strategy="first")
        assert_same(lowered(ours), lowered(theirs))
        for each in ours:
            assert each["word"] == text[each["start"] : each["end"]]
    assert_same(model.tag(TEXTS, batch_size=3), [model.tag(text) for text in TEXTS])


def test_entities_of_lists_of_words(tagger):
    model, oracle = tagger
    words = ["the", "old", "man", "and", "the", "state", "of", "it"]
    ours = model.tag([words])
    theirs = oracle([words], is_split_into_words=True, aggregation_strategy="simple")
    theirs = theirs[0] if isinstance(theirs[0], list) else theirs
    assert_same(lowered(ours[0]), lowered(theirs))
    assert [each["word"] for each in ours[0]] == [each["word"] for each in theirs]


def test_a_tag_for_each_word(tagger, tiny_task):
    model, oracle = tagger
    text = "the old man and we"  # of one piece each
    theirs = oracle(text, aggregation_strategy="none", ignore_labels=[])
    for each in theirs:
        del each["index"]
    assert_same(model.tag(text, per_word=True), theirs)
    pos = bert_mobile.load(tiny_task(TOKENS, labels=("NOUN", "VERB", "DET")))
    found = pos.tag(text)
    assert [each["word"] for each in found] == text.split()
    assert {each["entity"] for each in found} <= {"NOUN", "VERB", "DET"}


# --- answers ------------------------------------------------------------------------------------


def reference(folder, question, context, width, stride, longest):
    """Return all spans by probability, widest windows first, and the least chance of none."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = BertForQuestionAnswering.from_pretrained(folder).eval()
    encoded = tokenizer(
        question,
        context,
        truncation="only_second",
        max_length=width,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    spans, none = {}, 1.0
    for index, ids in enumerate(encoded["input_ids"]):
        types = encoded["token_type_ids"][index]
        with torch.no_grad():
            out = network(torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        chosen = [0, *(i for i, t in enumerate(types) if t == 1 and i < len(ids) - 1)]
        start = out.start_logits[0, chosen].double().softmax(0)
        end = out.end_logits[0, chosen].double().softmax(0)
        none = min(none, (start[0] * end[0]).item())
        words = encoded.word_ids(index)
        for a in range(1, len(chosen)):
            for b in range(a, min(a + longest, len(chosen))):
                first = encoded.word_to_chars(index, words[chosen[a]], sequence_index=1).start
                last = encoded.word_to_chars(index, words[chosen[b]], sequence_index=1).end
                score = (start[a] * end[b]).item()
                spans[first, last] = max(score, spans.get((first, last), 0))
    return sorted(spans.items(), key=lambda item: -item[1]), none


@pytest.mark.parametrize(("width", "stride"), [(64, None), (24, 5), (32, 0)])
@pytest.mark.parametrize("longest", [1, 4])
def test_answers(tiny_task, width, stride, longest):
    folder = tiny_task(ANSWERS, max_length=width)
    question = "Who is from the state?"
    room = width - 3 - len(question.split()) - 1
    overlap = room // 2 if stride is None else stride
    expected, _ = reference(folder, question, CONTEXT, width, overlap, longest)
    model = bert_mobile.load(folder)
    asked = {"question": question, "context": CONTEXT, "longest": longest, "stride": stride}
    found = model.answer(**asked, top_k=3)
    for ours, (place, score) in zip(found, expected[:3], strict=True):
        assert (ours["start"], ours["end"]) == place
        assert ours["score"] == pytest.approx(score, abs=1e-5)
        assert ours["answer"] == CONTEXT[slice(*place)]
    single = model.answer(**asked)
    assert single["answer"] == found[0]["answer"]
    listed = model.answer(**{**asked, "question": [question, "who?"]}, batch_size=3)
    assert_same(listed[0], single)


def test_no_answer(tiny_task):
    folder = tiny_task(ANSWERS, max_length=32, no_answer_threshold=0.0)
    question = "Who is from the state?"
    spans, none = reference(folder, question, CONTEXT, 32, 11, 30)
    difference = np.log(none) - np.log(spans[0][1])
    model = bert_mobile.load(folder)
    asked = {"question": question, "context": CONTEXT, "stride": 11}
    sure = model.answer(**asked, no_answer_threshold=difference - 0.01, top_k=2)
    assert sure[0] == {"score": pytest.approx(none, abs=1e-5), "start": 0, "end": 0, "answer": ""}
    assert sure[1]["answer"] == CONTEXT[slice(*spans[0][0])]
    unsure = model.answer(**asked, no_answer_threshold=difference + 0.01, top_k=100_000)
    assert unsure[0]["answer"] == sure[1]["answer"]
    assert sum(each["answer"] == "" for each in unsure) == 1
    assert (model.answer(**asked)["answer"] == "") is bool(difference > 0)
    scores = [each["score"] for each in unsure[1:]]
    assert scores == sorted(scores, reverse=True)
