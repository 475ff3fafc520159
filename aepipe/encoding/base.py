"""What every encoder of a column is: data that training left behind, a way there and a way back."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.frozen import FrozenModel
from aepipe.layout import Category, Number

FINE, MISSING_VALUE, INFINITE_VALUE, OTHER = 0, 1, 2, 3
"""Why a value cannot be encoded; OTHER and above are a codec's own reasons."""


class Features(NamedTuple):
    """A column's part of the row tensors."""

    numbers: tuple[np.ndarray, ...] = ()
    """(B,) each, of any numeric dtype; NaN is missing."""
    codes: tuple[np.ndarray, ...] = ()
    """int32 (B,) each."""
    unseen: int = 0
    reasons: np.ndarray | None = None
    """int8 (B,): FINE or why the row is invalid; None: all are fine. What is not finite in `numbers` needs no entry."""


class Codec(FrozenModel, ABC):
    """One column's encoder. Subclasses are final and frozen; `kind` tells them apart in JSON."""

    name: str

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Its numeric features, in the order of `Features.numbers`."""
        return ()

    @property
    def categories(self) -> tuple[Category, ...]:
        """Its categorical features, in the order of `Features.codes`."""
        return ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for MISSING_VALUE, INFINITE_VALUE, OTHER ..., in this order."""
        name = self.name
        return (
            f"{name} is missing, and never was in training",
            f"{name} is infinite, or too large for float32",
        )

    @property
    def is_shared(self) -> bool:
        """Whether a code may stand for several values, of which decoding takes one by `uniform`."""
        return False

    @abstractmethod
    def encode(self, array: pa.Array) -> Features:
        """The features of a column of any type that `arrow_types.carries` accepts for the source's."""

    @abstractmethod
    def decode(self, numbers: np.ndarray, codes: np.ndarray, kind: pa.DataType, uniform: np.ndarray) -> pa.Array:
        """The column again, in its plain type `kind`: numbers (B, n) float64, codes (B, c) int32.

        uniform: (B, c) on [0, 1), where in its bin a value lies whose code stands for many.
        """
