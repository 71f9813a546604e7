"""The module that converters trace, against the network it is made of."""

import numpy as np
import pytest
import torch

from bert_mobile.export import read_source
from bert_mobile.export.plain import PlainBert, PlainVocabulary, output_names
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES, TOKENS
from bert_mobile.model.heads import BertForPretraining, BertForTask
from bert_mobile.quantize.interface import END_LOGITS, HIDDEN, LOGITS, NEXT_SENTENCE, START_LOGITS


def inputs(config, rows=3, length=17):
    random = torch.Generator().manual_seed(3)
    ids = torch.randint(5, config.vocab_size, (rows, length), generator=random)
    types = torch.randint(0, 2, (rows, length), generator=random)
    lengths = torch.tensor([[length], [length // 2], [1]])
    return ids, (torch.arange(length) < lengths).long(), types


def expected(source, some):
    """What the network of `bert_mobile.model` says, by the names of the outputs."""
    pretrained = source.config.architecture == PRETRAINING
    network = (BertForPretraining if pretrained else BertForTask)(source.config).eval()
    network.from_huggingface(source.weights)
    with torch.no_grad():
        said, found = network(*some), {HIDDEN: network.encoder(*some)}
    if pretrained:
        return found | {LOGITS: said.masked_tokens, NEXT_SENTENCE: said.next_sentence}
    if source.config.architecture == ANSWERS:
        return found | {START_LOGITS: said[..., 0], END_LOGITS: said[..., 1]}
    return found | {LOGITS: said}


@pytest.mark.parametrize("architecture", [PRETRAINING, SEQUENCES, TOKENS, ANSWERS])
def test_every_head_says_what_our_network_says(architecture, tiny_checkpoint, tiny_task):
    folder = tiny_checkpoint if architecture == PRETRAINING else tiny_task(architecture)
    source = read_source(folder)
    plain, some = PlainBert(source), inputs(source.config)
    found = dict(zip(plain.outputs, plain(*some), strict=True))
    if architecture == PRETRAINING:
        [words] = PlainVocabulary(source)(found[HIDDEN].flatten(0, 1))
        found[LOGITS] = words.unflatten(0, some[0].shape)
    theirs = expected(source, some)
    assert found.keys() == theirs.keys()
    for name, values in found.items():
        assert values.shape == theirs[name].shape
        rows = some[1].bool() if values.shape[:2] == some[0].shape else slice(None)
        worst = float((values - theirs[name])[rows].abs().max())
        print(name, worst)
        assert worst < 1e-5, name


def test_a_length_that_is_dynamic_can_be_traced(tiny_checkpoint):
    source = read_source(tiny_checkpoint)
    plain, some = PlainBert(source), inputs(source.config)
    tokens = {1: torch.export.Dim("tokens", min=1, max=source.config.max_position_embeddings)}
    traced = torch.export.export(plain, some, dynamic_shapes=(tokens,) * 3).module()
    for length in (1, 2, source.config.max_position_embeddings):
        asked = inputs(source.config, length=length)
        for ours, theirs in zip(traced(*asked), plain(*asked), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_heads_that_are_missing_are_no_outputs(tiny_checkpoint):
    source = read_source(tiny_checkpoint)
    kept = {name: value for name, value in source.weights.items() if name.startswith("bert.")}
    bare = type(source)(source.folder, source.config, kept, {})
    assert output_names(bare) == (HIDDEN,)
    assert len(PlainBert(bare)(*inputs(source.config))) == 1
