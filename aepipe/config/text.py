"""Tokenisers of text columns."""

from typing import Literal, TypeAlias

TokenKind: TypeAlias = Literal["words", "characters", "bytes", "smiles", "bpe"]
