"""What a model file of ours takes and gives: the names that its writer and its readers share.

See `graph` for shapes. Kept apart from it because the readers do without the package `onnx`.
"""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
POSITIONS = "logit_positions"
"""Optional input: the positions at which alone logits are wanted, as indices b·T + t."""

LOGITS = "logits"
START_LOGITS, END_LOGITS = "start_logits", "end_logits"
HIDDEN = "last_hidden_state"
NEXT_SENTENCE = "seq_relationship_logits"

WORDS = "bert.embeddings.word_embeddings.weight"
"""The word embedding, which is also the output projection of masked tokens."""

WORDS_BIAS = "cls.predictions.bias"
"""The bias of that projection, there where a network has a head for masked tokens."""

QUANTIZED = "onnx/model_quantized.onnx"
"""Where in a folder the packed model lies, by the convention of transformers.js."""
FLOAT = "onnx/model.onnx"
"""Where a float32 ONNX model lies, by the same convention."""

HEAD_ROWS = "cls.predictions.rows"
"""In OpenVINO's files: the operator whose result, (B, T, H), the masked-token head reads."""

BUCKET = "tokens_"
"""In LiteRT's files: the signatures of encoders begin so, their length in tokens behind it."""
VOCABULARY = "vocabulary"
"""In LiteRT's and ExecuTorch's files: what scores words for hidden states."""
MOST_ROWS = 64
"""Of those, at a time: it bounds the memory."""
FORWARD, OUTPUT_NAMES = "forward", "output_names"
"""In ExecuTorch's files: what encodes a text, and what its outputs are called."""
