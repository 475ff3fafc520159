"""Rows that a model made, as whole rows of the source."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle

Column: TypeAlias = pa.Array | pa.ChunkedArray


def to_source_rows(
    bundle: Bundle,
    made: pa.RecordBatch | pa.Table,
    *,
    keys: Callable[[str, pa.DataType], Column],
    own: Mapping[str, Column],
) -> dict[str, Column]:
    """The source's columns in its order, then `own` ones, then the model: modelled columns as made, others null.

    keys: the values of a key column, by its name and type.
    """
    schema, columns = bundle.encoding.schema, dict[str, Column]()
    for column in schema.columns:
        kind = schema.arrow.field(column.name).type
        if column.name in made.schema.names:
            columns[column.name] = made[column.name]
        elif column.kind == "key":
            columns[column.name] = keys(column.name, kind)
        else:
            columns[column.name] = pa.nulls(made.num_rows, kind)
    return columns | {**own, "model_version": model_version_column(bundle.version, made.num_rows)}


def model_version_column(version: str, rows: int) -> pa.DictionaryArray:
    """The version of a model in each of so many rows."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [version])
