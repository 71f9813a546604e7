"""BERT as one plain module, which the converters that trace PyTorch understand.

The encoder and heads are those of `bert_mobile.model`; what differs is what converters stumble
over. The mask is added to the scores as float32 (a mask of booleans becomes an indexing that they
refuse), all outputs are computed in one pass at all positions, and the vocabulary product is a
`Linear` that shares the word embedding, so that a quantizer finds it by its kind.

Dimensions: B batch, T tokens, H hidden, V vocabulary, L labels.
"""

from torch import Tensor, nn, tanh
from torch.nn import functional

from bert_mobile.export.source import Source
from bert_mobile.model.config import ANSWERS, PRETRAINING, SEQUENCES
from bert_mobile.model.heads import BertForPretraining, BertForTask
from bert_mobile.quantize.interface import END_LOGITS, HIDDEN, LOGITS, NEXT_SENTENCE, START_LOGITS

_HIDDEN_SCORE = -1e4
"""Added to the scores of padding: its share after softmax is 0, and float16 still holds it."""


class PlainBert(nn.Module):
    """Encoder and head of a source, for inference."""

    def __init__(self, source: Source) -> None:
        """Build the network of `source.config` and load `source.weights` into it."""
        super().__init__()
        self.network = _network(source)
        self.outputs = output_names(source)
        """Names of the tensors that `forward` returns, in its order."""
        if isinstance(self.network, BertForPretraining):
            self.vocabulary = nn.Linear(source.config.hidden_size, source.config.vocab_size)
            self.vocabulary.weight = self.network.encoder.embeddings.words.weight
            self.vocabulary.bias = self.network.masked_tokens.bias
        self.eval().requires_grad_(requires_grad=False)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, ...]:
        """Read whole numbers (B, T): ids, mask (0 on padding), segments.

        Returns the tensors that `outputs` names, with the shapes of `quantize.graph`.
        """
        padding = 1.0 - attention_mask[:, None, None, :].float()  # B 1 1 T
        encoder = self.network.encoder
        hidden = encoder.embeddings(input_ids, token_type_ids)  # B T H
        for layer in encoder.layers:
            hidden = layer(hidden, padding * _HIDDEN_SCORE)
        if isinstance(self.network, BertForPretraining):
            return self._pretraining(self.network, hidden)
        if self.network.config.architecture == SEQUENCES:
            return self.network.head(tanh(self.network.pooler(hidden[:, 0]))), hidden
        logits = self.network.head(hidden)  # B T L
        if self.network.config.architecture == ANSWERS:
            return logits[..., 0], logits[..., 1], hidden
        return logits, hidden

    def _pretraining(self, network: BertForPretraining, hidden: Tensor) -> tuple[Tensor, ...]:
        """Return what `outputs` names of hidden states (B, T, H)."""
        found = {HIDDEN: hidden}
        if LOGITS in self.outputs:
            head = network.masked_tokens
            found[LOGITS] = self.vocabulary(head.norm(functional.gelu(head.dense(hidden))))  # B T V
        if NEXT_SENTENCE in self.outputs:
            pooled = tanh(network.pooler(hidden[:, 0]))  # B H
            found[NEXT_SENTENCE] = network.next_sentence(pooled)  # B 2
        return tuple(found[name] for name in self.outputs)


def _network(source: Source) -> BertForPretraining | BertForTask:
    """Return the network of a source with its weights in it."""
    network: BertForPretraining | BertForTask
    if source.config.architecture == PRETRAINING:
        network = BertForPretraining(source.config)
    else:
        network = BertForTask(source.config)
    network.from_huggingface(source.weights)
    return network


def output_names(source: Source) -> tuple[str, ...]:
    """Return the outputs that a source has, in the order in which `PlainBert` gives them."""
    if source.config.architecture == ANSWERS:
        return START_LOGITS, END_LOGITS, HIDDEN
    if source.config.architecture != PRETRAINING:
        return LOGITS, HIDDEN
    logits = (LOGITS,) if "cls.predictions.bias" in source.weights else ()
    sentences = {"bert.pooler.dense.bias", "cls.seq_relationship.bias"} <= source.weights.keys()
    return (*logits, HIDDEN, *((NEXT_SENTENCE,) if sentences else ()))
