"""Calibration text out of a corpus."""

import numpy as np

from bert_mobile.examples import Corpus
from bert_mobile.quantize.text import MAX_LINES, MAX_TOKENS
from bert_mobile.tokenizer import load_tokenizer
from bert_mobile.train.calibration import calibration_pairs


def test_pairs_are_passages_of_the_corpus_with_nothing_hidden(tiny_corpus):
    corpus = Corpus(tiny_corpus, "train")
    everything = corpus.tokens(np.arange(corpus.sentences[-1])).astype(np.uint16).tobytes()
    pairs = calibration_pairs(corpus, 48)
    assert len(pairs) == len(set(pairs)) == MAX_LINES
    tokenizer = load_tokenizer(tiny_corpus)
    lengths = []
    for pair in pairs:
        pieces = [tokenizer.encode(text, add_special_tokens=False).ids for text in pair.split("\t")]
        assert len(pieces) == 2
        for text in pieces:
            assert np.array(text, np.uint16).tobytes() in everything
        lengths.append(len(pieces[0]) + len(pieces[1]) + 3)
    assert max(lengths) == 48


def test_pairs_are_no_longer_than_will_be_read(tiny_corpus):
    tokenizer = load_tokenizer(tiny_corpus)
    pairs = calibration_pairs(Corpus(tiny_corpus, "train"), 512)
    lengths = [len(tokenizer.encode(*pair.split("\t")).ids) for pair in pairs]
    assert max(lengths) == MAX_TOKENS
