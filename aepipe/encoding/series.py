"""Encode windows of a time series: lists of numbers, or of steps of several channels, of varying length."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import EncodedColumn
from aepipe.encoding.nested_lists import is_lists, outermost
from aepipe.encoding.number import NumberCodec, fit_number, numeric
from aepipe.errors import OptionInvalid
from aepipe.frozen import FrozenModel
from aepipe.layout import Series
from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import innermost, sort_of
from aepipe.tables.schema import Column

_FINE, _EMPTY, _LONG, _CHANNELS, _MISSING, _INFINITE = range(6)
_ANY_LENGTH = 2**31


class Windows(NamedTuple):
    """Encoded windows: steps float32 (B, T, F), NaN if missing and past the end; length int32 (B,), at least 1.

    reasons: int16 (B,), 0 for valid rows, else 1 + index of the reason; invalid rows hold one typical step.
    """

    steps: np.ndarray
    length: np.ndarray
    reasons: np.ndarray


class _Steps(NamedTuple):
    """Concatenated steps of B rows, S in total."""

    values: pa.Array
    places: np.ndarray
    """int64 (S, F): index in `values` of each number of a step"""
    lost: np.ndarray
    """bool (S,): null steps, whose places are undefined"""
    lengths: np.ndarray
    """int64 (B,), 0 for invalid rows"""
    reasons: np.ndarray


class SeriesCodec(FrozenModel):
    """Encoder of windows, `steps[:, t, f] = float32(value - offset of channel f)`.

    A window with other channels or more steps is invalid.
    """

    name: str
    steps: int = Field(description="maximum steps of a window")
    shortest: int = Field(description="steps of the shortest window in training")
    longest: int = Field(description="steps of the longest window in training")
    channels: tuple[NumberCodec, ...] = Field(description="one per channel, the same for all steps")

    @property
    def series(self) -> Series:
        """Layout of a row."""
        numbers = tuple(channel.number for channel in self.channels)
        return Series(steps=self.steps, shortest=self.shortest, longest=self.longest, numbers=numbers)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Messages for the values of `Windows.reasons`."""
        return (
            f"{self.name} is missing, empty or without any value",
            f"{self.name} has more than {self.steps} steps, which the model takes",
            f"{self.name} has a step that is not {len(self.channels)} numbers",
            f"{self.name} has a missing value, and never had one in training",
            f"{self.name} has a value that is infinite, or too large for float32",
        )

    def encode(self, array: pa.Array) -> Windows:
        """Encode a column of any type that `arrow_types.carries` accepts for the source's type."""
        found = _read(array, len(self.channels), self.steps)
        steps = np.full((len(found.lengths), self.steps, len(self.channels)), np.nan, np.float32)
        rows, times = _rows_and_times(found.lengths)
        numbers = numeric(found.values, self.channels[0].unit)
        values, nulls, kept = values_of(numbers), nulls_of(numbers), ~found.lost
        with np.errstate(over="ignore", invalid="ignore"):
            for channel, codec in enumerate(self.channels):
                places = found.places[kept, channel]
                steps[rows[kept], times[kept], channel] = codec.differences(
                    values[places], None if nulls is None else nulls[places]
                )
        return self._validated(steps, found)

    def decode(self, steps: np.ndarray, length: np.ndarray, kind: pa.DataType) -> pa.Array:
        """Decode windows (B, T, F) of lengths (B,) to a column of plain type `kind`."""
        fixed = pt.is_fixed_size_list(kind)
        lengths = np.full(len(steps), kind.list_size) if fixed else np.clip(length, 1, self.steps).astype(np.int64)
        laid = steps[np.arange(self.steps) < lengths[:, None]].astype(np.float64)
        columns = [
            codec.decode(EncodedColumn(numbers=laid[:, channel : channel + 1]), innermost(kind))
            for channel, codec in enumerate(self.channels)
        ]
        content = columns[0]
        if sort_of(kind.value_type) == "list":
            step_by_step = np.arange(len(columns) * len(content)).reshape(len(columns), -1).T.ravel()
            content = pa.concat_arrays(columns).take(array_of(step_by_step, pa.int64()))
            content = _listed(content, np.full(len(laid), len(columns)), kind.value_type)
        return _listed(content, lengths, kind)

    def _validated(self, steps: np.ndarray, found: _Steps) -> Windows:
        """Set the reason of invalid rows and replace their values by finite ones."""
        reasons, infinite = found.reasons, np.isinf(steps)
        missing = np.isnan(steps) & (np.arange(self.steps) < found.lengths[:, None])[:, :, None]
        must = np.array([not codec.number.may_be_missing for codec in self.channels])
        for wrong, reason in (
            (infinite.any(axis=(1, 2)), _INFINITE),
            (~np.isfinite(steps).any(axis=(1, 2)), _EMPTY),
            ((missing & must).any(axis=(1, 2)), _MISSING),
        ):
            reasons[wrong & (reasons == _FINE)] = reason
        length = found.lengths.astype(np.int32)
        bad = reasons != _FINE
        if bad.any():
            steps[bad] = np.nan
            steps[bad, 0] = [statistics.typical(codec.number) for codec in self.channels]
            length[bad] = 1
        return Windows(steps, length, reasons)


