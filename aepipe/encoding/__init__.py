"""Encode Arrow rows as tensors and decode them. Does not import torch or pandas."""

from aepipe.encoding.encoding import Arrays, Encoded, Encoding, fit

__all__ = ["Arrays", "Encoded", "Encoding", "fit"]
