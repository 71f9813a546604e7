"""The nine sizes: the card's figures, and an independent count of the parameters."""

import pytest
import torch
from transformers import BertConfig, BertModel

from bert_mobile.variants import VARIANTS, VOCABULARY_SIZE

CARD_MEGABYTES = {
    "micro": 15, "mini": 17, "tinyplus": 20, "small": 45, "mid": 50, "mobile": 140, "medium": 160,
    "large": 365, "pro": 420,
}  # fmt: skip


def test_the_family_is_the_cards():
    assert {name: v.card_megabytes for name, v in VARIANTS.items()} == CARD_MEGABYTES
    sizes = [variant.parameters for variant in VARIANTS.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_size_is_within_three_percent_of_the_cards(variant):
    assert variant.megabytes == pytest.approx(CARD_MEGABYTES[variant.name], rel=0.03)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_parameters_are_those_of_transformers(variant):
    shape = BertConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=variant.hidden_size,
        num_hidden_layers=variant.num_hidden_layers,
        num_attention_heads=variant.num_attention_heads,
        intermediate_size=variant.intermediate_size,
    )
    with torch.device("meta"):
        oracle = BertModel(shape, add_pooling_layer=False)
    assert variant.parameters == sum(parameter.numel() for parameter in oracle.parameters())


def test_mobile_is_the_published_model():
    mobile = VARIANTS["mobile"]
    assert (mobile.num_hidden_layers, mobile.hidden_size, mobile.num_attention_heads) == (8, 512, 8)
    assert mobile.parameters == 36_644_864
