"""Training: one loop (`loop`) and its purposes, `pretrain` and `finetune`; `grow` before either.

Everything here needs the extra `[train]`; importing the package without it says so.
"""

from importlib.util import find_spec

from bert_mobile.errors import MissingExtraError

for _module in ("torch", "safetensors"):
    if find_spec(_module) is None:
        raise MissingExtraError(_module, "train")
