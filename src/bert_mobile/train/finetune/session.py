"""A network in PyTorch, asked as any other session is (`runtime.sessions`)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bert_mobile.errors import ArtifactError
from bert_mobile.model.config import ANSWERS
from bert_mobile.model.heads import BertForTask
from bert_mobile.quantize.interface import END_LOGITS, LOGITS, START_LOGITS
from bert_mobile.runtime.batches import Batch, IntArray
from bert_mobile.train.devices import autocast
from bert_mobile.train.quantized import RoundedNetwork

FloatArray = NDArray[np.float32]


class TorchSession:
    """Answers with the network's weights as they are at the moment."""

    def __init__(
        self,
        model: BertForTask | RoundedNetwork,
        precision: str = "fp32",
        *,
        scale: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """`scale`, mean and standard deviation, turns standardised numbers into plain ones."""
        self._model, self._precision, self._scale = model, precision, scale
        answers = model.config.architecture == ANSWERS
        self.outputs = frozenset({START_LOGITS, END_LOGITS} if answers else {LOGITS})

    def run(self, output: str, batch: Batch, positions: IntArray | None = None) -> FloatArray:
        """Return one output for a batch, float32; see `runtime.sessions.Session`."""
        [value] = self.run_several([output], batch)
        return value if positions is None else value.reshape(-1, value.shape[-1])[positions]

    def run_several(self, outputs: Sequence[str], batch: Batch) -> list[FloatArray]:
        """Return several outputs for a batch, of one pass through the network."""
        for output in outputs:
            if output not in self.outputs:
                raise ArtifactError(
                    f"the network has no output {output!r}, only {', '.join(sorted(self.outputs))}",
                    hint="use a model that was trained for this question",
                )
        value = self._computed(batch)
        sides = {LOGITS: value, START_LOGITS: value[..., 0], END_LOGITS: value[..., -1]}
        return [sides[output] for output in outputs]

    @torch.inference_mode()
    def _computed(self, batch: Batch) -> FloatArray:
        device = next(self._model.parameters()).device
        ids, mask, types = (
            torch.from_numpy(part).to(device) for part in (batch.ids, batch.mask, batch.types)
        )
        self._model.eval()
        with autocast(self._precision, device):
            logits = self._model(ids, None if batch.mask.all() else mask, types)
        mean, deviation = self._scale
        value: FloatArray = (logits.float() * deviation + mean).cpu().numpy()
        return value
