"""Checks of the arguments of Python calls: one sentence that names the argument, what it expects and what it got."""

import math
import numbers
from collections.abc import Iterable
from typing import SupportsIndex

from aepipe.errors import ArgumentInvalid

MOST_SEED = 2**63 - 1


def whole_number(name: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """Return `value` as an int; NumPy integers are accepted, booleans and fractions are not.

    Raises:
        ArgumentInvalid: `value` is not a whole number from `least` to `most`.

    >>> whole_number("rows", 3)
    3
    """
    if not isinstance(value, bool) and isinstance(value, SupportsIndex) and isinstance(value, numbers.Integral):
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ArgumentInvalid(name, [f"expected a whole number {limits}, got {value!r}"])


def real_numbers(name: str, value: object) -> list[float]:
    """Return one number or several as floats. Raises ArgumentInvalid if one of them is not a finite number."""
    found: list[float] = []
    for each in value if isinstance(value, Iterable) and not isinstance(value, str) else [value]:
        if isinstance(each, bool) or not isinstance(each, numbers.Real) or not math.isfinite(each):
            raise ArgumentInvalid(name, [f"expected a finite number, got {each!r}"])
        found.append(float(each))
    return found


def two_of(name: str, value: object, *, such_as: str) -> tuple[object, object]:
    """Return the items of a pair. Raises ArgumentInvalid if `value` is not a tuple or list of two."""
    if isinstance(value, tuple | list) and len(value) == 2:
        return value[0], value[1]
    raise ArgumentInvalid(name, [f"expected {such_as}, got {type(value).__name__}"])


def text(name: str, value: object, *, such_as: str) -> str:
    """Return `value`. Raises ArgumentInvalid if it is not text."""
    if isinstance(value, str):
        return value
    raise ArgumentInvalid(name, [f"expected text such as {such_as}, got {value!r}"])


def one_of(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return `value`. Raises ArgumentInvalid if it is not one of the choices."""
    if isinstance(value, str) and value in choices:
        return value
    raise ArgumentInvalid(name, [f"expected {' or '.join(choices)}, got {value!r}"])


def positions(name: str, value: object, *, rows: int) -> list[int]:
    """Return positions of rows as ints; one number stands for itself.

    Raises:
        ArgumentInvalid: one of them is not a whole number from 0 to `rows` - 1.
    """
    each = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return [whole_number(name, position, most=rows - 1) for position in each]
