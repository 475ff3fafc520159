"""Convert Arrow arrays to numpy arrays and back through their buffers.

`pa.array`, `pa.scalar` and `Array.to_numpy` import pandas if it is installed, which would slow the start of scoring.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.tables.arrow_types import plain

_DTYPES = {
    kind.id: np.dtype(name)
    for name, kinds in {
        "bool": [pa.bool_()],
        "int8": [pa.int8()],
        "int16": [pa.int16()],
        "int32": [pa.int32(), pa.date32(), pa.time32("s")],
        "int64": [pa.int64(), pa.date64(), pa.time64("us"), pa.timestamp("us"), pa.duration("us")],
        "uint8": [pa.uint8()],
        "uint16": [pa.uint16()],
        "uint32": [pa.uint32()],
        "uint64": [pa.uint64()],
        "float16": [pa.float16()],
        "float32": [pa.float32()],
        "float64": [pa.float64()],
    }.items()
    for kind in kinds
}
"""numpy type by Arrow type id: comparing types or their names costs more than reading a small array."""
_PLAIN = {*_DTYPES, pa.string().id, pa.binary().id, pa.binary(1).id, pa.null().id}


def dtype_of(kind: pa.DataType) -> np.dtype:
    """Return the numpy type of a fixed-width Arrow type's bytes; times are integers in their unit.

    >>> dtype_of(pa.timestamp("us")), dtype_of(pa.time32("s"))
    (dtype('int64'), dtype('int32'))
    """
    return _DTYPES[kind.id]


def values_of(array: pa.Array) -> np.ndarray:
    """Return the values (B,) of a fixed-width array, read-only; the slots of nulls are undefined."""
    dtype = dtype_of(array.type)
    if len(array) == 0:
        return np.zeros(0, dtype)
    content = array.buffers()[1]
    if dtype == np.bool_:
        return _bits(content, array.offset, len(array))
    return np.frombuffer(content, dtype, count=len(array), offset=array.offset * dtype.itemsize)


def nulls_of(array: pa.Array) -> np.ndarray | None:
    """Return the mask of nulls, bool (B,); None if there are none."""
    if array.null_count == 0:
        return None
    if pt.is_null(array.type):
        return np.ones(len(array), np.bool_)
    return ~_bits(array.buffers()[0], array.offset, len(array))


def numpy_of(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return the values of a column, (B,), as its `to_numpy` does: null numbers are NaN.

    >>> numpy_of(pa.chunked_array([[1, None], [3]])).tolist(), numpy_of(pa.array([True, False])).tolist()
    ([1.0, nan, 3.0], [True, False])
    """
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    kind = column.type
    if not (pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind)):
        return np.asarray(column.to_numpy() if len(parts) != 1 else parts[0].to_numpy(zero_copy_only=False))
    if column.null_count == 0:
        return np.concatenate([np.zeros(0, dtype_of(kind)), *map(values_of, parts)])
    if pt.is_boolean(kind):
        return np.asarray(pa.chunked_array(parts).to_numpy())
    wide = dtype_of(kind) if pt.is_floating(kind) else np.dtype(np.float64)
    return np.concatenate([_with_nan(part, wide) for part in parts])


def _with_nan(array: pa.Array, dtype: np.dtype) -> np.ndarray:
    nulls = nulls_of(array)
    values = values_of(array).astype(dtype)
    return values if nulls is None else np.where(nulls, dtype.type(np.nan), values)


def rows_at(positions: np.ndarray) -> pa.Array:
    """Return positions of rows as Arrow's `take` reads them.

    >>> rows_at(np.array([2, 0])).to_pylist()
    [2, 0]
    """
    return array_of(positions, pa.int64())


def array_of(values: np.ndarray, kind: pa.DataType, nulls: np.ndarray | None = None) -> pa.Array:
    """Build an Arrow array of a fixed-width type.

    Args:
        values: (B,), of any dtype that converts to the type's.
        kind: type of the array.
        nulls: mask of nulls, bool (B,); None for none.
    """
    dtype = dtype_of(kind)
    if dtype == np.bool_:
        content = np.packbits(np.asarray(values, np.bool_), bitorder="little")
    else:
        content = np.ascontiguousarray(values, dtype)
    valid = None if nulls is None or not nulls.any() else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(content)])


