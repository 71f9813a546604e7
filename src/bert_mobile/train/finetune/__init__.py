"""Fine-tuning on anything: `finetune(settings, out)` from labelled examples to a working model.

    finetune(FinetuneSettings("classify", train="reviews.csv"), Path("runs/reviews"))

`settings` says what can be chosen, `data` how examples become arrays, `sequences` in which order
they are read, `objective` what is minimised, `judge` how dev examples are judged, `run` is the
purpose that the one loop of all training (`train.loop`) is run for.
"""

from bert_mobile.train.finetune.command import FinetuneReport, finetune
from bert_mobile.train.finetune.prepared import Data
from bert_mobile.train.finetune.settings import FinetuneSettings

__all__ = ["Data", "FinetuneReport", "FinetuneSettings", "finetune"]
