"""BERT as a file of LiteRT's (TensorFlow Lite): `litert/model.tflite`.

The graph is built from our weights operator by operator, so nothing is traced or rounded anew, and
PyTorch, JAX and their converters are not needed. A client asks by signature:

    tokens_16 … tokens_512    input_ids, attention_mask, token_type_ids int32 (1, T) → all outputs
                              of `quantize.graph` but the logits of masked tokens
    vocabulary                last_hidden_state rows (M, H) → logits (M, V) of masked tokens

A text is padded to the next T; longer buckets share all weights with shorter ones. M may be
enlarged by resizing that input. Weights are held as `export.symmetric` says; activations are
rounded to 8 bits as they come.

Dimensions: T tokens, M chosen rows, H hidden, F feed-forward, R rows, C columns, N blocks or heads,
D head width, V vocabulary, L labels.
"""

from bert_mobile.export.litert.network import PLACE, write

__all__ = ["PLACE", "write"]
