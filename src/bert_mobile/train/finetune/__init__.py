"""Fine-tuning on anything: `finetune(settings, out)` from labelled examples to a working model.

    finetune(FinetuneSettings("classify", train="reviews.csv"), Path("runs/reviews"))

`settings` says what can be chosen, `objective` what is minimised, `run` is the purpose that the one
loop of all training (`train.loop`) is run for. How examples become arrays and how dev examples are
judged is in `bert_mobile.judging`, which needs no torch.
"""

from bert_mobile.train.finetune.command import FinetuneReport, finetune
from bert_mobile.train.finetune.prepared import Data
from bert_mobile.train.finetune.settings import FinetuneSettings

__all__ = ["Data", "FinetuneReport", "FinetuneSettings", "finetune"]
