"""The shape of a BERT, as `config.json` states it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bert_mobile.errors import ArtifactError
from bert_mobile.files import read_json
from bert_mobile.variants import (
    MAX_POSITION_EMBEDDINGS,
    TYPE_VOCABULARY_SIZE,
    VARIANTS,
    VOCABULARY_SIZE,
)

# What a config.json may say of features that we do not have; anything else is another network.
_REQUIRED = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
}


@dataclass(frozen=True)
class BertConfig:
    """A post-LayerNorm BERT with exact GELU and learned absolute positions (Devlin et al. 2018)."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int = VOCABULARY_SIZE
    max_position_embeddings: int = MAX_POSITION_EMBEDDINGS
    type_vocab_size: int = TYPE_VOCABULARY_SIZE
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes that no network can have."""
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "pad_token_id" else 1
            if field.type is int and (type(value) is not int or not least <= value < 2**31):
                raise ArtifactError(
                    f"{field.name} is {value!r}, expected a whole number of at least {least}",
                    hint="correct config.json or the recipe's shape",
                )
            if field.type is float and (type(value) not in (int, float) or not 0 <= value <= 1):
                raise ArtifactError(
                    f"{field.name} is {value!r}, expected a number between 0 and 1",
                    hint="correct config.json or the recipe's dropout",
                )
        if self.hidden_size % self.num_attention_heads:
            raise ArtifactError(
                f"hidden_size {self.hidden_size} is no multiple of "
                f"num_attention_heads {self.num_attention_heads}",
                hint="correct config.json or the recipe's shape",
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def of_variant(cls, name: str, **changes: Any) -> "BertConfig":
        """Return the shape of one of the nine sizes; `changes` are fields that differ from it."""
        if name not in VARIANTS:
            raise ArtifactError(
                f"there is no size called {name!r}, expected one of {', '.join(VARIANTS)}",
                hint="bert-mobile models",
            )
        variant = VARIANTS[name]
        shape = {
            "num_hidden_layers": variant.num_hidden_layers,
            "hidden_size": variant.hidden_size,
            "num_attention_heads": variant.num_attention_heads,
            "intermediate_size": variant.intermediate_size,
        }
        return cls(**{**shape, **changes})

    @classmethod
    def read(cls, folder: Path) -> "BertConfig":
        """Read `folder/config.json`, ours or one written by transformers.

        Raises `ArtifactError` where it is missing, damaged or describes a network that is not a
        plain BERT; fields that change no output (such as `torch_dtype`) are passed over.
        """
        path = folder / "config.json"
        raw = read_json(path, "the config.json of a BERT checkpoint")
        for key, accepted in _REQUIRED.items():
            if raw.get(key, accepted[-1]) not in accepted:
                raise ArtifactError(
                    f"{path} says {key} is {raw[key]!r}, expected {accepted[0]!r}",
                    hint="only plain BERT checkpoints can be read",
                )
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in raw.items() if key in known})
        except TypeError as error:
            missing = str(error).split("argument", 1)[-1].lstrip("s: ")
            raise ArtifactError(
                f"{path} lacks {missing}, expected the shape of a BERT",
                hint="the file is damaged or another kind of model's",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the object for `config.json`, as transformers and transformers.js read it."""
        shape = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            "architectures": ["BertForPreTraining"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "position_embedding_type": "absolute",
            "initializer_range": 0.02,
            **shape,
        }
