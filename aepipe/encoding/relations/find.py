"""Find relations between the columns of training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, permutations
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding.binned.number import NumberCodes
from aepipe.encoding.encoding import Encoding
from aepipe.encoding.relations.apply import is_missing
from aepipe.encoding.relations.numeric_view import (
    NumericColumn,
    is_clock,
    numbers_of,
    step_of,
    to_minutes,
    view_of,
)
from aepipe.encoding.relations.relation import EXACT, LEAST_DERIVED, Relation
from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import plain, sort_of

MOST_ROWS = 100_000
"""Maximum number of training rows that are read."""
LEAST_ROWS = 50
"""Minimum number of rows that a relation has to hold in, beyond those where it holds by itself."""
MOST_NUMBERS, MOST_CATEGORIES = 64, 20
_MOST = float(np.finfo(np.float32).max)
"""Maximum number of columns that are compared in threes."""
MOST_KEYS = 50_000
"""Maximum number of combinations that a map has."""
LEAST_SHARE = 0.02
"""Minimum share of rows of a relation that holds now and then."""
_GLANCE = 256
"""Rows that most candidates fail on."""
_LEAST_DISTINCT = 3
_MOST_ERRORS = 0.1
"""Maximum share of errors, relative to the errors of a guess, of a relation that is derived in every row."""
_ROWS_PER_KEY = 5
_MOST_NEW = 0.01
"""Maximum estimated share of new rows with a combination that no training row has: samples leave such rows out."""
_UNITS = {"us": 1.0, "s": 1e6, "min": 6e7, "h": 3.6e9, "d": 8.64e10}


@dataclass(frozen=True, slots=True)
class FoundRelations:
    """Relations in the order in which they are applied, and the tables of maps by file."""

    relations: tuple[Relation, ...] = ()
    maps: dict[str, pa.Table] = field(default_factory=dict)


def find_relations(encoding: Encoding, rows: pa.Table, *, seed: int = 0) -> FoundRelations:
    """Find the relations between the modelled columns of training rows of a table.

    A column is the target of one relation at most, and no column follows from itself: which side is modelled and which
    is derived is decided by the order of the kinds (equal, linear, map of one column, sums and products, maps of two
    columns), then by the spread: errors of sources matter little for a target that varies more.
    """
    if encoding.layout.kind != "table" or rows.num_rows < LEAST_ROWS:
        return FoundRelations()
    if rows.num_rows > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(rows.num_rows)[:MOST_ROWS])
        rows = rows.take(pa.array(chosen))
    names = [column.name for column in encoding.schema.described]
    table = rows.select(names).combine_chunks()
    numbers = _numeric_columns(table)
    by_name = {column.name: column for column in numbers}
    keys = Keys(table)
    kept = _Kept()
    for name in (column.name for column in numbers if column.view == "clock"):
        midnight = 2_400.0 if (by_name[name].values == 2_400).any() else 0.0
        kept.add(Relation(kind="clock", target=name, share=1.0, midnight=midnight), is_repair=True)
    candidates = (
        null_relations(table),
        equal_columns(table, numbers, encoding),
        linear_functions(numbers),
        column_maps(table, keys, 1),
        sums_and_products(numbers),
        column_maps(table, keys, 2),
    )
    for relation in sorted(chain.from_iterable(candidates), key=lambda each: not each.is_exact):
        kept.add(relation)
    return _with_tables(kept.ordered(), table)


class _Kept:
    """Relations that are consistent with one another."""

    def __init__(self) -> None:
        self._repairs: list[Relation] = []
        self._nulls: list[Relation] = []
        self._of_target: dict[str, Relation] = {}

    def add(self, relation: Relation, *, is_repair: bool = False) -> None:
        if is_repair:
            self._repairs.append(relation)
        elif relation.kind.startswith("null"):
            self._nulls.append(relation)
        elif relation.target not in self._of_target and not self._depends(relation.sources, relation.target):
            self._of_target[relation.target] = relation

    def ordered(self) -> list[Relation]:
        """Return repairs, then missing values, then derived columns after their sources."""
        order: list[Relation] = []
        waiting = dict(self._of_target)
        while waiting:
            ready = [each for each in waiting.values() if not set(each.sources) & set(waiting)]
            order += ready
            for each in ready:
                del waiting[each.target]
        return [*self._repairs, *self._nulls, *order]

    def _depends(self, sources: Sequence[str], target: str) -> bool:
        """Tell whether a source follows from the target."""
        for name in sources:
            if name == target:
                return True
            relation = self._of_target.get(name)
            if relation is not None and self._depends(relation.sources, target):
                return True
        return False


def _numeric_columns(table: pa.Table) -> list[NumericColumn]:
    found = []
    for name in table.column_names:
        kind = plain(table.schema.field(name).type)
        view = view_of(kind)
        if view is None:
            continue
        values = numbers_of(table[name].combine_chunks())
        is_too_large = bool((np.abs(values) > _MOST).any())  # no row with such a value is encoded
        if is_too_large or len(np.unique(values[~np.isnan(values)])) < _LEAST_DISTINCT:
            continue
        if view == "number" and is_clock(values, kind):
            view = "clock"
        found.append(NumericColumn(name, view, values, step_of(values, kind)))
    return found


def null_relations(table: pa.Table) -> Iterator[Relation]:
    """Yield columns that are missing together, and columns that are missing where another one is."""
    masks = {name: is_missing(table[name].combine_chunks()) for name in table.column_names}
    masks = {name: mask for name, mask in masks.items() if LEAST_ROWS <= mask.sum() < len(mask)}
    leader_of: dict[bytes, str] = {}
    leaders = []
    for name, mask in masks.items():
        leader = leader_of.setdefault(mask.tobytes(), name)
        if leader == name:
            leaders.append(name)
        else:
            yield Relation(kind="null together", target=name, sources=(leader,), share=1.0)
    for first, second in permutations(leaders, 2):
        inside = masks[first]
        expected = inside.sum() * (1 - masks[second].mean())
        if masks[second][inside].all() and expected >= LEAST_ROWS:
            yield Relation(kind="null if null", target=second, sources=(first,), share=1.0)


def equal_columns(table: pa.Table, numbers: Sequence[NumericColumn], encoding: Encoding) -> Iterator[Relation]:
    """Yield columns that equal another one, always or now and then."""
    codecs = {codec.name: codec for codec in encoding.codecs}
    for first, second in combinations(numbers, 2):
        if "time" in (first.view, second.view) and first.view != second.view:
            continue
        known = first.known & second.known
        same = (first.values == second.values) & known
        share = float(same.sum() / max(known.sum(), 1))
        if same.sum() >= LEAST_ROWS and 1 - share <= _MOST_ERRORS * (1 - _chance(first, second, known)):
            rate = 1.0 if share >= EXACT else share
            yield Relation(kind="equal", target=second.name, sources=(first.name,), share=share, rate=rate)
            continue
        codec = codecs.get(second.name)
        if share < LEAST_SHARE or not isinstance(codec, NumberCodes):
            continue
        yield from _sometimes_equal(table, first.name, second.name, same, codec)
    texts = [name for name in table.column_names if sort_of(table.schema.field(name).type) in ("text", "boolean")]
    arrays = {name: plain_values(table[name].combine_chunks()) for name in texts}
    for one, other in combinations(texts, 2):
        if arrays[one].type == arrays[other].type and arrays[one].equals(arrays[other]):
            yield Relation(kind="equal", target=other, sources=(one,), share=1.0)


def _chance(first: NumericColumn, second: NumericColumn, known: NDArray[np.bool_]) -> float:
    """Return the share of rows in which two independent columns of these values would be equal."""
    counts = [
        dict(zip(*np.unique(column.values[known], return_counts=True), strict=True)) for column in (first, second)
    ]
    return float(sum(rows * counts[1].get(value, 0) for value, rows in counts[0].items()) / max(known.sum(), 1) ** 2)


def _sometimes_equal(
    table: pa.Table, source: str, target: str, same: NDArray[np.bool_], codec: NumberCodes
) -> Iterator[Relation]:
    """Yield a target that equals a source more often than its bin explains."""
    own = codec.encode(plain_values(table[target].combine_chunks())).codes[0]
    wanted = plain(table.schema.field(target).type)
    source_values = plain_values(table[source].combine_chunks())
    there = codec.encode(
        source_values if source_values.type == wanted else source_values.cast(wanted, safe=False)
    ).codes[0]
    in_bin = (own == there) & (own >= len(codec.bins.atoms) + 3)
    hits = int((same & in_bin).sum())
    share = hits / max(len(own), 1)
    if hits < LEAST_ROWS or share < LEAST_SHARE / 2 or hits / int(in_bin.sum()) < 0.1:
        return
    yield Relation(
        kind="equal", target=target, sources=(source,), share=float(same.mean()), rate=hits / int(in_bin.sum())
    )


def linear_functions(numbers: Sequence[NumericColumn]) -> Iterator[Relation]:
    """Yield columns that are a linear function of another one, up to rounding."""
    for first, second in combinations(numbers, 2):
        if {first.view, second.view} & {"clock", "time"} and first.view != second.view:
            continue
        known = first.known & second.known
        x, y = first.values[known], second.values[known]
        if len(x) < LEAST_ROWS or x.std() == 0 or y.std() == 0 or abs(np.corrcoef(x, y)[0, 1]) < 0.9999:
            continue
        slope, constant = _line(x, y, 0.5 * second.step + 1e-9 * float(np.abs(y).max()))
        tolerance = 0.5 * second.step + abs(slope) * 0.5 * first.step + 1e-9 * np.abs(y).max()
        share = float((np.abs(slope * x + constant - y) <= tolerance).mean())
        if share >= EXACT:
            yield Relation(
                kind="linear",
                target=second.name,
                sources=(first.name,),
                factors=(slope,),
                constant=constant,
                step=second.step,
                share=share,
            )


def _line(x: NDArray[np.float64], y: NDArray[np.float64], tolerance: float) -> tuple[float, float]:
    """Return slope and intercept with the fewest digits that fit within tolerance, else by least squares."""
    center, mean = x.mean(), y.mean()
    slope = float(((x - center) * (y - mean)).sum() / ((x - center) ** 2).sum())
    for digits in range(1, 8):
        short = float(f"{slope:.{digits}g}")
        constant = round(float(np.median(y - short * x)), 3)
        if (np.abs(short * x + constant - y) <= tolerance + 1e-9).mean() >= EXACT:
            return short, constant
    return slope, float(mean - slope * center)


class _Three(NamedTuple):
    target: NumericColumn
    sources: tuple[NumericColumn, NumericColumn]
    kind: str
    factors: tuple[float, float] = (1.0, 1.0)


def sums_and_products(numbers: Sequence[NumericColumn]) -> Iterator[Relation]:
    """Yield columns that are the sum or the product of two others."""
    columns = list(numbers)[:MOST_NUMBERS]
    if len(columns) < 3:
        return
    rows = len(columns[0].values)
    glance = np.unique(np.linspace(0, rows - 1, min(_GLANCE, rows)).astype(np.int64))
    found = []
    for three in (*_near_numbers(columns, glance), *_sums_of_times(columns)):
        if _share(three, glance) >= LEAST_DERIVED:
            every = np.flatnonzero(three.target.known & three.sources[0].known & three.sources[1].known)
            share = _share(three, every) if len(every) >= LEAST_ROWS else 0.0
            if share >= LEAST_DERIVED and _is_telling(three, every):
                found.append((three, share))
    found.sort(key=lambda each: -float(np.nanstd(each[0].target.values)) if each[0].kind != "product" else -np.inf)
    for three, share in found:
        yield Relation(
            kind="clock sum" if three.kind == "clock" else "product" if three.kind == "product" else "linear",
            target=three.target.name,
            sources=tuple(source.name for source in three.sources),
            factors=three.factors if three.kind == "linear" else (),
            step=three.target.step if three.kind != "clock" else 0.0,
            share=share,
            rate=1.0 if share >= EXACT else share,
            midnight=2_400.0 if (three.target.values == 2_400).any() else 0.0,
        )


def _near_numbers(columns: Sequence[NumericColumn], glance: NDArray[np.int64]) -> Iterator[_Three]:
    """Yield the sums and products of two numbers that are close to a third one in most rows of a glance."""
    numbers = [column for column in columns if column.view == "number"]
    if len(numbers) < 3:
        return
    values = np.stack([column.values[glance] for column in numbers], axis=1)
    slack = np.array([column.step for column in numbers]) + 1e-6 * np.abs(values) + 1e-12
    for one, other in combinations(range(len(numbers)), 2):
        for kind, made in (
            ("linear", values[:, one] + values[:, other]),
            ("product", values[:, one] * values[:, other]),
        ):
            near = np.abs(made[:, None] - values)
            known = np.maximum((~np.isnan(near)).sum(axis=0), 1)
            for at in np.flatnonzero((near <= slack).sum(axis=0) >= LEAST_DERIVED * known).tolist():
                if at not in (one, other):
                    yield _Three(numbers[at], (numbers[one], numbers[other]), kind)


def _sums_of_times(columns: Sequence[NumericColumn]) -> Iterator[_Three]:
    if all(column.view == "number" for column in columns):
        return
    for target in columns:
        for first, second in combinations(columns, 2):
            if target.name in (first.name, second.name):
                continue
            views = {first.view, second.view}
            if target.view == "duration" and views == {"duration"}:
                yield _Three(target, (first, second), "linear")
            elif target.view == "time" and "time" in views and views != {"time"}:
                moment, other = (first, second) if first.view == "time" else (second, first)
                for unit in _UNITS.values() if other.view == "number" else (1.0,):
                    yield _Three(target, (moment, other), "linear", (1.0, unit))
            elif target.view == "clock" and views == {"clock", "number"}:
                clock, other = (first, second) if first.view == "clock" else (second, first)
                yield _Three(target, (clock, other), "clock")


def _share(three: _Three, rows: NDArray[np.int64]) -> float:
    """Return the share of rows in which a sum or product holds, up to the rounding of the three columns."""
    x, y, target = (column.values[rows] for column in (*three.sources, three.target))
    steps = (three.sources[0].step, three.sources[1].step)
    slack = 0.5 * three.target.step + 1e-9 * np.abs(target) + 1e-12
    match three.kind:
        case "product":
            gap = x * y - target
            slack = slack + 0.5 * (np.abs(x) * steps[1] + np.abs(y) * steps[0]) * (three.target.step < 1)
        case "clock":
            gap = (to_minutes(x) + y - to_minutes(target) + 720) % 1_440 - 720
        case _:
            gap = three.factors[0] * x + three.factors[1] * y - target
            fine = three.target.step or 0.0
            slack = slack + sum(0.5 * step for step in steps if step < fine)
    known = np.isfinite(gap)
    return float((np.abs(gap[known]) <= slack[known]).mean()) if known.any() else 0.0


def _is_telling(three: _Three, rows: NDArray[np.int64]) -> bool:
    """Tell whether enough rows have a relation that does not hold by itself: no source is 0, nor 1 in a product."""
    x, y = (source.values[rows] for source in three.sources)
    telling = (x != 0) & (y != 0)
    if three.kind == "product":
        telling &= (x != 1) & (y != 1)
    chosen = rows[telling]
    distinct, codes, counts = np.unique(three.target.values[chosen], return_inverse=True, return_counts=True)
    if not len(distinct):
        return False
    chosen = chosen[codes != np.argmax(counts)]  # small products are all rounded to one value
    return len(chosen) >= LEAST_ROWS and len(distinct) > 8 and _share(three, chosen) >= LEAST_DERIVED


class Keys:
    """Columns of few values, as codes from 0 on."""

    def __init__(self, table: pa.Table) -> None:
        self.codes: dict[str, NDArray[np.int64]] = {}
        self.sizes: dict[str, int] = {}
        self.is_key: dict[str, bool] = {}
        for name in table.column_names:
            kind = plain(table.schema.field(name).type)
            if sort_of(kind) not in ("text", "boolean", "number", "time"):
                continue
            packed = plain_values(table[name].combine_chunks()).dictionary_encode()
            codes = values_of(packed.indices).astype(np.int64) + 1
            nulls = nulls_of(packed.indices)
            self.codes[name] = codes if nulls is None else np.where(nulls, 0, codes)
            self.sizes[name] = len(packed.dictionary) + 1
            is_discrete = sort_of(kind) in ("text", "boolean") or len(packed.dictionary) <= 128
            self.is_key[name] = is_discrete and 2 <= len(packed.dictionary) <= table.num_rows / _ROWS_PER_KEY


def column_maps(table: pa.Table, keys: Keys, width: int) -> Iterator[Relation]:
    """Yield columns whose value follows from the values of one or two others."""
    names = [name for name in keys.codes if keys.is_key[name]][:MOST_CATEGORIES]
    if not names:
        return
    glance = min(table.num_rows, 2_000)
    targets = [name for name, size in keys.sizes.items() if size >= _LEAST_DISTINCT]
    chances = np.array([1 - np.square(np.bincount(keys.codes[name]) / table.num_rows).sum() for name in targets])
    first = np.stack([keys.codes[name][:_GLANCE] for name in targets], 1) if targets else np.zeros((0, 0), np.int64)
    for sources in combinations(names, width) if width > 1 else ((name,) for name in names):
        whole = keys.codes[sources[0]].copy()
        for name in sources[1:]:
            whole = whole * keys.sizes[name] + keys.codes[name]
        counts = np.unique(whole, return_counts=True)[1]
        distinct, once = len(counts), np.count_nonzero(counts == 1)
        if distinct > MOST_KEYS or len(whole) < _ROWS_PER_KEY * distinct:
            continue
        if width > 1 and once > _MOST_NEW * len(whole):  # the share of singletons estimates it (Good 1953)
            continue
        enough = (len(whole) - distinct) * chances >= LEAST_ROWS
        possible = _least_errors(whole[:_GLANCE], first) <= (1 - EXACT) * glance
        for at in np.flatnonzero(enough & possible):
            target, codes = targets[at], keys.codes[targets[at]]
            if target in sources or _consistent(whole[:glance], codes[:glance]) < EXACT:
                continue
            share = _consistent(whole, codes)
            if share >= EXACT and 1 - share <= _MOST_ERRORS * (1 - float(np.bincount(codes).max() / len(codes))):
                yield Relation(kind="map", target=target, sources=sources, share=share)


def _least_errors(keys: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number of rows, (T,), that do not have the most frequent code of their key; there may be more.

    Where d of the n rows of a key differ from its first row, the most frequent code is that of the first row, with d
    errors, or another one, with at least n - d errors.

    Args:
        keys: (B,).
        codes: T columns, (B, T).
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[0]] - 1))
    rows = np.diff(starts, append=len(keys))
    arranged = codes[order]
    differ = np.add.reduceat(arranged != np.repeat(arranged[starts], rows, axis=0), starts, axis=0, dtype=np.int64)
    return np.asarray(np.minimum(differ, rows[:, None] - differ).sum(axis=0))


def _consistent(keys: NDArray[np.int64], codes: NDArray[np.int64]) -> float:
    """Return the share of rows that have the most frequent code of their key."""
    size = int(codes.max()) + 1
    pairs, counts = np.unique(keys * size + codes, return_counts=True)
    starts = np.flatnonzero(np.diff(pairs // size, prepend=-1))
    return float(np.maximum.reduceat(counts, starts).sum() / len(keys))


def _with_tables(relations: list[Relation], table: pa.Table) -> FoundRelations:
    """Add the table of each map: its combinations with their most frequent target."""
    maps: dict[str, pa.Table] = {}
    found = []
    for relation in relations:
        if relation.kind == "map":
            file = f"relation_{len(maps)}.parquet"
            names = [*relation.sources, relation.target]
            plains = pa.table([plain_values(table[name].combine_chunks()) for name in names], names=names)
            counted = plains.group_by(names, use_threads=False).aggregate([([], "count_all")])
            ordered = counted.sort_by([("count_all", "descending")]).select(names)
            numbered = ordered.append_column("_row", pa.array(np.arange(ordered.num_rows)))
            first = numbered.group_by(list(relation.sources), use_threads=False).aggregate([("_row", "min")])
            maps[file] = ordered.take(first["_row_min"])
            relation = relation.model_copy(update={"file": file})
        found.append(relation)
    return FoundRelations(tuple(found), maps)
