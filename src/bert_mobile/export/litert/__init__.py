"""BERT as a file of LiteRT's (TensorFlow Lite): `litert/model.tflite`.

The graph is built from our weights operator by operator, so nothing is traced or rounded anew, and
PyTorch, JAX and their converters are not needed. A client asks by signature:

    tokens_16 … tokens_512    input_ids, attention_mask, token_type_ids int32 (1, T) → all outputs
                              of `quantize.graph` but the logits of masked tokens
    vocabulary                last_hidden_state rows (M, H) → logits (M, V) of masked tokens

A text is padded to the next T; longer buckets share all weights with shorter ones. M may be
enlarged by resizing that input. Weights as LiteRT's kernels read them, activations rounded to 8
bits as they come:

    4 bits and 2 bits   INT4 in blocks of 32, 64 or 128 with a float16 scale each, c = q − 8 (q − 2)
    zero points         are not known to LiteRT: what they shift a product by is s · (8 − z) times
                        the sum of the block's activations, which is added by two small products
    8 bits              INT8 with one scale a row: blocks are rounded a second time

Dimensions: T tokens, M chosen rows, H hidden, F feed-forward, R rows, C columns, N blocks or heads,
D head width, V vocabulary, L labels.
"""

from bert_mobile.export.litert.network import PLACE, write

__all__ = ["PLACE", "write"]
