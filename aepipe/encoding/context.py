"""Encode the hour, weekday and month of the event time, on which a model is conditional. They are not decoded."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from aepipe.config.data import ContextPart
from aepipe.encoding.base import Codec, EncodedColumn, Features
from aepipe.encoding.datetime import MONDAY, days_and_seconds, shift_of
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN, Category
from aepipe.tables.arrow_arrays import nulls_of, plain_values
from aepipe.tables.schema import Column

Part = ContextPart | Literal["week_hour"]

SIZES: dict[Part, int] = {"hour": 24, "weekday": 7, "month": 12, "week_hour": 168}
"""Number of values of each part. With hour and weekday there is the hour of the week too, as a Sunday is not a Monday
with fewer rows."""

FEWEST_ROWS = 10
"""Training rows below which a value of a part counts as unknown."""

_HOUR_S = 3_600


class ContextCodec(Codec):
    """Encoder of parts of a time, as codes. Values that training rows hardly had are UNSEEN, and say nothing.

    Hours and weekdays use the zone's offset at the median training row, as `DatetimeCodec` does.
    """

    kind: Literal["context"] = "context"
    parts: tuple[Part, ...]
    index: int = Field(ge=0, description="index among the conditions")
    known: tuple[tuple[int, ...], ...] = Field(description="values of each part that training rows had, ascending")
    shift_s: int = Field(0, description="seconds added to UTC")

    @property
    def categories(self) -> tuple[Category, ...]:
        return tuple(
            Category(
                name=f"{self.name}.{part}",
                column=self.index,
                size=FIRST_VALUE + SIZES[part],
                absent=(MISSING, UNSEEN, RARE, *(FIRST_VALUE + each for each in range(SIZES[part]) if each not in has)),
            )
            for part, has in zip(self.parts, self.known, strict=True)
        )

    def encode(self, array: pa.Array) -> Features:
        array = plain_values(array)
        nulls, found = nulls_of(array), _values(array, self.parts, self.shift_s)
        codes = []
        for part, has, values in zip(self.parts, self.known, found, strict=True):
            code_of = np.full(SIZES[part], UNSEEN, np.int32)
            code_of[list(has)] = np.asarray(has, np.int32) + FIRST_VALUE
            codes.append(code_of[values] if nulls is None else np.where(nulls, np.int32(MISSING), code_of[values]))
        return Features(codes=tuple(codes), unseen=int(np.any([each == UNSEEN for each in codes], axis=0).sum()))

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Return nulls: the parts of a time are not the time."""
        return pa.nulls(len(features.codes), kind)


def fit_context(column: Column, index: int, values: pa.ChunkedArray) -> ContextCodec:
    """Fit an encoder of the parts that `column.context` names to training times of the source's plain type."""
    known = pa.chunked_array([chunk.drop_null() for chunk in values.chunks], values.type).combine_chunks()
    asked: tuple[Part, ...] = column.context
    parts = (*asked, "week_hour") if {"hour", "weekday"} <= set(asked) else asked
    shift_s = shift_of(known)
    counts = [
        np.bincount(found, minlength=SIZES[part])
        for part, found in zip(parts, _values(known, parts, shift_s), strict=True)
    ]
    has = tuple(tuple(np.flatnonzero(count >= FEWEST_ROWS).tolist()) for count in counts)
    return ContextCodec(name=column.name, index=index, parts=parts, known=has, shift_s=shift_s)


def _values(array: pa.Array, parts: Sequence[Part], shift_s: int) -> list[np.ndarray]:
    """Return the parts of each time, int64 (B,) each, from 0; any value where the time is missing."""
    days, seconds = days_and_seconds(array, shift_s)
    hours, weekdays = seconds.astype(np.int64) // _HOUR_S, (days + MONDAY) % 7
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    by_part = {"hour": hours, "weekday": weekdays, "month": months, "week_hour": 24 * weekdays + hours}
    return [by_part[part] for part in parts]
