"""The network: its shape, its parts in PyTorch, and the table of the names others give those parts.

Only `encoder` and `heads` need torch; `config` and `names` are read by the runtime, which has none.
"""
