"""Checkpoints that lack heads of pre-training, as `BertModel` and `BertForMaskedLM` write them."""

import shutil

from bert_mobile.checkpoint import WEIGHTS, read_weights, write_tensors
from bert_mobile.model.config import BertConfig
from bert_mobile.tokenizer import TOKENIZER_FILES

NEXT_SENTENCE = ("cls.seq_relationship.", "bert.pooler.")
ALL = ("cls.", "bert.pooler.")


def without_heads(source, folder, prefixes):
    """Copy a checkpoint to a new folder, but for its tensors of these prefixes."""
    folder.mkdir()
    for name in ("config.json", *TOKENIZER_FILES):
        shutil.copyfile(source / name, folder / name)
    weights = read_weights(source, BertConfig.read(source))
    kept = {name: each for name, each in weights.items() if not name.startswith(prefixes)}
    write_tensors(folder / WEIGHTS, kept)
    return folder
