"""Fields of struct columns as columns of their own, such as `address.city`."""

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def with_struct_fields(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the innermost fields of each struct column after it, named by their path.

    >>> with_struct_fields(pa.schema([("address", pa.struct([("city", pa.string())]))])).names
    ['address', 'address.city']
    """
    if not _has_structs(schema):
        return schema
    fields: list[pa.Field] = []
    for field in schema:
        fields += [field, *(leaf for _, leaf in _leaves(field))]
    return pa.schema(fields, metadata=schema.metadata)


def struct_of_field(schema: pa.Schema) -> dict[str, str]:
    """Return the struct column of each column that `with_struct_fields` adds.

    Args:
        schema: schema with or without the added columns.
    """
    return {leaf.name: field.name for field in schema if pt.is_struct(field.type) for _, leaf in _leaves(field)}


def flatten_structs(rows: pa.RecordBatch, wanted: Collection[str] | None = None) -> pa.RecordBatch:
    """Return the rows with the innermost fields of their structs as columns, unless they have such columns.

    A field of a null struct is null.

    Args:
        rows: rows; returned as they are if no struct is among them and `wanted` is None.
        wanted: columns to return, in this order; None for all.
    """
    if not _has_structs(rows.schema):
        return rows if wanted is None else rows.select(list(wanted))
    there = set(rows.schema.names)
    added = {leaf.name: path for field in rows.schema for path, leaf in _leaves(field) if leaf.name not in there}
    if wanted is None:
        wanted = list(dict.fromkeys(with_struct_fields(rows.schema).names))
    columns = [_column(rows, name, added) for name in wanted]
    types = [pa.field(name, column.type) for name, column in zip(wanted, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(types))


def flatten_table(table: pa.Table) -> pa.Table:
    """Return the table with the innermost fields of its structs as columns, as `flatten_structs` does."""
    if not _has_structs(table.schema):
        return table
    empty = pa.RecordBatch.from_pylist([], schema=table.schema)
    batches = [flatten_structs(batch) for batch in table.to_batches() or [empty]]
    return pa.Table.from_batches(batches)


def _has_structs(schema: pa.Schema) -> bool:
    return any(pt.is_struct(kind) for kind in schema.types)


def _leaves(field: pa.Field) -> Iterator[tuple[Sequence[str], pa.Field]]:
    """Yield the path and the field of each value in a struct that is not a struct; nothing for other types."""
    if not pt.is_struct(field.type):
        return
    for child in field.type:
        path = (field.name, child.name)
        whole = pa.field(".".join(path), child.type, field.nullable or child.nullable)
        if pt.is_struct(child.type):
            yield from (((field.name, child.name, *inner[1:]), leaf) for inner, leaf in _leaves(whole))
        else:
            yield path, whole


def _column(rows: pa.RecordBatch, name: str, added: dict[str, Sequence[str]]) -> pa.Array:
    if name in rows.schema.names:
        return rows.column(name)
    top, *inner = added[name]
    column = rows.column(top)
    for part in inner:
        column = pc.struct_field(column, [part])
    return column
