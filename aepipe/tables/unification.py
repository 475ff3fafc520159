"""One schema for rows of several files whose Parquet types differ."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.errors import SchemaMismatch
from aepipe.tables.arrow_arrays import plain_values, restored
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.text_values import notation_of, parse_texts

_UNITS = ("s", "ms", "us", "ns")
_LARGEST_DECIMAL_128 = 38
_LARGEST_DECIMAL_256 = 76


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both, or None if no promotion is defined.

    Null gives way to any type. Otherwise text in any layout (64-bit offsets, views, dictionaries) becomes plain
    text. Integers become the wider integer, and float64 with floats or where no integer holds both; decimals become
    the decimal that holds both, and float64 with floats. Times become the finer unit, but microseconds where
    nanoseconds meet another unit; timestamps of two time zones become UTC, a date next to a timestamp without zone
    becomes a timestamp. Lists promote their values, structs their fields; a field that one struct lacks is null.

    >>> common_type(pa.int32(), pa.float32()), common_type(pa.timestamp("us"), pa.timestamp("ns"))
    (DataType(double), TimestampType(timestamp[us]))
    >>> common_type(pa.string(), pa.int64()) is None
    True
    """
    if first == second:
        return first
    if pt.is_null(first) or pt.is_null(second):
        return second if pt.is_null(first) else first
    first, second = plain(first), plain(second)
    if first == second:
        return first
    if sort_of(first) != sort_of(second):
        return None
    match sort_of(first):
        case "number":
            return _common_number(first, second)
        case "time":
            return _common_time(first, second)
        case "bytes":
            return pa.binary()
        case "list":
            value = common_type(first.value_type, second.value_type)
            if value is None:
                return None
            sizes = [kind.list_size for kind in (first, second) if pt.is_fixed_size_list(kind)]
            return pa.list_(value, sizes[0]) if len(sizes) == 2 and sizes[0] == sizes[1] else pa.list_(value)
        case _:
            both = pt.is_struct(first) and pt.is_struct(second)
            return _common_struct(first, second) if both else None


def _common_struct(first: pa.StructType, second: pa.StructType) -> pa.DataType | None:
    types = {field.name: field.type for field in first}
    if len(types) < first.num_fields or len({field.name for field in second}) < second.num_fields:
        return None
    for field in second:
        common = common_type(types.get(field.name, field.type), field.type)
        if common is None:
            return None
        types[field.name] = common
    return pa.struct(list(types.items()))


