"""Warnings about the columns of a training set: counters, copies of a label, left out columns, texts read in part."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from aepipe.config.job import Job
from aepipe.encoding import Encoding
from aepipe.encoding.items import ItemsCodec
from aepipe.encoding.text import TextCodec
from aepipe.jobs.column_roles import SampledGroups, readable_columns
from aepipe.jobs.inspect import column_gaps
from aepipe.jobs.role_warnings import (
    kind_warnings,
    label_copy_warnings,
    modelled_label_warnings,
    taken_label_warnings,
)
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.parquet_reader import Footer
from aepipe.tables.partitions import Partition
from aepipe.tables.schema import Schema
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.text_values import ISO, guess_notation, joined_texts

_SAMPLED_TEXTS = 10_000
_LEAST_PARSED = 0.5
_CUT = 0.01
"""Share of longer texts that is no news: the default length holds 99 %."""
_UNKNOWN = 0.1
"""Maximum share of unknown tokens without a warning."""
_MERGED = 0.7
"""Maximum share of tokens that are rare numbers without a warning."""
_SORTED_NOTATIONS = (ISO, "%Y/%m/%d", "%Y%m%d")


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
        *text_time_warnings(schema, table),
        *label_copy_warnings(schema, table, labels=schema.labels),
        *modelled_label_warnings(job, schema),
        *taken_label_warnings(schema),
        *left_out_warnings(job, schema),
        *column_gaps(footers, schema),
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


def text_time_warnings(schema: Schema, table: pa.Table) -> Iterator[str]:
    """Yield a warning if the event time is text whose alphabetical order is not the order in time."""
    name = schema.event_time
    if name is None or sort_of(schema.arrow.field(name).type) != "text":
        return
    texts = joined_texts(table.column(name).slice(0, _SAMPLED_TEXTS))
    guess = guess_notation(texts, least=_LEAST_PARSED)
    if guess is None or guess.kind != "datetime":
        yield (
            f"column '{name}', the event time, is text that is not a date: rows are ordered by the alphabet. "
            "Name a column of times under [data] event_time."
        )
    elif guess.notation not in _SORTED_NOTATIONS:
        yield (
            f"column '{name}', the event time, is text written as {guess.notation}: rows are ordered by the alphabet. "
            f'Set {name} = {{format = "{guess.notation}"}} under [columns].'
        )


def left_out_warnings(job: Job, schema: Schema) -> Iterator[str]:
    """Yield a warning for each column left out by its values; a struct's fields are columns of their own."""
    named = {
        *job.columns,
        *job.data.keys,
        *job.data.labels,
        *job.data.entity,
        job.data.event_time,
        job.data.partition,
    } - {None}
    tops = struct_of_field(schema.arrow)
    for column in schema.columns:
        by_rule = column.why == "named in the job" or column.why.endswith("modelled alone")
        is_struct = column.name in tops.values()
        if column.kind == "ignore" and not (by_rule or is_struct or {column.name, tops.get(column.name)} & named):
            yield f"column '{column.name}' ({column.type}) is not modelled: {column.why}"


def token_warnings(encoding: Encoding) -> Iterator[str]:
    """Name the columns of texts and items that the model reads in part, or whose texts look alike to it."""
    for codec in encoding.codecs:
        if not isinstance(codec, TextCodec | ItemsCodec):
            continue
        what, unit = ("texts", "tokens") if isinstance(codec, TextCodec) else ("lists", "items")
        if codec.cut > _CUT:
            yield (
                f"column '{codec.name}': {codec.cut:.1%} of the training {what} have more than the {codec.length} "
                f"{unit} that the model reads, so that the others have no score. Set a greater length under [columns]."
            )
        if isinstance(codec, ItemsCodec):
            continue
        if codec.merged > _MERGED:
            yield (
                f"column '{codec.name}': its texts are numbers, and all but frequent ones read as the same token. "
                'Set it to "number" or "category", or tokens to "characters", under [columns].'
            )
        if codec.unknown > _UNKNOWN:
            yield (
                f"column '{codec.name}': {codec.unknown:.0%} of the tokens occur once in the training texts, and look "
                'alike to the model. Set tokens to "characters" or "bpe" under [columns].'
            )
