"""Corpora of which every word is known."""

import json
import shutil

import pytest

from bert_mobile.corpus.pieces import encode_shard
from bert_mobile.corpus.shards import write_text
from bert_mobile.files import sha256
from tests.evaluate.tiny_tasks import write_tasks


@pytest.fixture
def write_corpus(tmp_path, tiny_tokenizer):
    """Return a function that writes held-out shards, each a list of (source, sentences)."""

    def write_corpus(*shards):
        folder = tmp_path / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copyfile(tiny_tokenizer / "tokenizer.json", folder / "tokenizer.json")
        files = {"tokenizer.json": sha256(folder / "tokenizer.json")}
        for number, shard in enumerate(shards):
            name = f"held_out-{number:05d}"
            lines = ({"source": s, "title": "", "sentences": texts} for s, texts in shard)
            write_text(folder / f"{name}.jsonl.zst", (json.dumps(line).encode() for line in lines))
            files |= encode_shard(folder, name).files
        names = [f"held_out-{number:05d}" for number in range(len(shards))]
        manifest = {
            "format": "bert-mobile corpus",
            "version": 1,
            "splits": {"train": {"shards": []}, "held_out": {"shards": names}},
            "dropped": {},
            "tokenizer": {},
            "files": files,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write_corpus


@pytest.fixture(scope="session")
def glue_data(tmp_path_factory):
    """CoLA, RTE, STS-B, and MNLI with its mismatched set, as their official downloads lie."""
    data = tmp_path_factory.mktemp("glue")
    write_tasks(data)
    return data
