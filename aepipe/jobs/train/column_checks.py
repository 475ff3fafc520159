"""Warnings about columns before a model is trained on them."""

import logging

from aepipe.config.job import Job
from aepipe.tables.schema_check import Schema
from aepipe.tables.struct_fields import struct_of_field

log = logging.getLogger(__name__)


def warn_of_columns_left_out(job: Job, schema: Schema) -> None:
    """Log each column that is not modelled, unless the job says so or its fields are columns of their own."""
    named = {*job.columns, *job.data.keys, *job.data.labels, job.data.event_time, job.data.partition}
    tops = struct_of_field(schema.arrow)
    for column in schema.columns:
        is_struct = column.name in tops.values()
        if column.kind == "ignore" and not is_struct and not {column.name, tops.get(column.name)} & named:
            log.warning("column '%s' (%s) is not modelled: %s", column.name, column.type, column.why)
