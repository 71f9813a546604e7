"""Masked pairs, taken apart again.

The corpora here are made of numbers, no two alike: every piece tells where it stood, so a segment
can be looked up in the text, and a document by any of its pieces.
"""

import json
import shutil
from dataclasses import fields
from itertools import accumulate

import numpy as np
import pytest

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.examples import Batch, Corpus, PairSampler
from bert_mobile.files import sha256
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, save_tokenizer

PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = 40_000
DRAWS = 60
"""Batches that statistics are taken of."""


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    """A tokenizer's folder with as many pieces as uint16 may need here."""
    folder = tmp_path_factory.mktemp("vocabulary")
    pieces = [*SPECIAL_TOKENS, *(f"piece{i}" for i in range(5, VOCABULARY))]
    save_tokenizer(bert_wordpiece({piece: i for i, piece in enumerate(pieces)}), folder)
    return folder


@pytest.fixture
def build(tmp_path, vocabulary):
    """Return a function that writes a corpus whose pieces count up from 5.

    `documents` gives each document as the lengths of its sentences, `shards` how many documents
    each shard holds.
    """

    def build(documents, shards=None, name="corpus"):
        folder = tmp_path / name
        folder.mkdir()
        first, piece, names = 0, 5, []
        for number, count in enumerate(shards or [len(documents)]):
            names.append(f"train-{number:05d}")
            part = documents[first : first + count]
            lengths = [length for document in part for length in document]
            arrays = {
                "tokens": np.arange(piece, piece + sum(lengths), dtype=np.uint16),
                "sentences": np.array([*accumulate(lengths, initial=0)]),
                "documents": np.array([*accumulate(map(len, part), initial=0)]),
            }
            for kind, array in arrays.items():
                np.save(folder / f"{names[-1]}.{kind}.npy", array)
            first, piece = first + count, piece + sum(lengths)
        manifest = {
            "format": "bert-mobile corpus",
            "version": 1,
            "splits": {"train": {"shards": names}, "held_out": {"shards": []}},
            "dropped": {},
            "tokenizer": {"vocabulary_size": VOCABULARY},
        }
        shutil.copyfile(vocabulary / "tokenizer.json", folder / "tokenizer.json")
        sign(folder, manifest)
        return Corpus(folder, "train")

    return build


