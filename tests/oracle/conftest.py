"""What the comparisons share: a network of transformers to copy, and a batch to ask both."""

import pytest
import torch
import transformers


@pytest.fixture(scope="module")
def theirs(config):
    """transformers' network of the class and shape that the module's `config` names."""
    torch.manual_seed(0)
    kind = getattr(transformers, config.architecture)
    oracle = kind(transformers.BertConfig(**config.to_json())).eval()
    for parameter in oracle.parameters():  # fresh LayerNorms and biases would hide a swapped name
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return oracle


@pytest.fixture(scope="module", params=["full", "padded"])
def batch(request, config):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, config.vocab_size, (4, 17), generator=generator)
    mask = torch.ones_like(ids)
    if request.param == "padded":
        for row, length in enumerate((17, 9, 3, 12)):
            mask[row, length:] = 0
        ids = ids * mask
    types = torch.randint(0, 2, ids.shape, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
