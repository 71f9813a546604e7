"""GGUF files, read back by ggml's own decoding: what is carried over exactly and what is not."""

from dataclasses import replace

import numpy as np
import pytest

from bert_mobile.errors import InputError
from bert_mobile.export import export
from bert_mobile.export.source import Source
from bert_mobile.model.config import TOKENS
from bert_mobile.quantize.interface import WORDS
from bert_mobile.quantize.pack import Layout, PackedRows, pack_matrix, unpack_matrix
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, save_tokenizer
from tests.export.packed import packed_weights

gguf = pytest.importorskip("gguf", reason="needs the extra [gguf]")
target = pytest.importorskip("bert_mobile.export.gguf")


FOUR = pack_matrix(np.ones((2, 64), np.float32), Layout(4, 32, symmetric=True))


def written(folder, tokenizer, config, weights, width, packed=None):
    """Write a file; return its reader and what the writer noted."""
    notes = target.write(Source(tokenizer, config, weights, packed or {}), width, folder)
    return gguf.GGUFReader(folder / target.PLACE), notes


def decoded(reader, config):
    ours = {theirs: name for name, theirs in target.names(config).items()}
    return {
        ours[tensor.name]: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in reader.tensors
    }


@pytest.mark.parametrize(
    ("width", "kind", "error"),
    [
        ("float32", "F32", 0),
        ("float16", "F16", 1e-3),
        ("int8", "Q8_0", 0.01),
        ("int4", "Q4_0", 0.15),
    ],
)
def test_plain_widths(tmp_path, tiny_tokenizer, tiny_config, tiny_weights, width, kind, error):
    reader, notes = written(tmp_path, tiny_tokenizer, tiny_config, tiny_weights, width)
    found = decoded(reader, tiny_config)
    assert found.keys() == target.names(tiny_config).keys()
    for name, weight in found.items():
        away = np.linalg.norm(weight - tiny_weights[name]) / np.linalg.norm(tiny_weights[name])
        assert away <= (error if weight.ndim == 2 else 0), name
    assert {t.tensor_type.name for t in reader.tensors} == {"F32", kind}
    assert not any("re-rounded" in note for note in notes)


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        (Layout(2, 32), "Q4_0"),
        (Layout(2, 64, symmetric=True), "Q4_0"),
        (Layout(4, 32, symmetric=True), "Q4_0"),
        (Layout(4, 128, symmetric=True), "Q4_0"),
        (Layout(8, 64), "Q8_0"),
    ],
)
def test_layouts_that_are_carried_exactly(layout, kind):
    matrix = np.random.default_rng(1).normal(0, 1, (40, 256)).astype(np.float32)
    packed = pack_matrix(matrix, layout)
    data, found = target.encoded(packed, "any", "mix")
    assert found.name == kind
    np.testing.assert_array_equal(gguf.quants.dequantize(data, found), unpack_matrix(packed))


def test_zero_points_of_4_bits_are_exact_within_a_hundredth_of_a_step():
    matrix = np.random.default_rng(1).normal(0.5, 1, (40, 256)).astype(np.float32)
    packed = pack_matrix(matrix, Layout(4, 64))
    data, kind = target.encoded(packed, "any", "mix")
    assert kind.name == "Q4_1"
    steps = np.repeat(np.abs(packed.scales.astype(np.float32)), 64, axis=1)
    away = np.abs(gguf.quants.dequantize(data, kind) - unpack_matrix(packed)) / steps
    assert 0 < away.max() <= 15 / 2048 + 1e-6


def test_a_table_of_8_and_4_bits_keeps_the_4_bits(tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    data, kind = target.encoded(packed[WORDS], WORDS, "mix")
    found = gguf.quants.dequantize(data, kind)
    assert kind.name == "Q5_0"
    np.testing.assert_array_equal(found[50:101], rounded[WORDS][50:101])
    away = np.linalg.norm(found[:50] - rounded[WORDS][:50]) / np.linalg.norm(rounded[WORDS][:50])
    assert 0 < away < 0.08


def test_what_is_rounded_again_is_noted(tmp_path, tiny_tokenizer, tiny_config, tiny_weights):
    packed, rounded = packed_weights(tiny_weights)
    reader, notes = written(tmp_path, tiny_tokenizer, tiny_config, rounded, "mix", packed)
    assert f"re-rounded: {len(rounded[WORDS]) - 51} rows of {WORDS}, to Q5_0" in notes
    touched = {note.split(" of ")[1].split(",")[0] for note in notes if note.startswith("re-round")}
    for name, weight in decoded(reader, tiny_config).items():
        away = np.abs(weight - rounded[name]).max()
        assert away < (0.3 if name in touched else 2e-3), name


def test_the_tokenizer_is_inside(tmp_path, tiny_tokenizer, tiny_config, tiny_weights):
    reader, _ = written(tmp_path, tiny_tokenizer, tiny_config, tiny_weights, "float32")
    pieces = [
        bytes(reader.fields["tokenizer.ggml.tokens"].parts[i]).decode()
        for i in reader.fields["tokenizer.ggml.tokens"].data
    ]
    lines = (tiny_tokenizer / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(pieces) == len(lines) == tiny_config.vocab_size
    for piece, line in zip(pieces, lines, strict=True):
        special = line in SPECIAL_TOKENS
        assert piece == (line if special else line[2:] if line.startswith("##") else f"▁{line}")
    assert reader.get_field("tokenizer.ggml.cls_token_id").contents() == lines.index("[CLS]")
    assert reader.get_field("bert.pooling_type").contents() == gguf.PoolingType.MEAN


def test_every_row_of_the_embedding_has_a_piece(
    tmp_path, tiny_tokenizer, tiny_config, tiny_weights
):
    more = replace(tiny_config, vocab_size=tiny_config.vocab_size + 2, type_vocab_size=3)
    words = np.pad(tiny_weights[WORDS], ((0, 2), (0, 0)))
    reader, _ = written(tmp_path, tiny_tokenizer, more, {**tiny_weights, WORDS: words}, "float32")
    pieces = reader.get_field("tokenizer.ggml.tokens").contents()
    kinds = reader.get_field("tokenizer.ggml.token_type").contents()
    assert len(pieces) == len(kinds) == more.vocab_size
    assert kinds[-3:] == [gguf.TokenType.NORMAL, gguf.TokenType.UNUSED, gguf.TokenType.UNUSED]
    assert len(set(pieces)) == len(pieces)
    assert reader.get_field("tokenizer.ggml.token_type_count").contents() == 3


def test_a_cased_tokenizer_is_refused(tmp_path, tiny_config, tiny_weights):
    vocabulary = {piece: i for i, piece in enumerate((*SPECIAL_TOKENS, "a", "A"))}
    save_tokenizer(bert_wordpiece(vocabulary, lowercase=False), tmp_path)
    with pytest.raises(InputError, match="keeps case or accents"):
        written(tmp_path / "out", tmp_path, tiny_config, tiny_weights, "float32")


def test_the_head_of_a_task_is_refused(tmp_path, tiny_task):
    folder = tiny_task(TOKENS)
    with pytest.raises(InputError, match="gguf cannot hold a BertForTokenClassification"):
        export(folder, "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", [Layout(4, 64), Layout(8, 16)])
def test_packed_weights_whose_offsets_float16_cannot_hold_are_refused(layout):
    matrix = np.full((40, 64), -5e5, np.float32)
    matrix[:, ::2] = -4e6 if layout.bits == 8 else -3e5
    with pytest.raises(InputError, match="any has a weight of"):
        target.encoded(PackedRows((pack_matrix(matrix, layout), FOUR)), "any", "mix")
