"""Which synthetic rows keep to a job's constraints."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.config.sample_requirements import Constraint
from aepipe.errors import JobInvalid
from aepipe.quality.exact_copies import row_codes
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.schema import Schema, did_you_mean

_Rule: TypeAlias = Callable[[pa.RecordBatch, NDArray[np.bool_]], NDArray[np.bool_]]
"""Rows and which of them are still wanted -> which of them the constraint holds for."""
_ORDERED = ("number", "time")


def validate_constraints(constraints: Sequence[Constraint], schema: Schema) -> None:
    """Raises JobInvalid with every constraint that names a column the model has not, or one of the wrong kind."""
    faults = [fault for constraint in constraints for fault in _faults(constraint, schema)]
    if faults:
        raise JobInvalid("[[samples.constraints]]", faults)


class ConstraintFilter:
    """The constraints of one set of rows; it remembers which unique values are taken."""

    def __init__(self, constraints: Sequence[Constraint], schema: Schema, train: pa.Table | None) -> None:
        """train: the rows whose combinations are allowed; needed where a constraint asks for one."""
        drawn = [each for each in constraints if not set(each.unique) & set(schema.keys)]  # keys are unique anyway
        ordered = sorted(drawn, key=lambda each: bool(each.unique))  # only rows that are kept take a value
        self._rules = {each.title: _rule(each, train) for each in ordered}
        self.rejected = dict.fromkeys(self._rules, 0)
        self.seen = 0

    def __bool__(self) -> bool:
        return bool(self._rules)

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows for which all constraints hold; a row that is not kept counts for each that it breaks."""
        wanted = np.ones(batch.num_rows, np.bool_)
        for title, rule in self._rules.items():
            holds = rule(batch, wanted)
            self.rejected[title] += int((~holds).sum())
            wanted = wanted & holds
        self.seen += batch.num_rows
        return batch if wanted.all() else batch.filter(pa.array(wanted))

    def strictest(self) -> tuple[str, float]:
        """The constraint that the fewest rows keep to, and the share of rows that do."""
        title = max(self.rejected, key=lambda name: self.rejected[name])
        return title, 1 - self.rejected[title] / max(self.seen, 1)


def _faults(constraint: Constraint, schema: Schema) -> list[str]:
    known = {column.name: column for column in schema.modelled} | {
        column.name: column for column in schema.columns if column.kind == "key" and constraint.unique
    }
    absent = [name for name in constraint.columns if name not in known]
    if absent:
        return [
            f"{constraint.title}: the model has no column '{name}'{did_you_mean(name, known) or _there_are(known)}"
            for name in absent
        ]
    kinds = {name: plain(schema.arrow.field(name).type) for name in constraint.columns}
    sorts = {sort_of(kind) for kind in kinds.values()}
    if constraint.low is not None and (len(sorts) > 1 or not sorts <= set(_ORDERED)):
        both = " and ".join(f"'{name}' ({kind})" for name, kind in kinds.items())
        return [f"{constraint.title}: {both} have no order; name two numbers, or two times"]
    lost = [name for name in constraint.unique if name in schema.keys and not _is_made_anew(kinds[name])]
    return [f"{constraint.title}: keys of type {kinds[name]} are null in samples" for name in lost]


def _there_are(known: Iterable[str]) -> str:
    return f"; there are {', '.join(list(known)[:20])}"


def _is_made_anew(kind: pa.DataType) -> bool:
    """Whether a key of this type is given new values, and not null."""
    return bool(pa.types.is_string(kind) or (pa.types.is_signed_integer(kind) and kind.bit_width >= 32))


def _rule(constraint: Constraint, train: pa.Table | None) -> _Rule:
    if constraint.low is not None and constraint.high is not None:
        return _in_order(constraint.low, constraint.high, strict=constraint.strict)
    if constraint.combination:
        assert train is not None, "combinations are those of training rows"
        return _in_combinations(train, constraint.combination)
    return _unique(constraint.unique)


def _in_order(low: str, high: str, *, strict: bool) -> _Rule:
    compare = pc.less if strict else pc.less_equal

    def keeps(batch: pa.RecordBatch, _: NDArray[np.bool_]) -> NDArray[np.bool_]:
        first, second = (plain_values(batch.column(name)) for name in (low, high))
        return np.asarray(pc.fill_null(compare(first, second), True))

    return keeps


def _in_combinations(train: pa.Table, columns: tuple[str, ...]) -> _Rule:
    (codes,) = row_codes([train.select(columns)])
    known = train.select(columns).take(pa.array(np.unique(codes, return_index=True)[1]))

    def keeps(batch: pa.RecordBatch, _: NDArray[np.bool_]) -> NDArray[np.bool_]:
        there, drawn = row_codes([known, pa.Table.from_batches([batch.select(columns)])])
        return np.isin(drawn, there)

    return keeps


def _unique(columns: tuple[str, ...]) -> _Rule:
    taken: set[tuple[object, ...]] = set()

    def keeps(batch: pa.RecordBatch, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        holds = np.ones(batch.num_rows, np.bool_)
        rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
        for at, row in enumerate(rows):
            value = tuple(str(each) if isinstance(each, list) else each for each in row)
            holds[at] = value not in taken
            if wanted[at]:
                taken.add(value)
        return holds

    return keeps
