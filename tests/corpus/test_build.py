"""The corpus folder: what is in it, that it is reproducible, and that nothing half-made is left."""

import errno
import filecmp
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from bert_mobile.corpus import (
    BuildReport,
    build_corpus,
    pieces,
    plan,
    read_sentences,
    tokenize_corpus,
)
from bert_mobile.corpus.shards import read_text_shard
from bert_mobile.errors import ArtifactError, InputError, RunError
from bert_mobile.examples import Corpus
from bert_mobile.files import read_json, sha256

from .conftest import prose

TEXTS = [
    *(prose(seed) for seed in range(120)),
    prose(0),  # exact duplicate
    prose(1).replace("\n", " ") + " One more.",  # near duplicate
    "Too short.",
    prose(200) + "\n* * *\nA NUL\x00 and a lone \ud800 surrogate, don\u00e2\u20ac\u2122t worry.",
]


def texts_of(corpus: Path, split: str) -> set[str]:
    names = read_json(corpus / "manifest.json", "")["splits"][split]["shards"]
    files = [corpus / f"{name}.jsonl.zst" for name in names]
    return {" ".join(document) for file in files for document in read_text_shard(file)}


def same_folders(one: Path, other: Path) -> int:
    """Assert that two folders hold the same bytes; return how many files were compared."""
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert filecmp.cmpfiles(one, other, map(str, names), shallow=False)[0] == list(map(str, names))
    return len(names)


@pytest.fixture
def built(tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path]) -> BuildReport:
    return build_corpus(
        [json_lines(TEXTS)],
        tmp_path / "corpus",
        tokenizer=tokenizer,
        held_out=0.1,
        shard_bytes=20_000,
    )


def test_manifest(built: BuildReport, tmp_path: Path, tokenizer: Path) -> None:
    manifest = built.manifest
    assert manifest == read_json(tmp_path / "corpus" / "manifest.json", "")
    assert manifest["format"] == "bert-mobile corpus"
    assert manifest["version"] == 1
    size = (tmp_path / "texts.jsonl").stat().st_size
    assert manifest["sources"] == [{"path": "texts.jsonl", "bytes": size}]
    assert manifest["dropped"] == {
        "document: exact duplicate": 1,
        "document: near duplicate": 1,
        "document: under 2 sentences": 1,
        "sentence: no letters": 1,
    }
    assert manifest["repaired"] == {
        "invisible character": 1,
        "lone surrogate": 1,
        "wrongly decoded paragraph": 1,
    }
    splits = manifest["splits"]
    assert splits["train"]["documents"] + splits["held_out"]["documents"] == 121
    assert len(splits["train"]["shards"]) > 2
    assert manifest["tokenizer"]["sha256"] == sha256(tokenizer / "tokenizer.json")
    assert str(tmp_path) not in json.dumps(manifest)
    assert built.documents == len(TEXTS)
    assert built.megabytes == size / 1e6
    assert built.documents_per_second > 0
    assert built.megabytes_per_second > 0
    assert built.peak_megabytes > 10


def test_every_file_is_in_the_manifest_with_its_hash(built: BuildReport, tmp_path: Path) -> None:
    files = {p.name: sha256(p) for p in (tmp_path / "corpus").iterdir()}
    del files["manifest.json"]
    assert files == built.manifest["files"]
    shards = sum(len(split["shards"]) for split in built.manifest["splits"].values())
    assert len(files) == 1 + 4 * shards
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus", "texts.jsonl"]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_pieces_are_the_tokenizers_own(
    built: BuildReport, tmp_path: Path, tokenizer: Path, split: str
) -> None:
    """Oracle: the `tokenizers` library on each whole sentence."""
    oracle = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    corpus = Corpus(tmp_path / "corpus", split)
    names = built.manifest["splits"][split]["shards"]
    files = [tmp_path / "corpus" / f"{name}.jsonl.zst" for name in names]
    documents = [document for file in files for document in read_text_shard(file)]
    counts = built.manifest["splits"][split]
    assert len(corpus.documents) - 1 == len(documents) == counts["documents"]
    assert np.diff(corpus.documents).tolist() == [len(document) for document in documents]
    sentences = [sentence for document in documents for sentence in document]
    assert len(corpus.sentences) - 1 == len(sentences) == counts["sentences"]
    for (start, end), sentence in zip(pairwise(corpus.sentences), sentences, strict=True):
        expected = oracle.encode(sentence, add_special_tokens=False).ids
        assert corpus.tokens(np.arange(start, end)).tolist() == expected
    assert corpus.sentences[-1] == counts["tokens"]
    assert all(a < b for a, b in pairwise(corpus.sentences))
    assert all(a < b for a, b in pairwise(corpus.documents))
    with pytest.raises(IndexError):
        corpus.tokens(corpus.sentences[-1:])


