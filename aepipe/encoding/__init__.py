"""Arrow rows to tensors and back: the host half of the encoding. Nothing here knows torch or pandas."""

from aepipe.encoding.encoding import Arrays, Encoded, Encoding, fit

__all__ = ["Arrays", "Encoded", "Encoding", "fit"]
