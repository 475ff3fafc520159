"""Rule that marks anomalies: the job's condition, or a label column with two values."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid, EvaluationInvalid, SchemaMismatch, did_you_mean
from aepipe.expressions.condition import Condition
from aepipe.jobs.feedback.verdicts import Verdicts, read_verdicts
from aepipe.tables.arrow_arrays import numpy_of
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices

_SHOWN = 5


class Labels(NamedTuple):
    """Labels of rows: whether each is known, and whether it is an anomaly, (B,) each."""

    known: NDArray[np.bool_]
    is_anomaly: NDArray[np.bool_]

    @classmethod
    def nothing(cls, rows: int) -> "Labels":
        """Return labels for rows that are all unlabelled."""
        return cls(np.zeros(rows, np.bool_), np.zeros(rows, np.bool_))


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Condition on source columns that anomalies satisfy; rows with a null in one of them are unlabelled."""

    condition: Condition | None
    """None: only verdicts label rows"""
    words: str
    """description of the condition in words"""
    verdicts: Verdicts | None = None
    """feedback, which replaces the labels of its rows"""

    @property
    def columns(self) -> frozenset[str]:
        """Return the source columns of the condition; the key columns too if there is feedback."""
        columns = frozenset[str]() if self.condition is None else self.condition.columns
        return columns if self.verdicts is None else columns | set(self.verdicts.keys)

    def of(self, rows: pa.Table) -> Labels:
        """Label rows that have the columns of the rule."""
        labels = Labels.nothing(rows.num_rows)
        if self.condition is not None:
            known = np.ones(rows.num_rows, np.bool_)
            for name in self.condition.columns:
                known &= ~numpy_of(pc.is_null(rows[name], nan_is_null=True))
            labels = Labels(known, numpy_of(self.condition.mask(rows)))
        return labels if self.verdicts is None else Labels(*self.verdicts.apply(rows, *labels))


def label_rule(job: Job) -> LabelRule | None:
    """Return the rule of `[evaluate] anomaly` and of the feedback; None if the job has neither."""
    return with_feedback(job, _stated(job))


def with_feedback(job: Job, rule: LabelRule | None) -> LabelRule | None:
    """Let the feedback of a job replace the labels of its rows; unchanged without feedback."""
    verdicts = read_verdicts(job)
    if verdicts is None:
        return rule
    if rule is None:
        return LabelRule(None, "feedback", verdicts)
    return replace(rule, words=f"{rule.words}, corrected by feedback", verdicts=verdicts)


def _stated(job: Job) -> LabelRule | None:
    anomaly = job.evaluate.anomaly_condition
    return None if anomaly is None else LabelRule(anomaly, str(anomaly))


def resolve_label_rule(job: Job, files: Iterable[Path], *, label: str | None, positive: str | None = None) -> LabelRule:
    """Return the rule of a label column; by default `[evaluate] anomaly`, or the job's only label.

    Args:
        job: The job.
        files: Source files with the labels.
        label: Label column; None for the default.
        positive: Value that marks an anomaly, as text; None for 1 or true, for the value in `[evaluate] anomaly`, or
            for the rarer of two values.

    Raises:
        ArgumentInvalid: No column is named, or no row has the positive value.
        SchemaMismatch: No file has the column.
        EvaluationInvalid: The column does not have two values.
    """
    stated = _stated(job)
    is_default = label is None and positive is None
    if is_default and stated is None and len(job.data.labels) != 1 and (feedback := label_rule(job)) is not None:
        return feedback
    rule = stated if is_default and stated is not None else _of_column(job, list(files), label, positive, stated)
    return with_feedback(job, rule) or rule


def _of_column(
    job: Job, files: list[Path], label: str | None, positive: str | None, stated: LabelRule | None
) -> LabelRule:
    column = label or _only_label(job)
    counts = _counts(column, files)
    if positive is None and stated is not None and stated.columns == {column}:
        return stated
    return _by_value(column, counts, positive)


def _only_label(job: Job) -> str:
    if len(job.data.labels) == 1:
        return job.data.labels[0]
    found = ", ".join(job.data.labels) or "none"
    remedy = 'Name the label column, or set [evaluate] anomaly, such as "x = 1".'
    raise ArgumentInvalid("label", [f"expected a column, as [data] labels has {found}. {remedy}"])


def _counts(column: str, files: list[Path]) -> dict[object, int]:
    """Count each value of the column over the files that have it, without nulls."""
    known: dict[str, None] = {}
    found: dict[object, int] = {}
    there = False
    for file in files:
        names = read_footer(file).schema.names
        known |= dict.fromkeys(names)
        if column not in names:
            continue
        there = True
        for batch in slices([file], [column], rows=READ_ROWS):
            for value, count in _value_counts(column, batch.column(0)):
                found[value] = found.get(value, 0) + count
            if len(found) > _SHOWN * READ_ROWS:
                raise _not_two(column, found)
    if not there:
        raise SchemaMismatch("the rows", [f"have no column '{column}'{did_you_mean(column, known)}"])
    return found


def _value_counts(column: str, values: pa.Array) -> list[tuple[object, int]]:
    if pt.is_nested(values.type):
        raise EvaluationInvalid(
            f"label column '{column}' is {values.type}: expected two values, such as 0 and 1. Name another column."
        )
    if pt.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    counted = pc.value_counts(values.drop_null())
    return [(each["values"], each["counts"]) for each in counted.to_pylist() if each["values"] == each["values"]]


def _by_value(column: str, counts: dict[object, int], positive: str | None) -> LabelRule:
    if not counts:
        raise EvaluationInvalid(f"label column '{column}' is null in every row. Add labels, or name another column.")
    if positive is not None:
        named = [value for value in counts if _text(value) == positive]
        if not named:
            raise ArgumentInvalid("positive", [f"expected a value of {column}: {_values(counts)}, got '{positive}'"])
        return _truth(column, named[0])
    if set(counts) <= {0, 1}:
        _refuse_one_class(column, counts)
        return _truth(column, next(value for value in counts if value == 1))
    if len(counts) > 2:
        raise _not_two(column, counts)
    _refuse_one_class(column, counts)
    rarest = min(counts, key=lambda value: (counts[value], _text(value)))
    return _truth(column, rarest, note=", the rarer of its two values")


def _refuse_one_class(column: str, counts: dict[object, int]) -> None:
    if len(counts) == 1:
        ((value, rows),) = counts.items()
        raise EvaluationInvalid(
            f"label column '{column}' is {_text(value)} in all {rows:,} rows: expected both classes. Add partitions."
        )


def _not_two(column: str, counts: dict[object, int]) -> EvaluationInvalid:
    return EvaluationInvalid(
        f"label column '{column}' has the values {_values(counts)}: expected 0 and 1, true and false, or any two. "
        "Set the positive value, or [evaluate] anomaly in the job."
    )


def _truth(column: str, value: object, note: str = "") -> LabelRule:
    """Return the rule that a column equals a value."""
    condition = Condition.equals(column, value if isinstance(value, bool) else _text(value))
    return LabelRule(condition, f"{column} = {_text(value)}{note}")


def _values(counts: dict[object, int]) -> str:
    texts = sorted(_text(value) for value in counts)
    more = f" and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _text(value: object) -> str:
    return str(value)
