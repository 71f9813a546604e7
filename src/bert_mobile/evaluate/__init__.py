"""Judgement: what a model is worth, measured on the very file that is shipped."""
