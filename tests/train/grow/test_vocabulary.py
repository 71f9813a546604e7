"""Rows and biases find their way into another vocabulary."""

import json
import shutil

import numpy as np
import pytest
import torch

from bert_mobile.checkpoint import read_weights
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, load_tokenizer, save_tokenizer
from bert_mobile.train.grow import grow
from bert_mobile.train.grow.vocabulary import Translation, translate, translated_bias
from tests.conftest import WORDS
from tests.train.grow import larger


def test_pieces_take_the_rows_of_the_old_vocabulary(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path
):
    """Shared pieces keep their row, new ones get the mean of their parts, unknown ones [UNK]'s."""
    old = load_tokenizer(tiny_tokenizer).get_vocab()
    new = [*SPECIAL_TOKENS, "the", "##s", "theof", "##sa", "漢"]
    assert not {"theof", "##sa", "漢"} & old.keys()
    tokenizer, out = tmp_path / "tokenizer", tmp_path / "grown"
    tokenizer.mkdir()
    save_tokenizer(bert_wordpiece({piece: i for i, piece in enumerate(new)}), tokenizer)
    config = larger(tiny_config, vocab_size=len(new))
    report = grow(source, out, config=config, tokenizer=tokenizer, corpus=tiny_corpus)
    assert (report.pieces_matched, report.pieces) == (7, 10)

    name = "bert.embeddings.word_embeddings.weight"
    before = read_weights(source, tiny_config)[name]
    after = read_weights(out, config)[name][:, :64]
    parts = {"theof": ["the", "##o", "##f"], "##sa": ["##s", "##a"], "漢": ["[UNK]"]}
    for index, piece in enumerate(new):
        rows = [before[old[part]] for part in parts.get(piece, [piece])]
        np.testing.assert_allclose(after[index], np.mean(rows, axis=0), atol=1e-6, err_msg=piece)


def test_shared_pieces_keep_their_bias_others_get_that_of_their_frequency():
    """Three shared pieces whose average logits lie on a line, -1 + 0.5 log p; two others."""
    rows, said = torch.randn(5, 4), torch.randn(4)
    usual = torch.tensor([-2.0, -4.0, -5.0, -3.0, -9.0])
    wanted = -1 + 0.5 * usual - rows @ said
    shared = torch.tensor([7, 0, 3, -1, -1])
    bias = torch.zeros(8)
    bias[[7, 0, 3]] = wanted[:3]
    found = translated_bias(bias, Translation(rows, shared), said, lambda: usual)
    assert torch.equal(found[:3], wanted[:3])
    torch.testing.assert_close(found[3:], wanted[3:], rtol=0, atol=1e-5)


def test_a_grown_vocabulary_keeps_shared_biases(
    written, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path
):
    old = load_tokenizer(tiny_tokenizer).get_vocab()
    new = [*SPECIAL_TOKENS, *WORDS[:50], "theof", "timetime"]
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    save_tokenizer(bert_wordpiece({piece: i for i, piece in enumerate(new)}), tokenizer)
    config = larger(tiny_config, vocab_size=len(new))
    grow(written(), tmp_path / "g", config=config, tokenizer=tokenizer, corpus=tiny_corpus)
    name = "cls.predictions.bias"
    before, after = read_weights(written(), tiny_config)[name], read_weights(tmp_path / "g", config)
    np.testing.assert_array_equal(after[name][:-2], before[[old[piece] for piece in new[:-2]]])
    assert np.isfinite(after[name]).all()


@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased source", "cased source"])
def test_pieces_find_their_row_in_another_case(lowercase):
    ours, theirs = ["paris", "été"], ["Paris", "ete"]
    old = ["paris", "ete", "p", "##aris"] if lowercase else ["Paris", "été", "P", "p", "##aris"]
    tokenizers = [
        bert_wordpiece({p: i for i, p in enumerate([*SPECIAL_TOKENS, *pieces])}, lowercase=cased)
        for pieces, cased in ((old, lowercase), (ours if not lowercase else theirs, not lowercase))
    ]
    table = torch.randn(len(SPECIAL_TOKENS) + len(old), 3)
    rows = translate(table, *tokenizers).rows
    torch.testing.assert_close(rows[5:7], table[5:7])


def test_a_piece_of_nothing_but_marks_is_unknown():
    old, new = (
        bert_wordpiece({p: i for i, p in enumerate([*SPECIAL_TOKENS, *pieces])})
        for pieces in (["a"], ["##", "\N{COMBINING ACUTE ACCENT}"])
    )
    table = torch.randn(6, 3)
    torch.testing.assert_close(translate(table, old, new).rows[5:], table[[1, 1]])


@pytest.mark.parametrize("cased", [True, False])
def test_a_source_with_vocab_txt_only(written, tiny_config, tiny_corpus, tmp_path, cased):
    source = shutil.copytree(written(), tmp_path / "source")
    (source / "tokenizer.json").unlink()
    (source / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": not cased}))
    report = grow(
        source, tmp_path / "g", config=tiny_config, tokenizer=written(), corpus=tiny_corpus
    )
    assert report.pieces_matched == report.pieces
