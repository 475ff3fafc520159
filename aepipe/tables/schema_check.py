"""Compare data with the schema of a table."""

from collections.abc import Iterator

import pyarrow as pa

from aepipe.errors import did_you_mean
from aepipe.tables.arrow_types import carries, sort_of
from aepipe.tables.kind_inference import infer
from aepipe.tables.schema import Column, Schema
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.text_values import notation_of

__all__ = ["Column", "Schema", "extra_columns", "faults", "infer"]


def faults(schema: Schema, arrow: pa.Schema, *, need_labels: bool = False, modelled: bool = True) -> list[str]:
    """List the faults that keep data from a model of this schema; each message continues the name of the file.

    Accepted are narrower integers and floats, integers for floats, timestamps in another unit, text in another layout,
    and a column of nulls for any type.

    Args:
        schema: columns of the model.
        arrow: Arrow schema of the data.
        need_labels: labels must be present, as in training and evaluation.
        modelled: check modelled columns; training does not, it unifies their types and takes missing ones as null.
    """
    return list(_faults(schema, arrow, need_labels, modelled))


def extra_columns(schema: Schema, arrow: pa.Schema) -> list[str]:
    """List the columns of the data that the schema does not have; a struct that it has, it has with all its fields."""
    known = {column.name for column in schema.columns}
    tops = struct_of_field(arrow)
    return [name for name in dict.fromkeys(arrow.names) if name not in known and tops.get(name) not in known]


def _faults(schema: Schema, arrow: pa.Schema, need_labels: bool, look_at_modelled: bool) -> Iterator[str]:
    modelled = {column.name for column in schema.modelled}
    for column in schema.columns:
        key = column.kind == "key" or column.name == schema.event_time or column.name in schema.entity
        if column.name in modelled and not (look_at_modelled or key):
            continue
        if column.name in modelled or key or (need_labels and column.kind == "label"):
            yield from _column_faults(column, schema, arrow, typed=column.name in modelled)


def _column_faults(column: Column, schema: Schema, arrow: pa.Schema, *, typed: bool) -> Iterator[str]:
    name = column.name
    places = arrow.get_all_field_indices(name)
    if not places:
        other = "which is the event time" if name == schema.event_time else "which the job names as entity"
        role = "which the model was trained on" if typed else _ROLES.get(column.kind, other)
        hint = did_you_mean(name, set(arrow.names) - {known.name for known in schema.columns})
        yield f"has no column '{name}' ({column.type}), {role}: restore it, or change the job and retrain{hint}"
    elif len(places) > 1:
        yield f"has {len(places)} columns '{name}': rename all but one"
    elif typed:
        found, wanted = arrow.field(places[0]).type, schema.arrow.field(name).type
        is_parsed = notation_of(schema.arrow.field(name)) is not None and sort_of(found) == "text"
        if not is_parsed and not carries(found, wanted):
            remedy = f"write it as {wanted}, or retrain"
            yield f"has column '{name}' as {found}, but the model was trained on {wanted}: {remedy}"


_ROLES = {"key": "which the job names as a key", "label": "which the job names as a label"}
