"""Warnings about columns that a model sees although they are ground truth, or as a kind that they may not be."""

from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.config.job import Job
from aepipe.inference.output_schema import SCORE_NAMES
from aepipe.tables.arrow_types import innermost, sort_of
from aepipe.tables.list_inference import may_be_items
from aepipe.tables.roles.sampled_values import count_distinct, joined
from aepipe.tables.schema import Schema

MOST_ROWS_COMPARED = 200_000
_FEWEST_ROWS = 30
_MOST_CLASSES = 1_000
_MOST_NAMED = 5


def taken_label_warnings(schema: Schema) -> Iterator[str]:
    """Yield a warning for each label that has the name of a column of the scores."""
    for name in schema.labels:
        if name in SCORE_NAMES:
            yield (
                f"label '{name}' has the name of a column of the scores, which hold the model's '{name}' and not the "
                "label. Evaluations read it from the source."
            )


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


def passthrough_warnings(job: Job, schema: Schema, *, version: str) -> Iterator[str]:
    """Yield a warning for each key or entity column of the job that a model does not copy to its outputs."""
    named = dict.fromkeys(job.data.entity, "entity") | dict.fromkeys(job.data.keys, "keys")
    for name, role in named.items():
        if name not in schema.carried:
            yield (
                f"{version} does not copy column '{name}' of [data] {role} to its outputs, since it was trained before "
                f"the job named it. Train again: aepipe train {job.source}"
            )


def constant_note(names: Iterable[str]) -> Iterator[str]:
    """Yield one sentence about the columns with a single value, if there are any; it names at most five."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) == 1:
        yield f"column {quoted[0]} has one value in all sampled rows"
    elif quoted:
        rest = len(quoted) - _MOST_NAMED
        named = quoted[:_MOST_NAMED] + ([f"{rest:,} more"] if rest > 0 else [])
        yield f"columns {', '.join(named[:-1])} and {named[-1]} have one value each in all sampled rows"


def label_copy_warnings(schema: Schema, table: pa.Table, *, labels: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each modelled column that has one value per label, and another for each label.

    Args:
        schema: columns of the model.
        table: source rows; the first 200,000 are compared.
        labels: columns that hold the ground truth.
    """
    table = table.slice(0, MOST_ROWS_COMPARED)
    columns = [column.name for column in schema.described if column.kind in ("number", "category", "boolean")]
    for label in labels:
        if label not in table.column_names or sort_of(table[label].type) in ("list", "other"):
            continue
        for name in columns:
            if name != label and name in table.column_names and _are_one_to_one(table[name], table[label]):
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


def kind_warnings(job: Job, schema: Schema) -> Iterator[str]:
    """Yield a warning for each column of lists of integers that is modelled as windows of a time series by default."""
    for column in schema.columns:
        kind = schema.arrow.field(column.name).type
        if column.kind == "series" and pt.is_integer(innermost(kind)) and column.name not in job.columns:
            others = "items or ignore" if may_be_items(kind) else "ignore"
            yield (
                f"column '{column.name}' holds lists of integers, which are modelled as windows of a time series. "
                f"If they are sets of codes, such as the articles of an order, set {column.name} to {others} under "
                f"[columns]; if not, set {column.name} to series."
            )