HOSTILE = [
    "Ünïcödé ΌΔΟΣ ﬁne 25°C 3\u00d74 naïve e\u0301 a_b x@y.z don't—stop… «quoted»",
    "日本語 text 漢字mixed",
    "emoji \N{GRINNING FACE}\N{VARIATION SELECTOR-16} and \u200bzero \u00a0space\ttab",
    "x" * 150 + " " + "a!b?c" * 40,
    "\u0301 \u0301\u0302",
    "İstanbul ǅ ß \u017f",
]


@pytest.mark.parametrize("sentence", HOSTILE)
def test_word_by_word_is_the_same_as_whole(tokenizer: Path, sentence: str) -> None:
    oracle = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    (ids,) = pieces.Encoder(tokenizer).encode([sentence])
    expected = oracle.encode(sentence, add_special_tokens=False).ids
    assert np.frombuffer(ids, np.uint16).tolist() == expected


def test_special_tokens_in_a_text_are_text(tokenizer: Path) -> None:
    oracle = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    (ids,) = pieces.Encoder(tokenizer).encode(["a [MASK] [SEP] b"])
    special = {oracle.token_to_id(token) for token in ("[MASK]", "[SEP]", "[CLS]", "[PAD]")}
    assert not special & set(np.frombuffer(ids, np.uint16).tolist())