@pytest.fixture
def lengths():
    """Sixty documents of 2 to 12 sentences of 3 to 20 pieces; in one, all are very long."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(3, 21, rng.integers(2, 13)).tolist() for _ in range(60)]
    return [*documents, [150, 200, 90]]


@pytest.fixture
def corpus(build, lengths):
    return build(lengths, shards=[7, 1, 30, 23])


@pytest.fixture
def sampler(corpus):
    return PairSampler(corpus, seed=3, sequence_length=48, batch_size=16)


def sign(folder, manifest):
    """Write the manifest with the hash of every other file."""
    files = {path.name: sha256(path) for path in folder.iterdir() if path.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "files": files}))


def sign_anew(folder):
    sign(folder, json.loads((folder / "manifest.json").read_text()))


class Pair:
    """One example of a batch, unmasked and taken apart."""

    def __init__(self, batch: Batch, row: int) -> None:
        ids = batch.input_ids.ravel().copy()
        ids[batch.positions] = batch.targets
        width = batch.input_ids.shape[1]
        self.ids = ids.reshape(-1, width)[row]
        self.length = int(batch.attention_mask[row].sum())
        self.types = batch.token_type_ids[row]
        first, second = np.flatnonzero(self.ids == SEP)
        self.a, self.b = self.ids[1:first], self.ids[first + 1 : second]
        self.separators = (int(first), int(second))
        self.is_random = bool(batch.is_random[row])


def pairs(sampler, steps=DRAWS):
    return [
        Pair(batch, row)
        for batch in map(sampler.batch, range(steps))
        for row in range(sampler.batch_size)
    ]


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch))


def document_of(corpus, piece):
    sentence = np.searchsorted(corpus.sentences, piece - 5, side="right") - 1
    return int(np.searchsorted(corpus.documents, sentence, side="right") - 1)


# --- the corpus ---------------------------------------------------------------------------------


def test_tokens_across_shards_are_the_text(corpus, lengths):
    total = sum(map(sum, lengths))
    assert corpus.sentences[-1] == total
    assert len(corpus.documents) - 1 == len(lengths)
    np.testing.assert_array_equal(corpus.tokens(np.arange(total)), np.arange(5, 5 + total))
    shuffled = np.random.default_rng(1).integers(0, total, (20, 30))
    np.testing.assert_array_equal(corpus.tokens(shuffled), shuffled + 5)


def test_shards_change_no_batch(build, lengths):
    one, many = build(lengths), build(lengths, shards=[1] * len(lengths), name="many")
    options = {"seed": 1, "sequence_length": 32, "batch_size": 8}
    for step in range(20):
        assert same(
            PairSampler(one, **options).batch(step), PairSampler(many, **options).batch(step)
        )


def test_special_ids_are_the_tokenizers(corpus, tmp_path):
    vocabulary = {f"[unused{i}]": i for i in range(1, 100)}
    vocabulary |= {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    save_tokenizer(bert_wordpiece(vocabulary), corpus.folder)
    sign_anew(corpus.folder)
    found = Corpus(corpus.folder, "train").special
    assert (found.pad, found.cls, found.sep, found.mask) == (0, 101, 102, 103)
    assert np.flatnonzero(found.is_text).tolist() == list(range(1, 100))


def test_special_tokens_at_the_end_and_holes_hide_no_text(build, lengths):
    corpus = build(lengths)
    last = int(corpus.tokens(np.arange(corpus.sentences[-1])).max()) + 10
    pieces = {f"piece{i}": i for i in range(5, last - 5)}  # then a hole
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": last}
    save_tokenizer(bert_wordpiece(special | pieces), corpus.folder)
    sign_anew(corpus.folder)
    corpus = Corpus(corpus.folder, "train")
    assert corpus.vocabulary_size == last + 1
    sampler = PairSampler(corpus, seed=3, sequence_length=48, batch_size=16)
    for batch in map(sampler.batch, range(DRAWS)):
        shown = batch.input_ids.ravel()[batch.positions]
        assert len(shown) > 16
        assert set(np.unique(shown)) <= {last, *pieces.values()}
        assert (shown == last).mean() > 0.5


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        ("tokens", np.zeros(7, np.uint16), "do not belong together"),
        ("sentences", np.zeros(0, np.int64), "do not belong together"),
        ("documents", np.zeros(0, np.int64), "do not belong together"),
        ("tokens", np.zeros(7, np.int32), r"holds int32 \(7,\), expected uint16 \(n,\)"),
        ("sentences", np.array(["a"], object), "cannot be read"),
    ],
)
def test_damaged_shards_are_refused(corpus, part, array, message):
    np.save(corpus.folder / f"train-00001.{part}.npy", array)
    sign_anew(corpus.folder)
    with pytest.raises(ArtifactError, match=message):
        Corpus(corpus.folder, "train")


@pytest.mark.parametrize("name", ["train-00001.tokens.npy", "tokenizer.json"])
def test_a_flipped_bit_is_noticed(corpus, name):
    data = bytearray((corpus.folder / name).read_bytes())
    data[-3] ^= 1
    (corpus.folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{name} is missing or damaged"):
        Corpus(corpus.folder, "train")


@pytest.mark.parametrize("part", ["splits", "dropped", "tokenizer", "files"])
def test_a_damaged_manifest_is_refused(corpus, part):
    path = corpus.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for damaged in ({**manifest, part: ["a"]}, {k: v for k, v in manifest.items() if k != part}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(ArtifactError, match=f"has no proper '{part}'"):
            Corpus(corpus.folder, "train")


def test_a_shard_may_have_no_documents(build, lengths, corpus):
    """A tokenizer may leave nothing of all that a text shard has."""
    gaps = build(lengths, shards=[0, 7, 0, 0, 54, 0], name="gaps")
    assert (gaps.sentences == corpus.sentences).all()
    assert (gaps.documents == corpus.documents).all()
    everything = np.arange(corpus.sentences[-1])
    assert (gaps.tokens(everything) == corpus.tokens(everything)).all()


def test_a_split_that_is_not_there_is_named(corpus):
    with pytest.raises(InputError, match="has no split 'test', expected one of train, held_out"):
        Corpus(corpus.folder, "test")


# --- the layout ---------------------------------------------------------------------------------


def test_layout(sampler):
    for pair in pairs(sampler):
        first, second = pair.separators
        assert pair.ids[0] == CLS
        assert len(pair.a) >= 1
        assert len(pair.b) >= 1
        assert np.concatenate([pair.a, pair.b]).min() >= 5
        assert pair.length == second + 1 <= sampler.sequence_length
        assert (pair.ids[second + 1 :] == PAD).all()
        expected = (np.arange(len(pair.ids)) > first) & (np.arange(len(pair.ids)) <= second)
        np.testing.assert_array_equal(pair.types, expected)


def test_segments_are_runs_of_text_that_begin_at_sentences(corpus, sampler):
    begins = set((corpus.sentences + 5).tolist())
    for pair in pairs(sampler):
        for segment in (pair.a, pair.b):
            np.testing.assert_array_equal(np.diff(segment), 1)
            assert int(segment[0]) in begins
            assert document_of(corpus, segment[0]) == document_of(corpus, segment[-1])


def test_a_real_continuation_is_the_text_that_follows(corpus, sampler):
    """Where A is one sentence too long for the window, it is cut and B the sentence after it."""
    begins = corpus.sentences + 5
    cut = 0
    for pair in pairs(sampler):
        if pair.is_random:
            continue
        after = begins[np.searchsorted(begins, pair.a[-1], side="right")]
        assert pair.b[0] == after
        assert document_of(corpus, pair.a[0]) == document_of(corpus, pair.b[0])
        cut += after != pair.a[-1] + 1
    assert cut > 0
    assert cut < 0.1 * len(pairs(sampler))


def test_a_random_segment_is_from_another_document(corpus, sampler):
    found = [(document_of(corpus, p.a[0]), document_of(corpus, p.b[0])) for p in pairs(sampler)
             if p.is_random]  # fmt: skip
    assert all(a != b for a, b in found)
    assert len({b for _, b in found}) > 50  # of 61: not always the same one


def test_half_of_the_pairs_are_random(sampler):
    drawn = [pair.is_random for pair in pairs(sampler)]
    bound = 4 * np.sqrt(0.25 * len(drawn))  # four standard deviations
    assert abs(sum(drawn) - len(drawn) / 2) < bound


def test_sentences_longer_than_the_window_are_cut(build):
    corpus = build([[500, 400, 300], [600, 700]])
    sampler = PairSampler(corpus, seed=0, sequence_length=32, batch_size=4)
    for pair in pairs(sampler, steps=20):
        assert pair.length == 32
        assert len(pair.a) == 14
        assert len(pair.b) == 15


# --- masking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_the_asked_part_is_exact_in_every_sequence(corpus, rate):
    sampler = PairSampler(corpus, seed=1, sequence_length=48, batch_size=16, masking_rate=rate)
    for step in range(20):
        batch = sampler.batch(step)
        width = batch.input_ids.shape[1]
        asked = np.bincount(batch.positions // width, minlength=16)
        text = batch.attention_mask.sum(1) - 3
        np.testing.assert_array_equal(asked, np.maximum(1, np.rint(text * rate)))
        assert (np.diff(batch.positions) > 0).all()
        assert len(batch.targets) == len(batch.positions)


def test_equal_keys_ask_for_no_token_too_many(corpus, monkeypatch):
    """Float32 keys are equal now and then: here there are two values only."""
    monkeypatch.setattr("bert_mobile.examples.np.random.Generator", CoarseGenerator)
    sampler = PairSampler(corpus, seed=1, sequence_length=64, batch_size=16, masking_rate=0.3)
    for step in range(5):
        batch = sampler.batch(step)
        ids = np.array([Pair(batch, row).ids for row in range(16)])
        text = sampler.special.is_text[ids].sum(axis=1)
        asked = np.bincount(batch.positions // batch.input_ids.shape[1], minlength=16)
        assert (asked == np.rint(0.3 * text)).all()
        assert len(batch.positions) <= 16 * sampler.most_asked


class CoarseGenerator(np.random.Generator):
    """Draws float32 numbers as 0 or 0.5."""

    def random(self, size=None, dtype=np.float64):
        drawn = super().random(size, dtype)
        return np.floor(drawn * 2) / 2 if dtype is np.float32 else drawn


def test_eighty_ten_ten(sampler):
    shown, targets = [], []
    for step in range(4 * DRAWS):
        batch = sampler.batch(step)
        shown.append(batch.input_ids.ravel()[batch.positions])
        targets.append(batch.targets)
    shown, targets = np.concatenate(shown), np.concatenate(targets)
    masked, kept = shown == MASK, shown == targets
    for found, expected in ((masked, 0.8), (kept, 0.1), (~masked & ~kept, 0.1)):
        deviation = np.sqrt(expected * (1 - expected) / len(shown))
        assert abs(found.mean() - expected) < 4 * deviation


def test_special_tokens_and_padding_are_neither_asked_nor_drawn(sampler):
    drawn = []
    for step in range(DRAWS):
        batch = sampler.batch(step)
        assert batch.targets.min() >= 5
        assert batch.attention_mask.ravel()[batch.positions].all()
        shown = batch.input_ids.ravel()[batch.positions]
        drawn.append(shown[(shown != MASK) & (shown != batch.targets)])
    drawn = np.concatenate(drawn)
    assert drawn.min() >= 5
    assert drawn.max() > 0.9 * VOCABULARY  # the whole vocabulary is drawn from
    assert drawn.max() < VOCABULARY


def test_unasked_tokens_are_untouched(corpus, sampler):
    batch = sampler.batch(0)
    untouched = np.ones(batch.input_ids.size, bool)
    untouched[batch.positions] = False
    text = (batch.input_ids.ravel() >= 5) & untouched
    assert text.sum() > 300
    assert batch.input_ids.ravel()[text].max() < 5 + corpus.sentences[-1]


def test_each_position_is_asked_equally_often(build):
    sampler = PairSampler(build([[8] * 50, [8] * 50]), seed=0, sequence_length=32, batch_size=32)
    asked = np.zeros(32)
    for step in range(DRAWS):
        batch = sampler.batch(step)
        asked += np.bincount(batch.positions % batch.input_ids.shape[1], minlength=32)
    inner = asked[1:8]  # before the first place where a [SEP] can stand
    assert np.abs(inner / inner.mean() - 1).max() < 0.2, asked


# --- repetition and order -----------------------------------------------------------------------


def test_a_batch_is_a_function_of_seed_and_step(corpus):
    def sampler(seed):
        return PairSampler(corpus, seed=seed, sequence_length=48, batch_size=16)

    one, again = sampler(3), sampler(3)
    again.batch(77)  # what was asked before does not matter
    assert same(one.batch(5), again.batch(5))
    assert not same(one.batch(5), one.batch(6))
    assert not same(one.batch(5), sampler(4).batch(5))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_batch_of_one_device(sampler, world_size):
    for step in range(10):
        whole = sampler.batch(step)
        parts = [sampler.batch(step, rank=r, world_size=world_size) for r in range(world_size)]
        share = 16 // world_size
        for row in range(16):
            part, inside = parts[row // share], row % share
            width = part.input_ids.shape[1]
            np.testing.assert_array_equal(part.input_ids[inside], whole.input_ids[row, :width])
            assert not whole.attention_mask[row, width:].any()
            assert part.is_random[inside] == whole.is_random[row]
        np.testing.assert_array_equal(np.concatenate([p.targets for p in parts]), whole.targets)


def test_every_window_is_visited_once_an_epoch(corpus):
    sampler = PairSampler(corpus, seed=3, sequence_length=32, batch_size=8)
    visited = [int(pair.a[0]) for pair in pairs(sampler, steps=2 * sampler.windows // 8)]
    first, second = visited[: sampler.windows], visited[sampler.windows :]
    assert len(set(first)) == sampler.windows
    assert len(set(second)) == len(second) > 0.9 * sampler.windows
    assert set(second) <= set(first)
    assert first != sorted(first)  # shuffled,
    assert second != first[: len(second)]  # and anew


def test_windows_cover_the_text_about_once(build):
    corpus = build([[10] * 100, [10] * 100])
    sampler = PairSampler(corpus, seed=0, sequence_length=53, batch_size=4)  # 50 pieces of text
    assert sampler.windows == pytest.approx(2000 / 50, abs=2)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 15}, "sequence_length is 15, expected at least 16"),
        ({"masking_rate": 0.0}, "masking_rate is 0.0, expected a number between 0 and 1"),
        ({"masking_rate": 1.0}, "masking_rate is 1.0, expected a number between 0 and 1"),
    ],
)
def test_contradictions_are_refused(corpus, options, message):
    with pytest.raises(InputError, match=message):
        PairSampler(corpus, **{"seed": 0, "sequence_length": 32, "batch_size": 4, **options})


def test_a_corpus_of_one_document_is_refused(build):
    with pytest.raises(InputError, match=r"has 1 document\(s\), expected two or more"):
        PairSampler(build([[5] * 30]), seed=0, sequence_length=32, batch_size=4)


def test_documents_of_single_sentences_are_refused(build):
    with pytest.raises(InputError, match="has no document of two sentences"):
        PairSampler(build([[9], [9]]), seed=0, sequence_length=32, batch_size=4)


def test_a_batch_that_devices_cannot_share_is_refused(sampler):
    with pytest.raises(InputError, match="batch_size 16 is no multiple of 3 devices"):
        sampler.batch(0, world_size=3)
