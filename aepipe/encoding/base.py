"""Base class of column encoders: fitted data, encode and decode."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from aepipe.frozen import FrozenModel
from aepipe.layout import Category, Number

FINE, MISSING_VALUE, INFINITE_VALUE, OTHER = 0, 1, 2, 3
"""Reason why a value cannot be encoded; OTHER and above are defined by the codec."""


class Features(NamedTuple):
    """Encoded column: its features and the rows that are invalid."""

    numbers: tuple[np.ndarray, ...] = ()
    """(B,) each, of any numeric dtype; NaN is missing."""
    codes: tuple[np.ndarray, ...] = ()
    """int32 (B,) each."""
    unseen: int = 0
    cut: int = 0
    """Number of texts or lists that are longer than the codec reads."""
    reasons: np.ndarray | None = None
    """int8 (B,): FINE or the reason a row is invalid; None if all are valid. Non-finite `numbers` need no entry."""


def _no_features(dtype: str) -> np.ndarray:
    return np.zeros((0, 0), dtype)


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """Features of a column to decode; a codec reads only the arrays that it has features for."""

    numbers: np.ndarray = field(default_factory=lambda: _no_features("float64"))
    """float64 (B, n), the numeric features; NaN is missing."""
    codes: np.ndarray = field(default_factory=lambda: _no_features("int32"))
    """int32 (B, c), the categorical features."""
    uniform: np.ndarray = field(default_factory=lambda: _no_features("float64"))
    """float64 (B, c) on [0, 1): selects a value where a code stands for several."""


class Codec(FrozenModel, ABC):
    """Encoder of one column. Subclasses are final and frozen; `kind` discriminates them in JSON."""

    name: str

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Numeric features, in the order of `Features.numbers`."""
        return ()

    @property
    def categories(self) -> tuple[Category, ...]:
        """Categorical features, in the order of `Features.codes`."""
        return ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names that attributions use; features index them."""
        return (self.name,)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Messages for MISSING_VALUE, INFINITE_VALUE, OTHER and above, in this order."""
        name = self.name
        return (
            f"{name} is missing, and never was in training",
            f"{name} is infinite, or too large for float32",
        )

    @property
    def is_shared(self) -> bool:
        """A code may stand for several values; decoding selects one by `uniform`."""
        return False

    @property
    def code_orders(self) -> tuple[tuple[int, ...] | None, ...]:
        """Codes of each category in the order of their values; None: its values have no order."""
        return (None,) * len(self.categories)

    def with_values(self, values: pa.ChunkedArray) -> Self:
        """Return an encoder with the same codes that decodes them to values of these rows where a code has several.

        Args:
            values: of the training rows and of others, in the source's plain type (float64 for decimals).
        """
        return self

    def widened(self) -> Self:
        """Return an encoder that gives a value beyond the training values the code that decodes to it, if there is one.

        For counting how often a code is to be drawn: scores need `encode`, to which such values may be unseen.
        """
        return self

    @abstractmethod
    def encode(self, array: pa.Array) -> Features:
        """Encode a column of any type that `arrow_types.carries` accepts for the source's type."""

    @abstractmethod
    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode features to a column (B,) of the plain type `kind`."""
