"""Row condition as a value: parsed once, combined with `&`, `|` and `~`, applied to tables."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa

from aepipe.expressions.evaluate import evaluate_mask
from aepipe.expressions.parser import All, Any, In, IsNull, Literal, Node, columns, parse_tree


@dataclass(frozen=True, slots=True)
class Condition:
    r"""Parsed condition on the columns of a table; equal to any condition of the same text.

    >>> boots = Condition.equals("kind", "boot")
    >>> str(boots & ~Condition.parse("price > 3 or sold is null"))
    '"kind" = \'boot\' and not (price > 3 or sold is null)'
    """

    text: str
    node: Node = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Parse a condition. Raises OptionInvalid with a caret under the fault."""
        return cls(text, _parsed(text))

    @classmethod
    def equals(cls, column: str, value: "str | bool | int | float | Literal") -> "Condition":
        """Return the condition that a column equals a value."""
        return cls.parse(f"{quote_name(column)} = {_written(value)}")

    @classmethod
    def one_of(cls, column: str, values: "Iterable[str | bool | int | float | Literal]") -> "Condition":
        """Return the condition that a column equals one of several values, at least one."""
        return cls.parse(f"{quote_name(column)} in ({', '.join(map(_written, values))})")

    @classmethod
    def is_null(cls, column: str) -> "Condition":
        """Return the condition that a column is null."""
        return cls.parse(f"{quote_name(column)} is null")

    @property
    def columns(self) -> frozenset[str]:
        """Return the names of the columns in the condition."""
        return frozenset(column.name for column in columns(self.node))

    def mask(self, rows: pa.Table | pa.RecordBatch) -> pa.BooleanArray:
        """Return one boolean per row, without nulls: False where the condition is unknown, as in SQL.

        Literals take the type of the column that they are compared with: `opened < '2026-02-01'` works on dates and
        on timestamps (in the column's own time zone), `amount = 0.1` on float32.

        Raises:
            OptionInvalid: A column is missing, or a literal does not fit its type.
        """
        return evaluate_mask(self.node, self.text, rows)

    def __and__(self, other: "Condition") -> "Condition":
        return Condition.parse(f"{self._operand(Any)} and {other._operand(Any)}")

    def __or__(self, other: "Condition") -> "Condition":
        return Condition.parse(f"{self.text} or {other.text}")

    def __invert__(self) -> "Condition":
        """Negate; unknown stays unknown."""
        match self.node:
            case In(column, values):
                return Condition.parse(f"{quote_name(column.name)} not in ({', '.join(map(_written, values))})")
            case IsNull(column):
                return Condition.parse(f"{quote_name(column.name)} is not null")
            case _:
                return Condition.parse(f"not {self._operand(Any, All)}")

    def __str__(self) -> str:
        return self.text

    def _operand(self, *looser: type) -> str:
        return f"({self.text})" if isinstance(self.node, looser) else self.text


@lru_cache(maxsize=256)
def _parsed(text: str) -> Node:
    return parse_tree(text)


def quote_name(name: str) -> str:
    """Quote a column name.

    >>> quote_name('the "best" one')
    '"the ""best"" one"'
    """
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Quote a text value.

    >>> quote_text("o'k")
    "'o''k'"
    """
    return "'" + value.replace("'", "''") + "'"


def _written(value: "str | bool | int | float | Literal") -> str:
    match value:
        case Literal():
            return value.written
        case str():
            return quote_text(value)
        case bool():
            return str(value).lower()
        case _:
            return repr(value)
