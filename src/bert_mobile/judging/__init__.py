"""Labelled examples as arrays, and how good a network is on them. No torch.

`data` checks and encodes examples, `sequences` holds them, `judge` asks a network through the
`Session` protocol: one judge for training, for float checkpoints and for the quantized file.
"""
