"""From one vocabulary to another: rows of the word embedding, and the output bias.

**Rows.** A piece that both have keeps its row. Another is spelled in the old vocabulary's pieces –
as it stands, as the old tokenizer would write it (lower case, no accents) or with a capital,
whichever takes the fewest – and gets the mean of their rows; [UNK]'s where it cannot be spelled.

**Bias.** A piece that both have keeps its bias. The mean of the parts' biases would make a rare
word as likely as the common parts it is spelled with; so any other piece gets the bias that makes
its logit, averaged over the masked positions of real text, what that of a shared piece of the same
frequency is: a straight line through the shared pieces' average logits over log frequency. Where
all pieces are shared nothing changes, and no text is counted.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from bert_mobile.tokenizer import id_count

CONTINUED = "##"


class Translation(NamedTuple):
    """What the new vocabulary takes from the old one."""

    rows: Tensor
    """Of the word embedding, (V new, H)."""
    shared: Tensor
    """The old id of each piece that both have, -1 of others, int64 (V new,)."""


def translate(table: Tensor, old: Tokenizer, new: Tokenizer) -> Translation:
    """Return a row for every piece of the new vocabulary; `table` (V old, H) is the old one's."""
    known: dict[str, int] = old.get_vocab()
    rows = torch.zeros(id_count(new), table.shape[1])
    shared = torch.full((id_count(new),), -1)
    for piece, index in new.get_vocab().items():
        rows[index] = table[_parts(piece, old, known)].mean(0)
        shared[index] = known.get(piece, -1)
    return Translation(rows, shared)


def translated_bias(
    bias: Tensor, translation: Translation, said: Tensor, frequencies: Callable[[], Tensor]
) -> Tensor:
    """Return the output bias (V new,) for the old one (V old,).

    `said` (H,) is what the head's transform gives on average where [MASK] is; `frequencies` counts
    log p(piece) (V new,), where it is needed.
    """
    known = translation.shared >= 0
    if known.all():
        return bias[translation.shared]
    found = torch.where(known, bias[translation.shared], 0)
    spoken = translation.rows @ said  # what the average logits are without a bias
    usual, logits = frequencies(), spoken + found
    centre, level = usual[known].mean(), logits[known].mean()
    x, y = usual[known] - centre, logits[known] - level
    slope = (x @ y) / (x @ x) if x.any() else torch.zeros(())
    return torch.where(known, found, level + slope * (usual - centre) - spoken)


def _parts(piece: str, old: Tokenizer, known: dict[str, int]) -> list[int]:
    """Return the old ids that spell a piece, [UNK] where none do."""
    prefix = CONTINUED if piece.startswith(CONTINUED) else ""
    rest = piece.removeprefix(CONTINUED)
    spellings = [rest]
    if old.normalizer is not None:
        spellings.append(old.normalizer.normalize_str(rest).strip())
    if not prefix:
        spellings.append(rest.capitalize())
    ways = [_split(prefix, spelling, known) for spelling in dict.fromkeys(spellings)]
    return min(filter(None, ways), key=len, default=[known["[UNK]"]])


def _split(prefix: str, rest: str, known: dict[str, int]) -> list[int]:
    """Split greedily into the longest pieces known, as WordPiece does; none where that fails."""
    parts = []
    while rest:
        fits = next((n for n in range(len(rest), 0, -1) if prefix + rest[:n] in known), 0)
        if not fits:
            return []
        parts.append(known[prefix + rest[:fits]])
        rest, prefix = rest[fits:], CONTINUED
    return parts
