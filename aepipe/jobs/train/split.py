"""Training, dev and calibration rows: 70, 10 and 20 percent, disjoint, the same every time."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from aepipe.errors import SchemaMismatch
from aepipe.tables.arrow_arrays import nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.schema_check import Schema

TRAIN, DEV, CALIBRATION = 0, 1, 2
_TRAIN_ENDS, _DEV_ENDS = 0.7, 0.8


def split(schema: Schema, table: pa.Table, *, partitions: pa.Array) -> np.ndarray:
    """Assign each row to TRAIN, DEV or CALIBRATION, int8 (B,).

    With an event time, the earliest rows train and the latest calibrate; ties are split by hash. Without one, the part
    depends on the hash of the keys alone, so equal keys stay together and new rows do not move old ones. Without keys,
    it depends on the partition and the position in it. If a part would be empty, rows are split by the rank of the
    hash.

    Args:
        schema: Schema of the table.
        table: Rows to split.
        partitions: Partition name of each row.

    Raises:
        SchemaMismatch: The table lacks the event time.
    """
    hashes = _hashes(schema, table, partitions)
    if schema.event_time is not None:
        if schema.event_time not in table.column_names:
            raise SchemaMismatch(
                "the training rows", [f"have no column '{schema.event_time}', the event time: read it"]
            )
        return _by_rank(_time_order(table.column(schema.event_time), hashes))
    parts = np.searchsorted([_TRAIN_ENDS, _DEV_ENDS], hashes / 2.0**64, side="right").astype(np.int8)
    return parts if len(np.unique(parts)) == 3 else _by_rank(np.argsort(hashes, kind="stable"))


def folds_of(schema: Schema, table: pa.Table, *, folds: int) -> np.ndarray:
    """Assign each row to a fold by the rank of the hash of its keys, int64 (B,); equal keys stay together.

    Rows without keys, and the rows of a table whose keys are all equal, are assigned by their position.
    """
    ranks: np.ndarray = np.unique(_hashes(schema, table, pa.repeat("", table.num_rows)), return_inverse=True)[1]
    return (ranks if ranks.any() else np.arange(table.num_rows)) % folds


def blocks_of(schema: Schema, table: pa.Table, *, folds: int) -> np.ndarray:
    """Assign each row to a fold, int64 (B,): with an event time, to one of as many spans of it, else by `folds_of`.

    Rows that depend on each other because they are close in time are then in one fold, as the rows of `split` are in
    one part.
    """
    if schema.event_time is None:
        return folds_of(schema, table, folds=folds)
    order = _time_order(table.column(schema.event_time), _hashes(schema, table, pa.repeat("", table.num_rows)))
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) * folds // max(1, len(order))
    return found


def _by_rank(order: np.ndarray) -> np.ndarray:
    """Split rows in a given order by exact shares, rounded; each part has a row if there are three."""
    rows = len(order)
    ends = np.rint(np.array([_TRAIN_ENDS, _DEV_ENDS]) * rows).astype(np.int64)
    if rows >= 3:
        ends[1] = min(max(ends[1], 2), rows - 1)
        ends[0] = min(max(ends[0], 1), ends[1] - 1)
    parts = np.empty(rows, np.int8)
    parts[order] = np.searchsorted(ends, np.arange(rows), side="right")
    return parts


def _time_order(times: pa.ChunkedArray, hashes: np.ndarray) -> np.ndarray:
    """Sort rows by time, then by hash; rows without a time take one by their hash, to spread over the parts."""
    rows = len(times)
    moments = plain_values(_joined(times))
    ranks = values_of(pc.rank(moments, sort_keys="ascending", tiebreaker="dense"))
    nulls = nulls_of(moments)
    places = ranks.astype(np.float64)
    if nulls is not None:
        places[nulls] = hashes[nulls] / 2.0**64 * (places.max() if rows else 0.0)
    return np.lexsort((hashes, places))


def _hashes(schema: Schema, table: pa.Table, partitions: pa.Array) -> np.ndarray:
    """Hash the keys of each row, or its partition and position if it has no key; uint64 (B,)."""
    found = _numbered(partitions)
    columns = [_joined(table.column(name)) for name in schema.keys if _can_be_hashed(table, name)]
    if not columns:
        return found
    known = np.zeros(table.num_rows, np.bool_)
    mixed = np.zeros(table.num_rows, np.uint64)
    for column in columns:
        nulls = nulls_of(column)
        known |= True if nulls is None else ~nulls
        mixed = _mix(mixed ^ _hash_of_values(column))
    return np.where(known, mixed, found)


def _can_be_hashed(table: pa.Table, name: str) -> bool:
    return name in table.column_names and sort_of(table.column(name).type) not in ("list", "other")


def _numbered(partitions: pa.Array) -> np.ndarray:
    """Hash the partition of each row and its position there."""
    names = partitions if pa.types.is_dictionary(partitions.type) else partitions.dictionary_encode()
    seeds = _hash_of_values(names)
    order = np.argsort(values_of(names.indices), kind="stable")
    codes = values_of(names.indices)[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    numbers = np.empty(len(codes), np.uint64)
    numbers[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    return _mix(seeds + numbers)


def _hash_of_values(array: pa.Array) -> np.ndarray:
    """Hash each value by xxh3, independent of layout and width; 0 for null. Each distinct value is hashed once."""
    packed = array if pa.types.is_dictionary(array.type) else plain_values(array).dictionary_encode()
    values = plain_values(packed.dictionary)
    if not (pa.types.is_binary(values.type) or pa.types.is_fixed_size_binary(values.type)):
        values = values.cast(pa.string()).cast(pa.binary())
    hashes = [0 if value is None else xxhash.xxh3_64_intdigest(value) for value in values.to_pylist()]
    known = np.array([*hashes, 0], np.uint64)
    indices, nulls = values_of(packed.indices), nulls_of(packed.indices)
    found: np.ndarray = known[indices if nulls is None else np.where(nulls, len(known) - 1, indices)]
    return found


def _mix(bits: np.ndarray) -> np.ndarray:
    """Apply the finaliser of splitmix64: a bijection in which every output bit depends on every input bit."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = bits ^ (bits >> np.uint64(31))
    return mixed


def _joined(column: pa.ChunkedArray) -> pa.Array:
    arrays = [plain_values(chunk) for chunk in column.chunks]
    return pa.concat_arrays(arrays) if arrays else pa.nulls(0)
