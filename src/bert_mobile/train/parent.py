"""The checkpoint that a pre-training starts from, and learns from where its weights are rounded."""

from pathlib import Path

from bert_mobile.checkpoint import expected_shapes, read_weights
from bert_mobile.errors import InputError
from bert_mobile.examples import Corpus
from bert_mobile.files import held
from bert_mobile.model.config import BertConfig
from bert_mobile.model.heads import BertForPretraining
from bert_mobile.quantize.pack import FloatArray
from bert_mobile.tokenizer import load_tokenizer, same_tokenizer
from bert_mobile.train import state
from bert_mobile.train.calibration import calibration_pairs
from bert_mobile.train.devices import World
from bert_mobile.train.quantized import RoundedNetwork
from bert_mobile.train.recipe import Recipe
from bert_mobile.train.rounded import Rounding, refuse_quantized

_SAME = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip


def read_parent(recipe: Recipe, config: BertConfig) -> dict[str, FloatArray]:
    """Return the weights of `initialize_from`, float32 by Hugging Face name.

    Raises `InputError` where its shape is not `config` or its tokenizer not the corpus's,
    `ArtifactError` where it is damaged.
    """
    folder = _parent_of(recipe)
    _refuse_unfit(folder, recipe, config)
    return read_weights(folder, BertConfig.read(folder))


def begin_rounding(
    recipe: Recipe, config: BertConfig, corpus: Corpus, out: Path, world: World
) -> Rounding:
    """Let the first process choose the layout of the quantized model; the others wait for it.

    A run that has been saved keeps the layout it was begun with. Raises as `read_parent` does, and
    `InputError` where the parent is quantized, lacks a head or does not fit into the bytes, or the
    layout was chosen by another text.
    """
    text = Path(recipe.calibration) if recipe.calibration else None
    rounding = Rounding(_parent_of(recipe), out, recipe.max_bytes or 0, text)
    _refuse_unfit(rounding.parent, recipe, config)
    refuse_quantized(rounding.parent)
    absent = sorted(expected_shapes(config).keys() - rounding.exact.keys())
    if absent:
        raise InputError(
            f"{rounding.parent} lacks {absent[0]}, expected a pre-trained model with both heads",
            hint="pretrain it without --qat first",
        )
    if world.is_first and not (state.saved(out) and rounding.has_layout):
        longest = max(phase.sequence_length for phase in recipe.phases)
        with held(out / state.CHECKPOINTS):
            rounding.make_layout(text or calibration_pairs(corpus, longest))
    world.total([0.0])
    return rounding


def rounded_networks(
    rounding: Rounding, model: BertForPretraining
) -> tuple[RoundedNetwork, BertForPretraining]:
    """Return `model` as it answers with rounded weights, and the parent, which learns nothing."""
    parent = BertForPretraining(model.config)
    parent.from_huggingface(rounding.exact)
    return (
        RoundedNetwork(model, rounding.packed),
        parent.eval().requires_grad_(requires_grad=False),
    )


def _parent_of(recipe: Recipe) -> Path:
    if recipe.initialize_from is None:
        raise ValueError("the recipe starts from scratch")
    return Path(recipe.initialize_from)


def _refuse_unfit(folder: Path, recipe: Recipe, config: BertConfig) -> None:
    """Raise `InputError` where a parent has another shape or tokenizer than the run."""
    theirs = BertConfig.read(folder)
    for name in _SAME:
        if getattr(theirs, name) != getattr(config, name):
            raise InputError(
                f"{folder} has {name} {getattr(theirs, name)}, the recipe's {recipe.variant} has "
                f"{getattr(config, name)}",
                hint="choose the variant of the starting checkpoint",
            )
    if not same_tokenizer(load_tokenizer(folder), load_tokenizer(Path(recipe.corpus))):
        raise InputError(
            f"{folder} and {recipe.corpus} have different tokenizers",
            hint="bert-mobile corpus tokenize CORPUS --tokenizer DIR",
        )
