"""Sample sets with given shares of a column's values: exact counts per value, shuffled by the seed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.sample_requirements import MISSING_VALUE
from aepipe.errors import JobInvalid
from aepipe.expressions.condition import Condition
from aepipe.expressions.parser import Literal, parse_literal
from aepipe.inference.condition_values import refuse_unknown_values
from aepipe.inference.conditional import unknown_column
from aepipe.tables.arrow_types import plain, sort_of


class Group(NamedTuple):
    """Rows that are drawn under one condition; `name` derives their seed."""

    rows: int
    where: Condition | None
    name: str = ""


def build_groups(
    bundle: Bundle, rows: int, *, where: Condition | None, shares: Mapping[str, Mapping[str, float]]
) -> tuple[Group, ...]:
    """Split a set into one group per value and one for all other values; without shares it is one group.

    Raises:
        JobInvalid: The model has no such column, its type cannot be part of a condition, or training rows never had
            the value.
    """
    if not shares:
        return (Group(rows, where),)
    ((column, wanted),) = shares.items()
    kind = _type_of(bundle, column)
    literals = [_literal(value, kind, column) for value in wanted if value != MISSING_VALUE]
    rest = 1 - sum(wanted.values())
    counts = largest_remainders(rows, [*wanted.values(), max(rest, 0.0)])
    conditions = [value_condition(bundle, column, value) for value in wanted]
    for condition in conditions:
        refuse_unknown_values(bundle, condition, subject="shares")
    names = list(map(str, conditions))
    others = ~Condition.is_null(column)
    if literals:
        others = ~Condition.one_of(column, literals)
        if MISSING_VALUE not in wanted:
            others |= Condition.is_null(column)
    conditions.append(others)
    names.append(f"({others})")  # names derive seeds: this one has had parentheses since version 0.1.0
    both = [condition if where is None else where & condition for condition in conditions]
    found = zip(counts, both, names, strict=True)
    return tuple(Group(count, condition, name) for count, condition, name in found if count)


def value_condition(bundle: Bundle, column: str, value: str) -> Condition:
    """Return the condition that a column equals a value, given as text, or is missing for `is null`.

    Raises:
        JobInvalid: As `build_groups`.
    """
    kind = _type_of(bundle, column)
    if value == MISSING_VALUE:
        return Condition.is_null(column)
    return Condition.equals(column, _literal(value, kind, column))


def largest_remainders(total: int, shares: list[float]) -> list[int]:
    """Apportion `total` to the shares by the method of largest remainders.

    >>> largest_remainders(10, [0.55, 0.25, 0.2])
    [6, 2, 2]
    """
    exact = total * np.array(shares) / max(sum(shares), 1e-12)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]


def shuffled(groups: tuple[Group, ...], seed: int) -> NDArray[np.int64]:
    """Return the group index of each row of the set, (B,)."""
    indices = np.repeat(np.arange(len(groups)), [group.rows for group in groups])
    return indices if len(groups) == 1 else np.random.Generator(np.random.Philox(seed)).permutation(indices)


def value_text(value: object) -> str:
    """Return a value as it is written in shares.

    >>> value_text(True), value_text(3), value_text(">50K"), value_text(None)
    ('true', '3', '>50K', 'is null')
    """
    if value is None or value != value:  # NaN is missing
        return MISSING_VALUE
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type_of(bundle: Bundle, column: str) -> pa.DataType:
    schema = bundle.encoding.schema
    names = [each.name for each in bundle.encoding.sampled]
    if column not in names:
        raise JobInvalid("shares", [unknown_column(bundle, column, names, what="a modelled column")])
    return plain(schema.arrow.field(column).type)


def _literal(value: str, kind: pa.DataType, column: str) -> str | Literal:
    match sort_of(kind):
        case "text":
            return value
        case "number" | "boolean":
            return parse_literal(value)
        case _:
            raise JobInvalid("shares", [f"'{column}' has type {kind}: expected text, numbers or booleans"])
