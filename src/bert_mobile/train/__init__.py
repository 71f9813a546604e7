"""Training: one loop (`loop`), and what it is used for (`pretrain`). `grow` prepares a warm start.

Everything here needs the extra `[train]`.
"""