def test_remembering_is_bounded(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = prose(0).split("\n")
    expected = pieces.Encoder(tokenizer).encode(sentences)
    monkeypatch.setattr(pieces, "REMEMBERED_WORDS", 3)
    encoder = pieces.Encoder(tokenizer)
    assert [encoder.encode([sentence])[0] for sentence in sentences] == expected


def test_sentences_without_pieces_are_dropped(
    tmp_path: Path,
    tokenizer: Path,
    json_lines: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = pieces.Encoder.encode

    def forgetful(self: pieces.Encoder, sentences: list[str]) -> list[bytes]:
        found = whole(self, sentences)
        return [b""] * len(found) if "Gone" in sentences[-1] else [b"", *found[1:]]

    monkeypatch.setattr(pieces.Encoder, "encode", forgetful)
    texts = [prose(0), prose(1), prose(2) + " Gone."]
    report = build_corpus([json_lines(texts)], tmp_path / "c", tokenizer=tokenizer, held_out=0)
    train = report.manifest["splits"]["train"]
    assert (train["documents"], train["sentences"]) == (2, 22)
    assert report.manifest["dropped"] == {"document: no pieces": 1, "sentence: no pieces": 15}
    assert np.diff(Corpus(tmp_path / "c", "train").documents).tolist() == [11, 11]


def test_workers_do_not_change_a_byte(
    built: BuildReport, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", 5000)
    report = build_corpus(
        [tmp_path / "texts.jsonl"],
        tmp_path / "four",
        tokenizer=tokenizer,
        workers=4,
        held_out=0.1,
        shard_bytes=20_000,
    )
    compared = same_folders(tmp_path / "corpus", tmp_path / "four")
    assert compared == 2 + 4 * sum(len(s["shards"]) for s in report.manifest["splits"].values())


def test_held_out_is_disjoint_and_stable(
    built: BuildReport, tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path]
) -> None:
    train, held_out = (texts_of(tmp_path / "corpus", split) for split in ("train", "held_out"))
    assert not train & held_out
    assert 4 <= len(held_out) <= 24  # 12 expected of 121
    more = json_lines((prose(seed) for seed in range(300, 360)), "a.jsonl")
    build_corpus(
        [more, tmp_path / "texts.jsonl"], tmp_path / "two", tokenizer=tokenizer, held_out=0.1
    )
    assert held_out < texts_of(tmp_path / "two", "held_out")
    assert train < texts_of(tmp_path / "two", "train")


def test_tokenize_anew(built: BuildReport, tmp_path: Path, tokenizer: Path) -> None:
    corpus = tmp_path / "corpus"
    text = (tokenizer / "tokenizer.json").read_text()
    smaller = Tokenizer.from_str(text)
    value = json.loads(text)
    words = sorted(value["model"]["vocab"].items(), key=lambda item: item[1])[:200]
    value["model"]["vocab"] = dict(words)
    (tmp_path / "small.json").write_text(json.dumps(value))
    before = {p.name: p.read_bytes() for p in corpus.iterdir()}
    manifest = tokenize_corpus(corpus, tmp_path / "small.json")
    assert manifest["tokenizer"]["vocabulary_size"] == 200 < smaller.get_vocab_size()
    assert manifest["splits"]["train"]["tokens"] > built.manifest["splits"]["train"]["tokens"]
    assert all(p.read_bytes() == before[p.name] for p in corpus.glob("*.jsonl.zst"))
    assert read_json(corpus / "manifest.json", "") == manifest
    tokenize_corpus(corpus, tokenizer)
    assert {p.name: p.read_bytes() for p in corpus.iterdir()} == before


def test_sentences_of_corpus_and_source(built: BuildReport, tmp_path: Path) -> None:
    corpus = list(read_sentences(tmp_path / "corpus"))
    source = list(read_sentences(tmp_path / "texts.jsonl"))
    assert len(corpus) == built.manifest["splits"]["train"]["documents"]
    assert len(source) == len(TEXTS) - 1
    assert all(document in source for document in corpus)


def test_a_corpus_is_a_source(built: BuildReport, tmp_path: Path, tokenizer: Path) -> None:
    build_corpus([tmp_path / "corpus"], tmp_path / "again", tokenizer=tokenizer, held_out=0.1)
    for split in ("train", "held_out"):
        assert texts_of(tmp_path / "again", split) == texts_of(tmp_path / "corpus", split)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0, expected 1 or more"),
        ({"held_out": 1.0}, "held_out is 1.0, expected 0 to below 1"),
        ({"shard_bytes": 0}, "shard_bytes is 0, expected 1 or more"),
        ({"text_field": "body"}, "expected a string under 'body'"),
    ],
)
def test_refused_options(
    tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path], options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_corpus([json_lines(TEXTS)], tmp_path / "c", tokenizer=tokenizer, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["texts.jsonl"]


@pytest.mark.parametrize("texts", [[], ["Too short."]])
def test_no_document_left(
    tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path], texts: list[str]
) -> None:
    with pytest.raises(InputError, match=f"no document is left of {len(texts)} read"):
        build_corpus([json_lines(texts)], tmp_path / "c", tokenizer=tokenizer)
    assert [p.name for p in tmp_path.iterdir()] == ["texts.jsonl"]


