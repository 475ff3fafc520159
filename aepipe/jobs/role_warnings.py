"""Warnings about columns that a model sees although they are ground truth, or as a kind that they may not be."""

from collections.abc import Collection, Iterator

import pyarrow.types as pt

from aepipe.config.job import Job
from aepipe.tables.arrow_types import innermost
from aepipe.tables.schema import Schema


def modelled_label_warnings(
    job: Job, schema: Schema, *, version: str | None = None, used: Collection[str] = ()
) -> Iterator[str]:
    """Yield a warning for each modelled column that the job uses as ground truth.

    Args:
        job: the job as it is now; it may have changed since the model was trained.
        schema: columns of the model.
        version: version of the model, for the message; None while it is trained.
        used: more columns that hold the ground truth, as options of an evaluation may say.
    """
    modelled = {column.name for column in schema.modelled}
    condition = job.evaluate.anomaly_condition
    named = dict.fromkeys(sorted(used), "it holds the ground truth")
    named |= {} if condition is None else dict.fromkeys(sorted(condition.columns), "[evaluate] anomaly uses it")
    labels = [*job.data.labels, *(name for name, spec in job.columns.items() if spec.kind == "label")]
    named |= dict.fromkeys(labels, "the job names it as a label")
    for name, why in named.items():
        if name in modelled and version is None:
            yield (
                f"column '{name}' is modelled although {why}, so that the scores use the answer. "
                f"Name {name} under [data] labels."
            )
        elif name in modelled:
            remedy = "" if name in labels else f"Name {name} under [data] labels, and train"
            yield (
                f"{version} models column '{name}' although {why}, so that its scores use the answer. "
                f"{remedy or 'Train'} again: aepipe train {job.source}"
            )


def kind_warnings(job: Job, schema: Schema) -> Iterator[str]:
    """Yield a warning for each column of lists of integers that is modelled as windows of a time series by default."""
    for column in schema.columns:
        inner = innermost(schema.arrow.field(column.name).type)
        if column.kind == "series" and pt.is_integer(inner) and column.name not in job.columns:
            yield (
                f"column '{column.name}' holds lists of integers, which are modelled as windows of a time series. "
                f"If they are sets of codes, write them as lists of text or set {column.name} to ignore in [columns]; "
                f"if not, set {column.name} to series."
            )
