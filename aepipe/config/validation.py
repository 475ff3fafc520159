"""Parts that sections of a job file share: the error style `expected X, got Y`, and conditions on rows."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic_core import ErrorDetails

if TYPE_CHECKING:
    from aepipe.expressions.condition import Condition

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "a smaller integer",
    "int_type": "an integer",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "a table",
    "model_type": "a table",
    "path_type": "a path",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_type": "text",
    "tuple_type": "a list",
}


def describe_fault(fault: ErrorDetails) -> str:
    """Return `expected X, got Y` for a fault of a value, or the message of a validator of ours.

    >>> describe_fault({"type": "less_than", "loc": (), "msg": "", "input": 1.0, "ctx": {"lt": 1}})
    'expected less than 1, got 1.0'
    """
    if fault["type"] in ("value_error", "assertion_error"):
        return fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault["type"] in _EXPECTED:
        context = {
            key: f"{value:g}" if isinstance(value, float) else value for key, value in fault.get("ctx", {}).items()
        }
        expected = f"expected {_EXPECTED[fault['type']].format(**context)}"
        if fault["type"] == "literal_error":  # as TOML writes them
            expected = re.sub(r"(?<!')\b(True|False)\b", lambda found: found[0].lower(), expected)
    else:
        expected = fault["msg"].replace("Input should be", "expected", 1)
    return f"{expected}, got {fault['input']!r}"


def infinite_numbers(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield path and value of each number of a document that is infinite or NaN: records are JSON, which has neither.

    >>> list(infinite_numbers({"train": {"weight_decay": math.inf, "search": {"train": {"trim": [0.1, math.inf]}}}}))
    [(('train', 'weight_decay'), inf), (('train', 'search', 'train', 'trim', '1'), inf)]
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from infinite_numbers(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from infinite_numbers(item, (*path, str(index)))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, value


def parsed_condition(text: str | None) -> "Condition | None":
    """Parse the condition of a section; None without one."""
    from aepipe.expressions.condition import Condition  # pyarrow.compute: not for commands that read no rows

    return Condition.parse(text) if text else None