def _common_number(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pt.is_duration(first) or pt.is_duration(second):
        both = pt.is_duration(first) and pt.is_duration(second)
        return pa.duration(_finer(first.unit, second.unit)) if both else None
    if pt.is_floating(first) and pt.is_floating(second):
        return max(first, second, key=lambda kind: kind.bit_width)
    if pt.is_floating(first) or pt.is_floating(second):
        return pa.float64()  # pandas writes integers as float64 as soon as one is missing
    if pt.is_decimal(first) or pt.is_decimal(second):
        return _common_decimal(first, second)
    if pt.is_signed_integer(first) == pt.is_signed_integer(second):
        return max(first, second, key=lambda kind: kind.bit_width)
    unsigned, signed = (first, second) if pt.is_unsigned_integer(first) else (second, first)
    width = max(2 * unsigned.bit_width, signed.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width, pa.float64())


_DIGITS_OF_INT64 = 19


def _common_decimal(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Return the decimal that holds both, or float64.

    Any integer counts as int64, and uint64 gives float64 as it does with a signed integer: otherwise the type of three
    files would depend on their order.
    """
    if pt.is_uint64(first) or pt.is_uint64(second):
        return pa.float64()
    whole, scale = 0, 0
    for kind in (first, second):
        is_decimal = pt.is_decimal(kind)
        whole = max(whole, kind.precision - kind.scale if is_decimal else _DIGITS_OF_INT64)
        scale = max(scale, kind.scale if is_decimal else 0)
    if whole + scale > _LARGEST_DECIMAL_256:
        return pa.float64()
    make = pa.decimal128 if whole + scale <= _LARGEST_DECIMAL_128 else pa.decimal256
    return make(whole + scale, scale)


def _common_time(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    if pt.is_timestamp(first) and pt.is_timestamp(second):
        if (first.tz is None) != (second.tz is None):
            return None
        zone = first.tz if first.tz == second.tz else "UTC"
        return pa.timestamp(_finer(first.unit, second.unit), tz=zone)
    if pt.is_date(first) and pt.is_date(second):
        return pa.date64()
    if pt.is_time(first) and pt.is_time(second):
        unit = _finer(first.unit, second.unit)
        return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)
    stamp, day = (first, second) if pt.is_timestamp(first) else (second, first)
    naive = pt.is_timestamp(stamp) and stamp.tz is None and pt.is_date(day)
    return pa.timestamp(_finer(stamp.unit, "ms")) if naive else None


def _finer(first: str, second: str) -> str:
    # Nanoseconds end in the year 2262; microseconds hold the placeholder dates (9999-12-31) that other files may have.
    return first if first == second else min(max(first, second, key=_UNITS.index), "us", key=_UNITS.index)


def unify_schemas(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Return one schema for files of these schemas: their columns in order of first appearance, each of a common type.

    Columns become nullable; metadata is dropped where types differ.

    Args:
        schemas: name of the file and its schema; at least one.

    Raises:
        SchemaMismatch: a column occurs twice in a file, or its types have no common type; every fault is listed.
    """
    unified, faults = unify_with_faults(schemas)
    if faults:
        raise SchemaMismatch("the files differ:", list(dict.fromkeys(faults.values())))
    return unified


def unify_with_faults(schemas: Sequence[tuple[str, pa.Schema]]) -> tuple[pa.Schema, dict[str, str]]:
    """Return the schema of `unify_schemas`, and the first fault of each column that has no common type.

    A column with a fault is there once, with the type of the first file.
    """
    first = schemas[0][1]
    if all(schema.equals(first) for _, schema in schemas) and len(set(first.names)) == len(first.names):
        return first, {}
    faults: dict[str, str] = {}
    types: dict[str, tuple[str, pa.DataType]] = {}
    for name, schema in schemas:
        for column in dict.fromkeys(schema.names):
            found = schema.field(schema.get_all_field_indices(column)[0]).type
            origin, known = types.setdefault(column, (name, found))
            common = common_type(known, found)
            if len(schema.get_all_field_indices(column)) > 1:
                faults.setdefault(column, f"{name} has more than one column '{column}'. Rename all but one.")
            elif common is None:
                faults.setdefault(
                    column,
                    f"column '{column}' is {known} in {origin} and {found} in {name}, which have no common type. "
                    "Write one of the files again.",
                )
            else:
                types[column] = (origin if common == known else name, common)
    return pa.schema([pa.field(column, kind) for column, (_, kind) in types.items()]), faults


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows with the columns, order and types of `schema`; columns that they lack are null.

    Raises:
        SchemaMismatch: a value does not fit its column's type.
    """
    columns = [cast_column(batch, field) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast_column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Return a column of the rows in the type of `field`; null if they lack it.

    Raises:
        SchemaMismatch: a value does not fit the type.
    """
    ready = _without_cast(batch, field)
    if ready is not None:
        return ready
    column = batch.column(field.name)
    try:
        drops_nanoseconds = getattr(column.type, "unit", None) == "ns" and getattr(field.type, "unit", None) == "us"
        decoded = column if pt.is_dictionary(field.type) else _decoded(column)
        rounds = pt.is_integer(decoded.type) and pt.is_floating(field.type)
        return decoded.cast(field.type, safe=not (drops_nanoseconds or rounds))
    except pa.ArrowException as error:
        fault = f"is {column.type} in one file and {field.type} in another: {error}. Write one of the files again."
        raise SchemaMismatch(f"column '{field.name}'", [fault]) from None


def _without_cast(batch: pa.RecordBatch, field: pa.Field) -> pa.Array | None:
    """Return a column that is absent, null, of the type of `field` or text in its notation; None: it needs a cast."""
    count = len(batch.schema.get_all_field_indices(field.name))
    if count > 1:
        raise SchemaMismatch("a file", [f"has {count} columns '{field.name}': rename all but one"])
    if count == 0 or pt.is_null(batch.schema.field(field.name).type):
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if column.type == field.type:
        return column
    notation = notation_of(field)
    if notation is None or sort_of(column.type) != "text":
        return None
    return parse_texts(column, field.type, notation)


def parse_text_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows with text as the numbers and times that `schema` has in its place; other columns as they are."""
    for field in schema:
        at = batch.schema.get_field_index(field.name) if notation_of(field) is not None else -1
        if at >= 0 and sort_of(batch.schema.field(at).type) == "text":
            batch = batch.set_column(at, field, cast_column(batch, field))
    return batch


def cast_exactly(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """Return a column of the rows in the type of `field`, with the same values; null if they lack it.

    Integers may become text and text integers, for example, if they come back from it as they were.

    Raises:
        SchemaMismatch: a value would change.
    """
    ready = _without_cast(batch, field)
    if ready is not None:
        return ready
    column = batch.column(field.name)
    values, kind = plain_values(column), plain(field.type)
    try:
        converted = values if values.type == kind else values.cast(kind)
        if _has_zone(values.type) == _has_zone(kind) and _are_equal(values, converted.cast(values.type)):
            cast = restored(converted, field.type)
            if cast.type == field.type:
                return cast
    except pa.ArrowException:
        pass
    fault = f"is {column.type} in this partition, but {field.type} in the outputs, and its values would change. "
    raise SchemaMismatch(f"column '{field.name}'", [f"{fault}Write it as {field.type}, or train again."])


def _has_zone(kind: pa.DataType) -> bool:
    """Return True for timestamps with a time zone."""
    return pt.is_timestamp(kind) and kind.tz is not None


def _are_equal(first: pa.Array, second: pa.Array) -> bool:
    """Compare arrays of one type; NaN equals NaN."""
    if pt.is_float16(first.type):
        first, second = first.cast(pa.float32()), second.cast(pa.float32())
    if pt.is_floating(first.type):
        both_nan = pc.and_(pc.is_nan(first), pc.is_nan(second))
        return bool(pc.all(pc.or_(pc.equal(first, second), both_nan)).as_py() is not False)
    return bool(first.equals(second))


def _decoded(column: pa.Array) -> pa.Array:
    """Return the column without extension type, dictionary or runs."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pt.is_dictionary(column.type):
        return column.dictionary_decode()
    if pt.is_run_end_encoded(column.type):
        return pc.run_end_decode(column)
    return column


def unified_table(parts: Sequence[pa.RecordBatch | pa.Table], *, or_text: bool = False) -> pa.Table:
    """Return the rows of all parts as one table of their common schema.

    Args:
        parts: at least one.
        or_text: make text of a column whose types have no common one, in place of refusing it; for rows to show.

    Raises:
        SchemaMismatch: a column has types without a common one.
    """
    first = parts[0].schema
    batches = [batch for part in parts for batch in (part.to_batches() if isinstance(part, pa.Table) else (part,))]
    if all(part.schema.equals(first) for part in parts):
        return pa.Table.from_batches(batches, first)
    schemas = [part.schema for part in parts]
    if or_text:
        schemas = _with_text(schemas)
    schema = unify_schemas([("one file", schemas[0]), *(("another", other) for other in schemas[1:])])
    return pa.Table.from_batches([cast_batch(batch, schema) for batch in batches], schema)


def _with_text(schemas: Sequence[pa.Schema]) -> list[pa.Schema]:
    types: dict[str, pa.DataType | None] = {}
    for schema in schemas:
        for field in schema:
            known = types.get(field.name, field.type)
            types[field.name] = None if known is None else common_type(known, field.type)
    return [
        pa.schema([pa.field(f.name, pa.string() if types[f.name] is None else f.type) for f in schema])
        for schema in schemas
    ]
