"""Small trained networks to grow from, and what they answer."""

import shutil

import pytest
import torch
import transformers

from bert_mobile.checkpoint import write_checkpoint
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.tokenizer import load_tokenizer
from bert_mobile.train.grow import text
from tests.conftest import document


@pytest.fixture(scope="package", autouse=True)
def little_text():
    """Regressions on as much text as networks this small need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "SEQUENCES", 64)
        patch.setattr(text, "LENGTH", 32)
        yield


@pytest.fixture(scope="package")
def source(tmp_path_factory, tiny_config, tiny_tokenizer):
    """Two layers, 64 wide, 4 heads, with weights as a fresh network has them, but larger."""
    torch.manual_seed(5)
    model = BertForPretraining(tiny_config)
    for parameter in model.parameters():
        parameter.data.add_(0.03 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("source")
    write_checkpoint(folder, tiny_config, model.to_huggingface(), tiny_tokenizer, {})
    return folder


@pytest.fixture(scope="package")
def written(tmp_path_factory, tiny_config, tiny_tokenizer):
    """Return a function that gives the folder of a random BERT of transformers, by its class."""
    found = {}

    def written(kind="BertForPreTraining", **changes):
        key = (kind, *changes.items())
        if key not in found:
            torch.manual_seed(3)
            config = transformers.BertConfig(**{**tiny_config.to_json(), **changes})
            model = getattr(transformers, kind)(config)
            for parameter in model.parameters():  # fresh ones answer nearly the same to everything
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            found[key] = tmp_path_factory.mktemp("written")
            model.save_pretrained(found[key])
            shutil.copytree(tiny_tokenizer, found[key], dirs_exist_ok=True)
        return found[key]

    return written


@pytest.fixture
def ids(tiny_tokenizer):
    """Text that the regressions have not seen, (4, 40)."""
    text = " ".join(document(seed) for seed in range(1000, 1010))
    found = load_tokenizer(tiny_tokenizer).encode(text, add_special_tokens=False).ids[:160]
    return torch.tensor(found).view(4, 40)
