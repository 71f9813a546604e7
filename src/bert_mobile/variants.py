"""The nine sizes of the family, as data.

The published card gives one number for each size, its float32 megabytes, and the layers, hidden
size and heads of one of them, `mobile`. The other shapes are ours: each is the roundest one whose
stored size falls within 3 % of the card's figure; `Variant.reason` says why, size by size.

The count is of the encoder without pooler and heads, which is what the card counts (36.6 M for
`mobile`), and the card's megabyte is 2**20 bytes: those 36.6 M are 139.8 MiB, its "~140 MB", and
146.6 million bytes.
"""

from dataclasses import dataclass

VOCABULARY_SIZE = 30_000
MAX_POSITION_EMBEDDINGS = 512
TYPE_VOCABULARY_SIZE = 2
BYTES_PER_FLOAT32 = 4
CARD_MEGABYTE = 2**20


@dataclass(frozen=True)
class Variant:
    """One size of the family."""

    name: str
    """What the size is called on the command line and in recipes."""
    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    """Width of the feed-forward network."""
    card_megabytes: int
    """Float32 size that the published card gives for this member of the family."""
    reason: str
    """Why this shape."""

    @property
    def parameters(self) -> int:
        """Exact number of parameters of the encoder: embeddings and layers, no pooler, no heads."""
        hidden, inner = self.hidden_size, self.intermediate_size
        layer_norm = 2 * hidden
        tables = VOCABULARY_SIZE + MAX_POSITION_EMBEDDINGS + TYPE_VOCABULARY_SIZE
        attention = 4 * (hidden * hidden + hidden) + layer_norm
        feed_forward = (hidden * inner + inner) + (inner * hidden + hidden) + layer_norm
        return tables * hidden + layer_norm + self.num_hidden_layers * (attention + feed_forward)

    @property
    def megabytes(self) -> float:
        """Size of those parameters in float32, in the card's megabytes of 2**20 bytes."""
        return self.parameters * BYTES_PER_FLOAT32 / CARD_MEGABYTE


_FAMILY = (
    Variant(
        "micro", 9, 96, 3, 384, 15,
        "at 128 the vocabulary alone would take 14.9 of the 15 MB: 96 leaves room for depth",
    ),
    Variant(
        "mini", 4, 128, 2, 384, 17,
        "the narrowest width with 64-wide heads; half of tinyplus's layers",
    ),
    Variant(
        "tinyplus", 8, 128, 2, 384, 20,
        "a quarter of mobile's width at mobile's depth and feed-forward ratio",
    ),
    Variant(
        "small", 6, 256, 4, 768, 45,
        "half of mobile's width; two layers fewer than mid",
    ),
    Variant(
        "mid", 8, 256, 4, 768, 50,
        "half of mobile's width at mobile's depth and feed-forward ratio",
    ),
    Variant(
        "mobile", 8, 512, 8, 1536, 140,
        "layers, width and heads are the card's; 30,000 words and a feed-forward of 1536 are the "
        "one round pair that gives its 36.6 M parameters",
    ),
    Variant(
        "medium", 10, 512, 8, 1536, 160,
        "mobile with two layers more",
    ),
    Variant(
        "large", 10, 768, 12, 3072, 365,
        "BERT-base's width and feed-forward; two layers fewer than pro",
    ),
    Variant(
        "pro", 12, 768, 12, 3072, 420,
        "BERT-base with 30,000 words",
    ),
)  # fmt: skip

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _FAMILY}
"""The family by name, smallest first."""