def test_output_and_source_inside_each_other(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(InputError, match="lie inside each other"):
        build_corpus([tmp_path], tmp_path / "c", tokenizer=tokenizer)


def test_foreign_folder_is_kept(
    tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not written by this command"):
        build_corpus([json_lines(TEXTS)], tmp_path / "mine", tokenizer=tokenizer)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_unfit_tokenizers(tmp_path: Path, tokenizer: Path, json_lines: Callable[..., Path]) -> None:
    value = json.loads((tokenizer / "tokenizer.json").read_text())
    vocabulary = value["model"]["vocab"]
    vocabulary |= {f"word{i}": i for i in range(len(vocabulary), 65_537)}
    (tmp_path / "large.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match="has 65,537 pieces, expected at most 65,536"):
        build_corpus([json_lines(TEXTS)], tmp_path / "c", tokenizer=tmp_path / "large.json")
    value["pre_tokenizer"] = None
    value["model"]["vocab"] = dict(list(vocabulary.items())[:200])
    (tmp_path / "odd.json").write_text(json.dumps(value))
    with pytest.raises(InputError, match="BertNormalizer and NoneType, expected"):
        build_corpus([json_lines(TEXTS)], tmp_path / "c", tokenizer=tmp_path / "odd.json")


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "target",
    [
        "bert_mobile.corpus.shards.atomic_file",
        "bert_mobile.corpus.engine.LocalPipelineExecutor.mark_rank_as_completed",
        "numpy.save",
        "bert_mobile.corpus.build.write_json",
        "bert_mobile.corpus.workspace.write_json",
    ],
)
def test_full_disk_leaves_what_was_there(
    built: BuildReport,
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    """The message says how to go on, and going on makes what an undisturbed build makes."""
    source, out = tmp_path / "texts.jsonl", tmp_path / "corpus"
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        with pytest.raises(RunError, match="No space left") as raised:
            build_corpus([source], out, tokenizer=tokenizer)
    assert "--resume auto" in raised.value.hint
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    build_corpus([source], out, tokenizer=tokenizer, resume=True)
    build_corpus([source], tmp_path / "again", tokenizer=tokenizer)
    same_folders(out, tmp_path / "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "corpus", "texts.jsonl"]


@pytest.mark.parametrize("part", ["tokens", "sentences", "documents"])
def test_damaged_shard_is_named(built: BuildReport, tmp_path: Path, part: str) -> None:
    path = tmp_path / "corpus" / f"train-00001.{part}.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=rf"train-00001\.{part}\.npy is missing or damaged"):
        Corpus(tmp_path / "corpus", "train")
    Corpus(tmp_path / "corpus", "held_out")


@pytest.mark.parametrize("part", ["tokens", "sentences", "documents"])
def test_wrong_counts_are_refused(built: BuildReport, tmp_path: Path, part: str) -> None:
    manifest = built.manifest
    manifest["splits"]["held_out"][part] += 1
    (tmp_path / "corpus" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"counts .*'{part}': .* in held_out, its files hold"):
        Corpus(tmp_path / "corpus", "held_out")
    Corpus(tmp_path / "corpus", "train")


def test_other_version_is_refused(built: BuildReport, tmp_path: Path) -> None:
    manifest = {**built.manifest, "version": 2}
    (tmp_path / "corpus" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="version 2, expected 'bert-mobile corpus', version 1"):
        Corpus(tmp_path / "corpus", "train")


def test_import_is_light() -> None:
    code = (
        "import bert_mobile.corpus, sys; print(sorted({'numpy', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_memory_is_bounded(tmp_path: Path, tokenizer: Path) -> None:
    """60 MB of input: a record over the bound, many documents of numbers, a few of prose."""
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        file.write(json.dumps({"text": "x" * 25_000_000}) + "\n")
        for i in range(300):
            file.write(json.dumps({"text": "\n".join([f"{i} 1234567890 " * 100] * 75)}) + "\n")
            file.write(json.dumps({"text": prose(i)}) + "\n")
    assert path.stat().st_size > 55e6
    code = (
        "import sys; from pathlib import Path; from bert_mobile.corpus import build_corpus\n"
        "source, out, tokenizer = map(Path, sys.argv[1:])\n"
        "report = build_corpus([source], out, tokenizer=tokenizer)\n"
        "print(report.peak_megabytes, report.manifest['dropped'])"
    )
    arguments = [str(path), str(tmp_path / "c"), str(tokenizer)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert "'record: too long': 1" in done.stdout
    assert float(done.stdout.split()[0]) < 300, done.stdout
