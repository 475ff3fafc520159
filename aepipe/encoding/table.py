"""Encode all columns of a table into two tensors; invalid rows get a reason."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import FINE, INFINITE_VALUE, MISSING_VALUE, EncodedColumn, Features
from aepipe.encoding.binned.category import TwoLevelCodes
from aepipe.encoding.binned.datetime import DatetimeCodes
from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.binned.vector import VectorCodes
from aepipe.encoding.category import CategoryCodec
from aepipe.encoding.context import ContextCodec
from aepipe.encoding.datetime import ClockCodec, DatetimeCodec
from aepipe.encoding.items import ItemsCodec
from aepipe.encoding.number import NumberCodec
from aepipe.encoding.tags import TagsCodec
from aepipe.encoding.text import TextCodec
from aepipe.encoding.vector import VectorCodec
from aepipe.encoding.waveform import WaveformCodec
from aepipe.layout import FIRST_VALUE, MISSING
from aepipe.tables.arrow_types import plain

AnyCodec: TypeAlias = (
    NumberCodec
    | CategoryCodec
    | DatetimeCodec
    | ClockCodec
    | VectorCodec
    | WaveformCodec
    | TagsCodec
    | TextCodec
    | ItemsCodec
    | ContextCodec
    | NumberCodes
    | DatetimeCodes
    | VectorCodes
    | TwoLevelCodes
)
TableCodec = Annotated[AnyCodec, Field(discriminator="kind")]


class Tensors(NamedTuple):
    """Encoded rows: num float32 (B, N), cat int32 (B, C), reasons int16 (B,): 0, or 1 + index; counts by column."""

    num: np.ndarray
    cat: np.ndarray
    reasons: np.ndarray
    unseen: dict[str, int]
    cut: dict[str, int]


class _Place(NamedTuple):
    """Codec, and the index of its first features and reason."""

    codec: AnyCodec
    number: int
    category: int
    reason: int


class _Plan(NamedTuple):
    """Column indices of one Arrow schema: looking up a name costs more than encoding a column."""

    arrow: pa.Schema
    columns: tuple[int, ...]
    floats: tuple[int, ...] | None
    """Numeric columns, if Arrow can copy them into one tensor."""


class TableEncoder:
    """Encoder of a table: its codecs in column order; safe to share between threads."""

    def __init__(self, codecs: Sequence[AnyCodec]) -> None:
        numbers = _starts(len(codec.numbers) for codec in codecs)
        categories = _starts(len(codec.categories) for codec in codecs)
        reasons = _starts(len(codec.reasons) for codec in codecs)
        self.codecs = tuple(codecs)
        self.reasons = reasons[-1]
        self._places = tuple(map(_Place, codecs, numbers, categories, reasons))
        self._width, self._codes = numbers[-1], categories[-1]
        self._finite_check = _FiniteCheck(self._places)
        self._numeric = tuple(codec for codec in codecs if codec.numbers)
        self._offsets = np.array([getattr(codec, "offset", 0.0) for codec in self._numeric], np.float64)
        self._plan: _Plan | None = None

    def encode(self, batch: pa.RecordBatch) -> Tensors:
        """Encode a batch; columns are matched by name, invalid rows hold finite values."""
        plan = self._plan  # another thread may replace it
        if plan is None or not plan.arrow.equals(batch.schema):
            plan = self._plan = self._planned(batch.schema)
        reasons = np.zeros(batch.num_rows, np.int16)
        cat = np.empty((batch.num_rows, self._codes), np.int32)
        unseen: dict[str, int] = {}
        cut: dict[str, int] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            num = self._at_once(batch, plan)
            for place, column in zip(self._places, plan.columns, strict=True):
                if plan.floats is not None and place.codec.numbers:
                    continue
                features = place.codec.encode(batch.column(column))
                for at, values in enumerate(features.numbers, place.number):
                    num[:, at] = values
                for at, codes in enumerate(features.codes, place.category):
                    cat[:, at] = codes
                _set_codec_reasons(features, place, reasons, cat)
                if features.unseen:
                    unseen[place.codec.name] = features.unseen
                if features.cut:
                    cut[place.codec.name] = features.cut
        self._finite_check.replace_non_finite(num, reasons)
        return Tensors(num, cat, reasons, unseen, cut)

    def decode(
        self, num: np.ndarray, cat: np.ndarray, kinds: Sequence[pa.DataType], uniform: np.ndarray
    ) -> list[pa.Array]:
        """Decode num (B, N) and cat (B, C) to columns of plain types; uniform (B, C) on [0, 1) selects within bins."""
        columns = []
        for place, kind in zip(self._places, kinds, strict=True):
            codes = slice(place.category, place.category + len(place.codec.categories))
            numbers = num[:, place.number : place.number + len(place.codec.numbers)].astype(np.float64)
            features = EncodedColumn(numbers, cat[:, codes], uniform[:, codes])
            columns.append(place.codec.decode(features, plain(kind)))
        return columns

    def _planned(self, arrow: pa.Schema) -> _Plan:
        columns = tuple(arrow.get_field_index(place.codec.name) for place in self._places)
        numeric = tuple(arrow.get_field_index(codec.name) for codec in self._numeric)
        kinds = [arrow.field(column).type for column in numeric]
        simple = all(isinstance(codec, NumberCodec) for codec in self._numeric)
        floats = simple and bool(kinds) and all(pt.is_float32(kind) or pt.is_float64(kind) for kind in kinds)
        return _Plan(arrow, columns, numeric if floats else None)

    def _at_once(self, batch: pa.RecordBatch, plan: _Plan) -> np.ndarray:
        """Copy all numeric columns in one Arrow call, twice as fast as one by one; else allocate the tensor."""
        if plan.floats is None:
            return np.empty((batch.num_rows, self._width), np.float32)
        whole = plan.floats == tuple(range(batch.num_columns))
        table = batch if whole else batch.select(list(plan.floats))
        num = table.to_tensor(null_to_nan=True, row_major=True).to_numpy()
        if self._offsets.any():
            num = num - self._offsets
        return np.ascontiguousarray(num, np.float32)


class _FiniteCheck:
    """Check that numbers are finite where required; replaces others by the column's typical value."""

    def __init__(self, places: Sequence[_Place]) -> None:
        numbers = [(place, number) for place in places for number in place.codec.numbers]
        self._typical = np.array([statistics.typical(number) for _, number in numbers], np.float32)
        self._must = np.array([not number.may_be_missing for _, number in numbers], np.bool_)
        self._missing = [place.reason + MISSING_VALUE for place, _ in numbers]
        self._infinite = [place.reason + INFINITE_VALUE for place, _ in numbers]

    def replace_non_finite(self, num: np.ndarray, reasons: np.ndarray) -> None:
        """Set the reason of rows with invalid numbers and replace the numbers, both in place."""
        finite = np.isfinite(num)
        if finite.all():
            return
        missing = np.isnan(num)
        if not (finite | missing).all():
            for at in np.flatnonzero(~(finite | missing).all(axis=0)).tolist():
                self._replace(np.isinf(num[:, at]), at, self._infinite[at], num, reasons)
        if self._must.any():
            for at in np.flatnonzero(missing.any(axis=0) & self._must).tolist():
                self._replace(missing[:, at], at, self._missing[at], num, reasons)

    def _replace(self, rows: np.ndarray, at: int, reason: int, num: np.ndarray, reasons: np.ndarray) -> None:
        _set_reason(reasons, rows, reason)
        num[rows, at] = self._typical[at]


def _set_codec_reasons(features: Features, place: _Place, reasons: np.ndarray, cat: np.ndarray) -> None:
    if features.reasons is None:
        return
    for reason in np.unique(features.reasons[features.reasons != FINE]):
        _set_reason(reasons, features.reasons == reason, place.reason + int(reason))
    codes = cat[:, place.category : place.category + len(place.codec.categories)]
    codes[(features.reasons != FINE)[:, None] & (codes == MISSING)] = FIRST_VALUE


def _set_reason(reasons: np.ndarray, rows: np.ndarray, reason: int) -> None:
    """Set the reason of rows; a row keeps its first reason in column order."""
    reasons[rows & ((reasons == FINE) | (reasons > reason))] = reason


def _starts(counts: Iterable[int]) -> list[int]:
    """Return the start of each run and the end of the last."""
    return list(accumulate(counts, initial=0))
