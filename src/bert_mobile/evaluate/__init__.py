"""Judgement: what a model is worth, measured on the very file that is shipped.

`lm` asks for masked words of held-out text, `task` what a model was fine-tuned for, `glue`
fine-tunes for every task first; `benchmark`, `finetune_speed` and `corpus_speed` measure speed
beside others, `emissions` adds up what the making of a model has emitted.
"""
