"""Training, saving and loading WordPiece. What the pieces must be is in `oracle/`."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer, BertTokenizerFast

from bert_mobile.checkpoint import copy_tokenizer
from bert_mobile.corpus import read_sentences
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.tokenizer import (
    SPECIAL_TOKENS,
    bert_wordpiece,
    load_tokenizer,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def trained(tiny_texts, tmp_path_factory):
    return train_tokenizer(
        read_sentences(tiny_texts), tmp_path_factory.mktemp("trained"), vocabulary_size=100
    )


def test_special_tokens_come_first(trained):
    tokenizer = load_tokenizer(trained.folder)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    lines = (trained.folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert {piece: i for i, piece in enumerate(lines)} == tokenizer.get_vocab()


def test_a_rich_corpus_gives_exactly_the_asked_size(trained):
    assert trained.vocabulary_size == trained.asked_size == 100
    assert load_tokenizer(trained.folder).get_vocab_size() == 100


def test_a_poor_corpus_gives_fewer_pieces_and_says_so(tiny_texts, tmp_path):
    made = train_tokenizer(read_sentences(tiny_texts), tmp_path / "t", vocabulary_size=30_000)
    assert made.asked_size == 30_000
    assert 100 < made.vocabulary_size < 1_000
    assert made.vocabulary_size == load_tokenizer(tmp_path / "t").get_vocab_size()


def test_frequent_words_are_whole_and_rare_ones_fall_into_pieces(trained):
    tokenizer = load_tokenizer(trained.folder)
    assert tokenizer.encode("The of", add_special_tokens=False).tokens == ["the", "of"]
    pieces = tokenizer.encode("thether", add_special_tokens=False).tokens
    assert len(pieces) > 1
    assert "".join(piece.removeprefix("##") for piece in pieces) == "thether"
    assert all(piece.startswith("##") for piece in pieces[1:])


def test_pairs_are_laid_out_as_berts(trained):
    encoding = load_tokenizer(trained.folder).encode("the", "of the")
    assert encoding.tokens == ["[CLS]", "the", "[SEP]", "of", "the", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("reader", [AutoTokenizer, BertTokenizer, BertTokenizerFast])
def test_transformers_reads_the_folder(trained, reader):
    theirs = reader.from_pretrained(trained.folder)
    assert theirs.get_vocab() == load_tokenizer(trained.folder).get_vocab()
    assert (theirs.mask_token_id, theirs.pad_token_id, theirs.model_max_length) == (4, 0, 512)
    text = "The time [MASK], it was."
    assert theirs(text)["input_ids"] == load_tokenizer(trained.folder).encode(text).ids


@pytest.mark.parametrize("size", [-1, 5, 65_537])
def test_impossible_sizes_are_refused(tiny_texts, tmp_path, size):
    with pytest.raises(InputError, match=rf"--vocab-size is {size}, expected 6 to 65,536"):
        train_tokenizer(read_sentences(tiny_texts), tmp_path / "t", vocabulary_size=size)
    assert not (tmp_path / "t").exists()


def test_a_source_without_text_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("1 2 3.\n")
    with pytest.raises(InputError, match="no text to train on"):
        train_tokenizer(read_sentences(tmp_path / "empty.txt"), tmp_path / "t", vocabulary_size=100)


def test_a_foreign_folder_is_kept(tiny_texts, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not written by this command"):
        train_tokenizer(read_sentences(tiny_texts), tmp_path, vocabulary_size=100)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_loading_switches_truncation_and_padding_off(trained, tmp_path):
    tokenizer = Tokenizer.from_file(str(trained.folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(load_tokenizer(tmp_path).encode("the " * 50).ids) == 52


def test_what_is_no_bert_tokenizer_is_refused(trained, tmp_path):
    with pytest.raises(ArtifactError, match=r"tokenizer\.json does not exist") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.hint == "bert-mobile tokenizer train CORPUS --out DIR"
    path = tmp_path / "tokenizer.json"
    whole = (trained.folder / "tokenizer.json").read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=r"is no tokenizer\.json"):
        load_tokenizer(tmp_path)
    value = json.loads(whole)
    value["added_tokens"] = []
    del value["model"]["vocab"]["[MASK]"], value["model"]["vocab"]["[PAD]"]
    path.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=r"lacks \[PAD\], \[MASK\], expected a BERT tokenizer"):
        load_tokenizer(tmp_path)


def cased():
    pieces = [*SPECIAL_TOKENS, "Paris", "paris", "é", "e"]
    return bert_wordpiece({piece: i for i, piece in enumerate(pieces)}, lowercase=False)


def test_a_cased_tokenizer_stays_cased(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    cased().save(str(source / "tokenizer.json"))
    copy_tokenizer(source, copy)
    assert json.loads((copy / "tokenizer_config.json").read_text())["do_lower_case"] is False
    theirs, ours = AutoTokenizer.from_pretrained(copy), load_tokenizer(copy)
    assert theirs("Paris paris é e")["input_ids"] == [2, 5, 6, 7, 8, 3]
    assert ours.encode("Paris paris é e").ids == [2, 5, 6, 7, 8, 3]


@pytest.mark.parametrize(
    ("settings", "ids"), [(None, [6, 8]), ({}, [6, 8]), ({"do_lower_case": False}, [5, 7])]
)
def test_a_folder_with_vocab_txt_alone_is_read(tmp_path, settings, ids):
    pieces = [*SPECIAL_TOKENS, "Paris", "paris", "é", "e"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(tmp_path).encode("Paris é", add_special_tokens=False).ids == ids
    (tmp_path / "vocab.txt").write_text("\n".join(pieces[1:]), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"vocab\.txt lacks \[PAD\]"):
        load_tokenizer(tmp_path)