def fit_series(column: Column, values: pa.ChunkedArray) -> SeriesCodec:
    """Fit an encoder to training windows of the source's plain type.

    The maximum number of steps is that of the job's shape, else of the longest window.

    Raises:
        OptionInvalid: no row is a window.
    """
    most, channels = column.shape or (_ANY_LENGTH, _channels(values))
    found = [_read(chunk, channels, most) for chunk in values.chunks]
    lengths = np.concatenate([chunk.lengths for chunk in found] or [np.zeros(0, np.int64)])
    lengths = lengths[lengths > 0]
    if not len(lengths):
        what = f"a window of {channels} channels" if column.shape is None else f"a window of shape {list(column.shape)}"
        raise OptionInvalid(f"no row of column '{column.name}' is {what}. Correct [columns], or widen [train].")
    shortest, longest = int(lengths.min()), int(lengths.max())
    codecs = []
    for at in range(channels):
        name = column.name if channels == 1 else f"{column.name}[{at}]"
        taken = [each.values.take(array_of(each.places[:, at], pa.int64(), each.lost)) for each in found]
        codecs.append(fit_number(column.model_copy(update={"name": name}), 0, pa.chunked_array(taken)))
    return SeriesCodec(
        name=column.name,
        steps=longest if column.shape is None else most,
        shortest=shortest,
        longest=longest,
        channels=tuple(codecs),
    )


def _channels(values: pa.ChunkedArray) -> int:
    """Return the numbers per step: that of the type, else of most steps."""
    inner = values.type.value_type
    if sort_of(inner) != "list":
        return 1
    if pt.is_fixed_size_list(inner):
        return int(inner.list_size)
    steps = [outermost(outermost(chunk).values) for chunk in values.chunks]
    sizes = [(each.ends - each.starts)[~each.nulls] for each in steps]
    found, counts = np.unique(np.concatenate([*sizes, np.zeros(0, np.int64)]), return_counts=True)
    return max(1, int(found[counts.argmax()])) if len(found) else 1


def _read(array: pa.Array, channels: int, most: int) -> _Steps:
    """Read the steps of the rows that are windows of at most `most` steps of `channels` channels."""
    windows = outermost(array)
    lengths = np.where(windows.nulls, 0, windows.ends - windows.starts)
    reasons = np.where(lengths == 0, _EMPTY, np.where(lengths > most, _LONG, _FINE)).astype(np.int16)
    lengths[reasons != _FINE] = 0
    at = _ranges(windows.starts, lengths)
    if not is_lists(windows.values):
        return _Steps(plain_values(windows.values), at[:, None], np.zeros(len(at), np.bool_), lengths, reasons)
    inner = outermost(windows.values)
    odd = (inner.ends - inner.starts != channels) & ~inner.nulls
    wrong = np.bincount(_rows_and_times(lengths)[0], odd[at], minlength=len(lengths)) > 0
    if wrong.any():
        reasons[wrong], lengths[wrong] = _CHANNELS, 0
        at = _ranges(windows.starts, lengths)
    places = inner.starts[at, None] + np.arange(channels)
    lost = inner.nulls[at]
    places[lost] = 0
    return _Steps(plain_values(inner.values), places, lost, lengths, reasons)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenate the ranges that begin at each start.

    >>> _ranges(np.array([5, 0]), np.array([2, 3]))
    array([5, 6, 0, 1, 2])
    """
    before = np.cumsum(lengths) - lengths
    found: np.ndarray = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
    return found


def _rows_and_times(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row and index in the window of each of the concatenated steps."""
    return np.repeat(np.arange(len(lengths)), lengths), _ranges(np.zeros(len(lengths), np.int64), lengths)


def _listed(values: pa.Array, lengths: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pt.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, len(lengths), [None], children=[values])
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets)], children=[values])
