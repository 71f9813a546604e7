"""Growing; the oracle is transformers, which writes sources and reads what became of them."""

import torch
import transformers

from bert_mobile.model.config import BertConfig
from bert_mobile.tokenizer import load_tokenizer


def larger(tiny_config, **changes):
    shape = {"hidden_size": 96, "num_attention_heads": 6, "intermediate_size": 160, **changes}
    return BertConfig(**{**vars(tiny_config), **shape})


@torch.no_grad()
def answers(folder, ids):
    """Logits of masked tokens (B, T, V) and next sentence (B, 2): [CLS] A [SEP] B, some masked."""
    words = load_tokenizer(folder).get_vocab()
    ids, types, half = ids.clone(), torch.zeros_like(ids), ids.shape[1] // 2
    ids[:, 0], ids[:, [half, -1]], ids[:, 3::6] = words["[CLS]"], words["[SEP]"], words["[MASK]"]
    types[:, half + 1 :] = 1
    model = transformers.BertForPreTraining.from_pretrained(folder).eval()
    found = model(input_ids=ids, token_type_ids=types)
    return found.prediction_logits, found.seq_relationship_logits
