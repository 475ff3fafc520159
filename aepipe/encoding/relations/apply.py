"""Make sampled rows hold the relations of the training rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.encoding.base import Codec
from aepipe.encoding.binned.datetime import DatetimeCodes
from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.encoding import Encoding
from aepipe.encoding.relations.numeric_view import column_of, numbers_of, view_of
from aepipe.encoding.relations.relation import LEAST_DERIVED, MapTable, Relation
from aepipe.tables.arrow_arrays import plain_values, restored
from aepipe.tables.arrow_types import plain

_DAY_US = 86_400_000_000
_UNIT_US = {None: 1.0, "s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Units of a duration in microseconds; numbers have none."""


class RelatedRows:
    """Applies relations to sampled rows, in their order; safe to share between threads."""

    def __init__(self, relations: Sequence[Relation], maps: Mapping[str, pa.Table], encoding: Encoding) -> None:
        """Prepare relations.

        Args:
            relations: Relations in the order in which they are applied: sources first.
            maps: Tables of the relations of kind map, by file.
            encoding: Encoding of the rows.
        """
        self.relations = tuple(relations)
        self._maps = {each.file: MapTable(maps[each.file]) for each in relations if each.file}
        self._codecs = {codec.name: codec for codec in encoding.codecs}

    def __bool__(self) -> bool:
        return bool(self.relations)

    def apply(self, rows: pa.RecordBatch, uniform: NDArray[np.float64]) -> tuple[pa.RecordBatch, NDArray[np.bool_]]:
        """Set the columns that follow from others.

        Args:
            rows: Sampled rows.
            uniform: (B, R) on [0, 1), one column per relation; decides which rows are set where not all are.

        Returns:
            The rows, and a mask of those that are possible: a combination that no training row has cannot be derived,
            and a number or time that follows from others lies where the column itself can be drawn.
        """
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        possible = np.ones(rows.num_rows, np.bool_)
        for at, relation in enumerate(self.relations):
            if {relation.target, *relation.sources} <= set(columns):
                columns[relation.target] = self._set(relation, columns, uniform[:, at], possible)
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=rows.schema), possible

    def shares(self, rows: pa.Table) -> list[float]:
        """Return the share of rows in which each relation holds, where its columns are known; NaN without such rows."""
        wanted = {name for relation in self.relations for name in (relation.target, *relation.sources)}
        columns = {name: rows[name].combine_chunks() for name in wanted & set(rows.column_names)}
        found = []
        for relation in self.relations:
            if not {relation.target, *relation.sources} <= set(columns):
                found.append(float("nan"))
                continue
            holds = self._holds(relation, columns)
            found.append(float(holds.mean()) if len(holds) else float("nan"))
        return found

    def _holds(self, relation: Relation, columns: Mapping[str, pa.Array]) -> NDArray[np.bool_]:
        """Tell for each row whether a relation holds; rows where a column is missing are left out of numeric ones."""
        target, sources = columns[relation.target], [columns[name] for name in relation.sources]
        if relation.kind in ("null together", "null if null"):
            leader, own = is_missing(sources[0]), is_missing(target)
            return leader == own if relation.kind == "null together" else own | ~leader
        if relation.kind == "map":
            table = self._maps[relation.file]
            places = table.find(sources)
            wanted = table.target.take(pa.array(np.maximum(places, 0)))
            values = plain_values(target)
            same = pc.fill_null(pc.equal(values, wanted.cast(values.type)), False).to_numpy(zero_copy_only=False)
            held: NDArray[np.bool_] = (same | (is_missing(values) & is_missing(wanted))) & (places >= 0)
            return held
        if relation.kind == "equal" and view_of(target.type) is None:
            same = pc.equal(plain_values(target), plain_values(sources[0]))
            return np.asarray(same.drop_null().to_numpy(zero_copy_only=False))
        values = numbers_of(target)
        if relation.kind == "clock":
            return values[~np.isnan(values)] % 100 < 60
        computed = relation.compute({name: numbers_of(columns[name]) for name in relation.sources})
        known = ~np.isnan(computed) & ~np.isnan(values)
        slack = 1.01 * relation.step + 1e-9 * np.abs(computed[known])
        near: NDArray[np.bool_] = np.abs(computed[known] - values[known]) <= slack
        return near

    def _set(
        self,
        relation: Relation,
        columns: Mapping[str, pa.Array],
        uniform: NDArray[np.float64],
        possible: NDArray[np.bool_],
    ) -> pa.Array:
        """Return the column of the target; clear the rows of `possible` that it makes impossible."""
        target = columns[relation.target]
        values = plain_values(target)
        match relation.kind:
            case "null together" | "null if null":
                leader, own = is_missing(columns[relation.sources[0]]), is_missing(target)
                if relation.kind == "null together":
                    possible &= leader | ~own
                new = pc.if_else(pa.array(leader), pa.scalar(None, values.type), values)
            case "clock":
                new = column_of(repaired_clock(numbers_of(values)), values.type)
            case "map":
                table = self._maps[relation.file]
                found = table.find([columns[name] for name in relation.sources])
                chosen = (found >= 0) & (uniform < relation.rate)
                if relation.is_exact:
                    possible &= found >= 0
                derived = table.target.take(pa.array(np.maximum(found, 0))).cast(values.type)
                new = pc.if_else(pa.array(chosen), derived, values)
            case "equal" if view_of(values.type) is None:
                new = plain_values(columns[relation.sources[0]]).cast(values.type)
            case _:
                new = self._computed(relation, columns, values, uniform, possible)
        return target if new.equals(values) else restored(new, target.type)

    def _computed(
        self,
        relation: Relation,
        columns: Mapping[str, pa.Array],
        values: pa.Array,
        uniform: NDArray[np.float64],
        possible: NDArray[np.bool_],
    ) -> pa.Array:
        computed = relation.compute({name: numbers_of(columns[name]) for name in relation.sources})
        chosen = ~np.isnan(computed) & ~is_missing(values) & (uniform < relation.rate)
        derived = column_of(computed, plain(values.type))
        codec = self._codecs.get(relation.target)
        low, high = ends_of_draws(codec)
        slack = relation.step + 1e-9 * np.abs(computed)
        is_beyond = (computed < low - slack) | (computed > high + slack)
        if relation.is_exact:
            possible &= ~(chosen & is_beyond)
        else:
            chosen &= ~is_beyond
        if relation.share < LEAST_DERIVED:
            if not isinstance(codec, NumberCodes):
                return values
            chosen &= codec.encode(derived).codes[0] == codec.encode(values).codes[0]
        return pc.if_else(pa.array(chosen), derived, values)


def ends_of_draws(codec: Codec | None) -> tuple[float, float]:
    """Return the least and the greatest value that a column can be drawn with by itself, as `numbers_of` has them."""
    if isinstance(codec, DatetimeCodes):
        ticks = (codec.least, codec.greatest, *codec.moments)
        return min(ticks) * _DAY_US / codec.day, max(ticks) * _DAY_US / codec.day
    if isinstance(codec, NumberCodes) and codec.bins.known:
        unit = _UNIT_US[codec.unit]
        return float(min(codec.bins.known)) * unit, float(max(codec.bins.known)) * unit
    return -np.inf, np.inf


def is_missing(column: pa.Array) -> NDArray[np.bool_]:
    """Return the mask of nulls and NaN, (B,)."""
    return np.asarray(pc.is_null(plain_values(column), nan_is_null=True).to_numpy(zero_copy_only=False))


def repaired_clock(clocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move minutes from 60 on to 20 to 59 of the same hour: draws inside a bin do not know the clock.

    >>> repaired_clock(np.array([1345.0, 1375.0, np.nan])).tolist()
    [1345.0, 1335.0, nan]
    """
    return np.where(clocks % 100 >= 60, clocks - 40, clocks)
