"""Growing a small network into a larger one that does nearly the same."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForPreTraining

from bert_mobile.checkpoint import read_weights, write_checkpoint
from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.files import read_json, sha256
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.tokenizer import SPECIAL_TOKENS, bert_wordpiece, load_tokenizer, save_tokenizer
from bert_mobile.train import grow as module
from bert_mobile.train.grow import grow
from tests.conftest import WORDS, document


@pytest.fixture(scope="module", autouse=True)
def little_text():
    """Regressions on as much text as networks this small need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CALIBRATION_SEQUENCES", 64)
        patch.setattr(module, "CALIBRATION_LENGTH", 32)
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_config, tiny_tokenizer):
    """Two layers, 64 wide, 4 heads, with weights as a fresh network has them, but larger."""
    torch.manual_seed(5)
    model = BertForPretraining(tiny_config)
    for parameter in model.parameters():
        parameter.data.add_(0.03 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("source")
    write_checkpoint(folder, tiny_config, model.to_huggingface(), tiny_tokenizer, {})
    return folder


@pytest.fixture
def ids(tiny_tokenizer):
    """Text that the regressions have not seen, (4, 40)."""
    text = " ".join(document(seed) for seed in range(1000, 1010))
    found = load_tokenizer(tiny_tokenizer).encode(text, add_special_tokens=False).ids[:160]
    return torch.tensor(found).view(4, 40)


def larger(tiny_config, **changes):
    shape = {"hidden_size": 96, "num_attention_heads": 6, "intermediate_size": 160, **changes}
    return BertConfig(**{**vars(tiny_config), **shape})


@torch.no_grad()
def hidden_states(folder, ids):
    model = BertForPretraining(BertConfig.read(folder)).eval()
    model.from_huggingface(read_weights(folder, model.config))
    return model.encoder(ids, None, torch.zeros_like(ids))


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, 0.05),  # heads of the same width, as many layers
        ({"num_hidden_layers": 5}, 0.15),
        ({"hidden_size": 128, "num_attention_heads": 4}, 0.1),  # wider heads
    ],
    ids=["wider", "deeper", "wider heads"],
)
def test_the_larger_network_does_nearly_the_same(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path, ids, changes, limit
):
    config, out = larger(tiny_config, **changes), tmp_path / "g"
    report = grow(source, out, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    expected, found = hidden_states(source, ids), hidden_states(out, ids)[..., :64]
    error = ((found - expected).norm() / expected.norm()).item()
    assert error < limit
    assert len(report.hidden_state_error) == config.num_hidden_layers + 1
    assert max(report.hidden_state_error) < limit


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


def test_the_output_bias_starts_from_the_frequencies(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path
):
    config = larger(tiny_config)
    grow(source, tmp_path / "g", config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    bias = read_weights(tmp_path / "g", config)["cls.predictions.bias"]
    assert np.exp(bias.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)
    vocabulary = load_tokenizer(tiny_tokenizer).get_vocab()
    assert bias[vocabulary[WORDS[0]]] > bias[vocabulary[WORDS[-1]]] > bias[vocabulary["##z"]]


def test_the_result_is_a_checkpoint_like_any_other(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path
):
    config = larger(tiny_config, num_hidden_layers=3)
    out = tmp_path / "g"
    report = grow(source, out, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    theirs, notes = AutoModelForPreTraining.from_pretrained(out, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    assert theirs.config.num_hidden_layers == 3
    record = read_json(out / "provenance.json", "")
    parent = record["parents"][-1]
    assert parent["name"] == source.name
    assert parent["sha256"] == sha256(source / "model.safetensors")
    assert record["grow"] == report.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 48, "num_attention_heads": 3}, "hidden_size is 48, the source's is 64"),
        ({"num_hidden_layers": 1}, "num_hidden_layers is 1, the source's is 2"),
        ({"intermediate_size": 100}, "intermediate_size is 100, the source's is 128"),
        ({"num_attention_heads": 12}, "head_size is 8, the source's is 16"),
        ({"vocab_size": 99}, "has 206 pieces, expected 99"),
    ],
)
def test_shrinking_is_refused(
    source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path, changes, message
):
    config = larger(tiny_config, **changes)
    with pytest.raises(InputError, match=message):
        grow(source, tmp_path / "g", config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    assert not (tmp_path / "g").exists()


def test_a_foreign_folder_is_kept(source, tiny_config, tiny_tokenizer, tiny_corpus, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    config = larger(tiny_config)
    with pytest.raises(ArtifactError, match="not written by this command"):
        grow(source, tmp_path, config=config, tokenizer=tiny_tokenizer, corpus=tiny_corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
