"""Filter of synthetic rows by a job's constraints."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.config.sample_requirements import Constraint
from aepipe.encoding import Encoding
from aepipe.errors import JobInvalid, did_you_mean
from aepipe.jobs.sample.copy_limit import CopyLimit
from aepipe.jobs.sample.output_rows import has_new_keys
from aepipe.quality.exact_copies import row_codes
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.schema import Schema

_Rule: TypeAlias = Callable[[pa.RecordBatch, NDArray[np.bool_]], NDArray[np.bool_]]
"""Function from rows and the mask of rows accepted so far to the mask of rows that satisfy one constraint."""


def validate_constraints(constraints: Sequence[Constraint], encoding: Encoding) -> None:
    """Validate the columns and types of every constraint.

    Raises:
        JobInvalid: A constraint names a column that the model lacks, or one of the wrong type.
    """
    faults = [fault for constraint in constraints for fault in _faults(constraint, encoding)]
    if faults:
        raise JobInvalid("[[samples.constraints]]", faults)


class ConstraintFilter:
    """Filter by the constraints of one set of rows; it remembers the unique values seen so far."""

    def __init__(
        self,
        constraints: Sequence[Constraint],
        schema: Schema,
        train: pa.Table | None,
        copies: CopyLimit | None = None,
    ) -> None:
        """Create a filter.

        Args:
            constraints: Constraints of the job.
            schema: Schema of the model.
            train: Rows whose combinations of values are allowed; None if no constraint needs them.
            copies: Limit of copies of training rows; None: no limit.
        """
        drawn = [each for each in constraints if not set(each.unique) & set(schema.keys)]  # keys are unique anyway
        ordered = sorted(drawn, key=lambda each: bool(each.unique))  # only rows that are kept take a value
        own: dict[str, _Rule] = {} if copies is None else {copies.title: copies.holds}
        self._rules = own | {each.title: _rule(each, train) for each in ordered}
        self._of_one_row = [*own, *(each.title for each in ordered if not each.unique)]
        self.rejected = dict.fromkeys(self._rules, 0)
        self.seen = 0

    def __bool__(self) -> bool:
        return bool(self._rules)

    def filter(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that satisfy all constraints; count a rejected row for each constraint that it violates."""
        accepted = np.ones(batch.num_rows, np.bool_)
        for title, rule in self._rules.items():
            holds = rule(batch, accepted)
            self.rejected[title] += int((~holds).sum())
            accepted = accepted & holds
        self.seen += batch.num_rows
        return batch if accepted.all() else batch.filter(pa.array(accepted))

    def satisfied(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Return the mask of the rows that satisfy all constraints on single rows, (B,); nothing is counted."""
        every = np.ones(batch.num_rows, np.bool_)
        held = every.copy()
        for title in self._of_one_row:
            held &= self._rules[title](batch, every)
        return held

    @property
    def is_of_one_row(self) -> bool:
        """Some constraint is on single rows, not on the uniqueness of values."""
        return bool(self._of_one_row)

    def strictest(self) -> tuple[str, float]:
        """Return the constraint that the fewest rows satisfy, and the share of rows that do."""
        title = max(self.rejected, key=lambda name: self.rejected[name])
        return title, 1 - self.rejected[title] / max(self.seen, 1)


def _faults(constraint: Constraint, encoding: Encoding) -> list[str]:
    schema = encoding.schema
    known = {column.name: column for column in encoding.sampled} | {
        column.name: column for column in schema.columns if column.kind == "key" and constraint.unique
    }
    absent = [name for name in constraint.columns if name not in known]
    if absent:
        return [
            f"{constraint.title}: the model has no column '{name}'{did_you_mean(name, known, listed=20)}"
            for name in absent
        ]
    kinds = {name: plain(schema.arrow.field(name).type) for name in constraint.columns}
    if constraint.low is not None and not _is_ordered([kinds[name] for name in (constraint.low, str(constraint.high))]):
        both = " and ".join(f"'{name}' ({kind})" for name, kind in kinds.items())
        return [
            f"{constraint.title}: {both} cannot be ordered: expected two numbers, two durations, two dates or "
            "timestamps, or two times of day"
        ]
    lost = [name for name in constraint.unique if name in schema.keys and not has_new_keys(kinds[name])]
    return [f"{constraint.title}: keys of type {kinds[name]} are null in samples" for name in lost]


def _rule(constraint: Constraint, train: pa.Table | None) -> _Rule:
    if constraint.low is not None and constraint.high is not None:
        return _in_order(constraint.low, constraint.high, strict=constraint.strict)
    if constraint.combination:
        assert train is not None, "combinations need training rows"
        return _in_combinations(train, constraint.combination)
    return _unique(constraint.unique)


def _is_ordered(kinds: list[pa.DataType]) -> bool:
    """Tell whether the values of both types can be compared."""
    tests = (pt.is_duration, pt.is_time, lambda kind: sort_of(kind) == "number", lambda kind: sort_of(kind) == "time")
    found = [next((at for at, test in enumerate(tests) if test(kind)), None) for kind in kinds]
    return found[0] is not None and found[0] == found[1]


def _aligned(first: pa.Array, second: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Cast two columns to types that Arrow compares: a date or timestamp without a zone is read in the other's zone."""
    kinds = first.type, second.type
    if first.type == second.type:
        return first, second
    if pt.is_duration(first.type):
        return first.cast(pa.duration("us"), safe=False), second.cast(pa.duration("us"), safe=False)
    if sort_of(first.type) == "number":
        if pt.is_integer(first.type) and pt.is_integer(second.type) and pa.uint64() not in kinds:
            return first, second
        # decimals, floats and unsigned integers have no common type that holds all values of each
        return first.cast(pa.float64(), safe=False), second.cast(pa.float64(), safe=False)
    if pt.is_time(first.type):
        return first.cast(pa.time64("us"), safe=False), second.cast(pa.time64("us"), safe=False)
    zone = next((kind.tz for kind in kinds if pt.is_timestamp(kind) and kind.tz), None)
    return _moments(first, zone), _moments(second, zone)


def _moments(values: pa.Array, zone: str | None) -> pa.Array:
    own = values.type.tz if pt.is_timestamp(values.type) else None
    moments = values.cast(pa.timestamp("us", tz=own), safe=False)
    if zone is None or own is not None:
        return moments
    return pc.assume_timezone(moments, zone, ambiguous="earliest", nonexistent="earliest")


def _in_order(low: str, high: str, *, strict: bool) -> _Rule:
    compare = pc.less if strict else pc.less_equal

    def rule(batch: pa.RecordBatch, _: NDArray[np.bool_]) -> NDArray[np.bool_]:
        first, second = _aligned(*(plain_values(batch.column(name)) for name in (low, high)))
        return np.asarray(pc.fill_null(compare(first, second), True))

    return rule


def _in_combinations(train: pa.Table, columns: tuple[str, ...]) -> _Rule:
    (codes,) = row_codes([train.select(columns)])
    known = train.select(columns).take(pa.array(np.unique(codes, return_index=True)[1]))

    def rule(batch: pa.RecordBatch, _: NDArray[np.bool_]) -> NDArray[np.bool_]:
        allowed, drawn = row_codes([known, pa.Table.from_batches([batch.select(columns)])])
        return np.isin(drawn, allowed)

    return rule


def _unique(columns: tuple[str, ...]) -> _Rule:
    seen: set[tuple[object, ...]] = set()

    def rule(batch: pa.RecordBatch, accepted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        holds = np.ones(batch.num_rows, np.bool_)
        rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        for index, row in enumerate(rows):
            value = tuple(str(each) if isinstance(each, list) else each for each in row)
            holds[index] = value not in seen
            if accepted[index]:
                seen.add(value)
        return holds

    return rule
