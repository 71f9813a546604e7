"""Tiny things on disk for every test that needs them: tokenizer, model, corpus.

Nothing reaches for the network, and every library keeps to one thread.
"""

import json
import os
import random
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}

import numpy as np
import pytest

from bert_mobile.checkpoint import expected_shapes, write_checkpoint
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS, BertConfig
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, save_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = """the of and to in is was he she it for on with as his her they at be this had not are but
from or have an by one which you were all their there been has when who will more no if out so said
what up its about into than them can only other new some could time these two may then do first any
my now such like our over man me even most made after also did many before must through years where
much your way well down should because each just those people how too little state good very make
world still own see men work long get here between both life being under never day same another know
while last might us great old year off come since against go came right used take three
we""".split()


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds; leave out with -m 'not slow'")


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory) -> Path:
    """A folder with a tokenizer of some two hundred pieces."""
    pieces = [*SPECIAL_TOKENS, *".,!?'-", *LETTERS, *("##" + letter for letter in LETTERS)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, *WORDS]))}
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(bert_wordpiece(vocabulary), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_tokenizer) -> BertConfig:
    """Two layers, 64 wide, 64 positions."""
    size = len((tiny_tokenizer / "vocab.txt").read_text(encoding="utf-8").splitlines())
    return BertConfig(2, 64, 4, 128, vocab_size=size, max_position_embeddings=64)


@pytest.fixture(scope="session")
def tiny_weights(tiny_config) -> dict[str, np.ndarray]:
    """Random weights large enough for answers that differ from each other."""
    rng = np.random.default_rng(7)
    weights = {}
    for name, shape in expected_shapes(tiny_config).items():
        values = rng.normal(0, 0.2, shape)
        weights[name] = (values + ("LayerNorm.weight" in name)).astype(np.float32)
    return weights


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, tiny_config, tiny_weights, tiny_tokenizer) -> Path:
    """A float checkpoint. Shared by all tests: never write to it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    facts = {"parents": [], "recipe": "tiny"}
    write_checkpoint(folder, tiny_config, tiny_weights, tiny_tokenizer, facts)
    return folder


BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory, tiny_config, tiny_weights, tiny_tokenizer):
    """Return a function that makes a folder with the head of a task. Never write to one."""
    made = {}

    def folder(architecture, **changes) -> Path:
        labels = {SEQUENCES: ("neg", "neutral", "pos"), TOKENS: BIO, ANSWERS: ()}[architecture]
        config = tiny_config.with_task(architecture, **{"labels": labels, **changes})
        if config not in made:
            rng = np.random.default_rng(11)
            weights = {
                name: tiny_weights[name]
                if name in tiny_weights
                else rng.normal(0, 0.3, shape).astype(np.float32)
                for name, shape in expected_shapes(config).items()
            }
            made[config] = tmp_path_factory.mktemp("task")
            facts = {"parents": [], "recipe": "tiny"}
            write_checkpoint(made[config], config, weights, tiny_tokenizer, facts)
        return made[config]

    return folder


@pytest.fixture(scope="session")
def tiny_texts(tmp_path_factory) -> Path:
    """Two hundred documents of frequent words in JSON Lines, a file that `corpus build` reads."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(200):
            file.write(json.dumps({"text": document(number)}) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory, tiny_texts, tiny_tokenizer) -> Path:
    """The same as a built corpus, a fifth held out. Shared by all tests: never write to it."""
    from bert_mobile.corpus import build_corpus

    out = tmp_path_factory.mktemp("corpus") / "corpus"
    build_corpus([tiny_texts], out, tokenizer=tiny_tokenizer, held_out=0.2)
    return out


def document(seed: int, sentences: int = 10) -> str:
    """Return random sentences in which the first words of the list are the most frequent."""
    chance = random.Random(seed)
    weights = [1 / (rank + 3) for rank in range(len(WORDS))]
    lengths = [chance.randint(6, 11) for _ in range(sentences)]
    found = [" ".join(chance.choices(WORDS, weights, k=length)) for length in lengths]
    return " ".join(f"{sentence.capitalize()}." for sentence in found)
