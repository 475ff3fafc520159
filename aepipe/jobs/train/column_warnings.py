"""Warnings about the columns of a training set: counters, copies of a label, and columns that are left out."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.config.job import Job
from aepipe.jobs.column_roles import SampledGroups, readable_columns
from aepipe.jobs.inspect import column_gaps
from aepipe.jobs.role_warnings import kind_warnings, modelled_label_warnings
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.parquet_reader import Footer
from aepipe.tables.partitions import Partition
from aepipe.tables.roles.sampled_values import count_distinct, joined
from aepipe.tables.schema import Schema
from aepipe.tables.struct_fields import struct_of_field

_MOST_ROWS = 200_000
_FEWEST_ROWS = 30
_MOST_CLASSES = 1_000


def column_warnings(
    job: Job, schema: Schema, table: pa.Table, partitions: Sequence[Partition], footers: Sequence[Footer]
) -> tuple[str, ...]:
    """Describe what a user should know about the columns before relying on the model, one sentence or two each.

    Args:
        job: the job.
        schema: schema of the training rows.
        table: the training rows, with their labels.
        partitions: partitions of the training rows.
        footers: footers of their files.
    """
    return (
        *drift_warnings(schema, partitions, footers),
        *label_copy_warnings(schema, table),
        *modelled_label_warnings(job, schema),
        *left_out_warnings(job, schema),
        *column_gaps(footers),
        *kind_warnings(job, schema),
    )


def drift_warnings(schema: Schema, partitions: Sequence[Partition], footers: Sequence[Footer]) -> Iterator[str]:
    """Yield a warning for each modelled column whose values move on."""
    modelled = {column.name for column in schema.described}
    fields = [field for field in readable_columns(schema) if field.name in modelled or sort_of(field.type) == "time"]
    for drift in SampledGroups(partitions, footers, pa.schema(fields)).drift() if modelled else ():
        if drift.column in modelled:
            yield (
                f"column '{drift.column}' {drift.sentence}, so that many new rows would be flagged. "
                f"Set {drift.column} to ignore under [columns], or name it under [data] keys."
            )


def label_copy_warnings(schema: Schema, table: pa.Table) -> Iterator[str]:
    """Yield a warning for each modelled column that has one value per label, and another for each label."""
    table = table.slice(0, _MOST_ROWS)
    columns = [column.name for column in schema.described if column.kind in ("number", "category", "boolean")]
    for label in schema.labels:
        if label not in table.column_names or sort_of(table[label].type) in ("list", "other"):
            continue
        for name in columns:
            if name in table.column_names and _are_one_to_one(table[name], table[label]):
                yield (
                    f"column '{name}' determines the label '{label}' one to one, so that the scores use the answer. "
                    f"Name {name} under [data] labels, or set it to ignore under [columns]."
                )


def _are_one_to_one(first: pa.ChunkedArray, second: pa.ChunkedArray) -> bool:
    pair = pa.table({"first": joined([first]), "second": joined([second])})
    pair = pair.filter(pc.and_(pc.is_valid(pair["first"]), pc.is_valid(pair["second"])))
    classes = count_distinct(pair["second"])
    if pair.num_rows < _FEWEST_ROWS or not 2 <= classes <= min(_MOST_CLASSES, pair.num_rows // 2):
        return False
    if count_distinct(pair["first"]) != classes:
        return False
    return bool(pair.group_by(["first", "second"]).aggregate([]).num_rows == classes)


def left_out_warnings(job: Job, schema: Schema) -> Iterator[str]:
    """Yield a warning for each column left out by its values; a struct's fields are columns of their own."""
    named = {*job.columns, *job.data.keys, *job.data.labels, job.data.event_time, job.data.partition} - {None}
    tops = struct_of_field(schema.arrow)
    for column in schema.columns:
        by_rule = column.why == "named in the job" or column.why.endswith("modelled alone")
        is_struct = column.name in tops.values()
        if column.kind == "ignore" and not (by_rule or is_struct or {column.name, tops.get(column.name)} & named):
            yield f"column '{column.name}' ({column.type}) is not modelled: {column.why}"
