"""Encode categories of many values as two codes: a class of similarly frequent values, and a member of it."""

import math
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aepipe.encoding.base import Codec, EncodedColumn, Features
from aepipe.encoding.category import CategoryCodec, fit_category
from aepipe.layout import FIRST_VALUE, MANY_CODES, Category
from aepipe.tables.schema import Column


class TwoLevelCodes(Codec):
    """Encoder that splits the code of `whole` into `.class` and `.member`; both are reserved if the code is."""

    kind: Literal["two_level_codes"] = "two_level_codes"
    whole: CategoryCodec
    features: tuple[Category, ...] = Field(description="class and member")
    members: int = Field(ge=1, description="members per class; the last class may have fewer")

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.features

    @property
    def is_shared(self) -> bool:
        return self.whole.is_shared

    def encode(self, array: pa.Array) -> Features:
        found = self.whole.encode(array)
        (codes,) = found.codes
        levels = np.divmod(codes - FIRST_VALUE, self.members)
        of_levels = tuple(np.where(codes < FIRST_VALUE, codes, level + FIRST_VALUE) for level in levels)
        return Features(codes=of_levels, unseen=found.unseen, reasons=found.reasons)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode class and member; a member beyond its class becomes the last value, a reserved one the first."""
        codes, uniform = features.codes, features.uniform
        of_class, member = (np.maximum(level.astype(np.int64) - FIRST_VALUE, 0) for level in codes.T)
        last = max(len(self.whole.values) - 1, 0)
        values = np.minimum(of_class * self.members + np.minimum(member, self.members - 1), last)
        whole = np.where(codes[:, 0] < FIRST_VALUE, codes[:, 0], values + FIRST_VALUE)
        return self.whole.decode(EncodedColumn(codes=whole[:, None], uniform=uniform[:, :1]), kind)


def fit_category_codes(column: Column, index: int, values: pa.ChunkedArray) -> CategoryCodec | TwoLevelCodes:
    """Fit an encoder to training values: one code up to 1,024 values, two levels beyond."""
    whole = fit_category(column, index, values)
    if whole.category.size <= MANY_CODES:
        return whole
    members = math.isqrt(len(whole.values) - 1) + 1
    sizes = {"class": -(-len(whole.values) // members), "member": members}
    features = tuple(
        Category(name=f"{column.name}.{level}", column=index, size=FIRST_VALUE + size, absent=whole.category.absent)
        for level, size in sizes.items()
    )
    return TwoLevelCodes(name=column.name, whole=whole, features=features, members=members)
