"""Complete modelled columns to rows of the source table."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.tables.struct_fields import struct_of_field

Column: TypeAlias = pa.Array | pa.ChunkedArray


def to_source_rows(
    bundle: Bundle,
    made: pa.RecordBatch | pa.Table,
    *,
    keys: Callable[[str, pa.DataType], Column],
    own: Mapping[str, Column],
) -> dict[str, Column]:
    """Return the source's columns in order, then `own`, then `model_version`; of structs, their fields.

    Args:
        bundle: Bundle whose schema names the columns.
        made: Modelled columns; source columns that it lacks are null.
        keys: Function from the name and type of a key column to its values.
        own: Additional columns.
    """
    schema, columns = bundle.encoding.schema, dict[str, Column]()
    structs = set(struct_of_field(schema.arrow).values())
    for column in schema.columns:
        if column.name in structs and column.kind == "ignore":
            continue
        kind = schema.arrow.field(column.name).type
        if column.name in made.schema.names:
            columns[column.name] = made[column.name]
        elif column.kind == "key":
            columns[column.name] = keys(column.name, kind)
        else:
            columns[column.name] = pa.nulls(made.num_rows, kind)
    return columns | {**own, "model_version": model_version_column(bundle.version, made.num_rows)}


def has_new_keys(kind: pa.DataType) -> bool:
    """Tell whether keys of this type have new values in samples instead of nulls."""
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or (pa.types.is_signed_integer(kind) and kind.bit_width >= 32))


def model_version_column(version: str, rows: int) -> pa.DictionaryArray:
    """Return a column that repeats the model version, dictionary-encoded."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [version])