def texts_of(texts: Sequence[str]) -> pa.Array:
    """Build a string array.

    >>> texts_of(["a", "bc"]).to_pylist()
    ['a', 'bc']
    """
    return bytes_of([text.encode() for text in texts]).cast(pa.string())


def bytes_of(contents: Sequence[bytes | None]) -> pa.Array:
    """Build a binary array; None becomes null."""
    lengths = np.fromiter((len(content or b"") for content in contents), np.int64, len(contents))
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    nulls = np.fromiter((content is None for content in contents), np.bool_, len(contents))
    valid = pa.py_buffer(np.packbits(~nulls, bitorder="little")) if nulls.any() else None
    joined = pa.py_buffer(b"".join(content or b"" for content in contents))
    return pa.Array.from_buffers(pa.binary(), len(contents), [valid, pa.py_buffer(offsets), joined])


def plain_values(array: pa.Array) -> pa.Array:
    """Convert an array to its plain type, `arrow_types.plain`."""
    kind = array.type
    if kind.id in _PLAIN:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return plain_values(array.storage)
    if pt.is_dictionary(kind):
        values = plain_values(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    if pt.is_run_end_encoded(kind):
        return plain_values(pc.run_end_decode(array))
    return array if kind == plain(kind) else array.cast(plain(kind))


def without_views(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with plain text and bytes in place of views, which Arrow cannot select or sort."""
    schema = rows.schema
    plain_schema = schema_without_views(schema)
    return rows if plain_schema is schema else rows.cast(plain_schema)


def schema_without_views(schema: pa.Schema, *, large: bool = False) -> pa.Schema:
    """Return the schema of `without_views`; the schema itself if it has no view.

    large: with 64-bit offsets, for arrays that may hold more than 2 GB of text.

    >>> schema_without_views(pa.schema([("a", pa.string_view()), ("b", pa.list_(pa.binary_view()))])).types
    [DataType(string), ListType(list<item: binary>)]
    """
    types = schema.types
    kinds = [_without_views(kind, large) for kind in types]
    if all(kind is same for kind, same in zip(kinds, types, strict=True)):
        return schema
    fields = [field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)]
    return pa.schema(fields, metadata=schema.metadata)


def _without_views(kind: pa.DataType, large: bool) -> pa.DataType:
    """Return the type itself if no view is in it."""
    if pt.is_string_view(kind):
        return pa.large_string() if large else pa.string()
    if pt.is_binary_view(kind):
        return pa.large_binary() if large else pa.binary()
    if pt.is_struct(kind):
        fields = [field.with_type(_without_views(field.type, large)) for field in kind]
        return kind if pa.struct(fields) == kind else pa.struct(fields)
    if pt.is_list(kind) or pt.is_large_list(kind):
        make = pa.list_ if pt.is_list(kind) else pa.large_list
        plain_list = make(kind.value_field.with_type(_without_views(kind.value_type, large)))
        return kind if plain_list == kind else plain_list
    return kind


def restored(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Convert values of a plain type to the source's type; the inverse of `plain_values`."""
    if array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, restored(array, kind.storage_type))
    if pt.is_dictionary(kind):
        return _dictionary(array, kind)
    if pt.is_run_end_encoded(kind):
        return pc.run_end_encode(restored(array, kind.value_type), kind.run_end_type)
    return array.cast(kind)


def _dictionary(array: pa.Array, kind: pa.DictionaryType) -> pa.Array:
    packed = array.dictionary_encode()
    indices, values = packed.indices, restored(packed.dictionary, kind.value_type)
    fits = len(values) <= np.iinfo(dtype_of(kind.index_type)).max + 1
    # The dictionary of one batch holds few values; the values of all batches may be too many for its index type.
    indices = indices.cast(kind.index_type) if fits else indices
    return pa.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered)


def _bits(content: pa.Buffer, offset: int, length: int) -> np.ndarray:
    first = offset // 8
    count = offset % 8 + length
    whole = np.frombuffer(content, np.uint8, count=(count + 7) // 8, offset=first)
    return np.unpackbits(whole, count=count, bitorder="little")[offset % 8 :].view(np.bool_)
