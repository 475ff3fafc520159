"""Text formatting of numbers and values: thousands separators, three significant digits, units."""

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from itertools import pairwise

NONE = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"
_TIMES = f"{_SPACE}\N{MULTIPLICATION SIGN}{_SPACE}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_CUT = "…"


def count(value: int) -> str:
    """Format a whole number with all digits.

    >>> count(1204)
    '1,204'
    """
    return f"{value:,}".replace("-", _MINUS)


def number(value: float | None, *, trim: bool = False) -> str:
    """Format a number with three significant digits, from 100 on as a whole number; `trim` drops trailing zeros.

    >>> print(number(0.5), number(0.5, trim=True), number(12.345), number(123456.7), sep="; ")
    0.500; 0.5; 12.3; 123,457
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else _MINUS + "∞"
    size = abs(value)
    if size == 0:
        return "0"
    if 1e-4 <= size < 1e7:
        text = f"{value:,.0f}" if size >= 99.95 else f"{value:#.3g}" if size >= 1e-3 else f"{value:.3g}"
    else:
        digits, exponent = f"{value:.2e}".split("e")
        text = f"{digits}{_TIMES}10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return (_trimmed(text) if trim else text).replace("-", _MINUS)


def ticks(values: Sequence[float], *, within: float = 0.05) -> list[str]:
    """Format the tick values of an axis, each accurate to `within` of the smallest step.

    >>> ticks([0.0, 0.5, 1.0]), ticks([1012.5, 1013.0, 1013.5])
    (['0', '0.5', '1'], ['1,012.5', '1,013', '1,013.5'])
    """
    ordered = sorted({float(value) for value in values})
    step = min((b - a for a, b in pairwise(ordered)), default=0.0)
    largest = max((abs(value) for value in ordered), default=0.0)
    for digits in range(10 if 1e-3 <= largest < 1e7 else 0):
        if all(abs(round(value, digits) - value) <= within * step for value in ordered):
            return [_trimmed(f"{value:,.{digits}f}").replace("-", _MINUS) for value in values]
    return [number(value, trim=True) for value in values]


def percent(share: float | None, *, trim: bool = False) -> str:
    """Format a share of 0 to 1 in per cent: one decimal, or two significant digits below one per cent."""
    if share is None or math.isnan(share):
        return NONE
    value = 100 * share
    if 0 < value < 0.001:
        return f"<{_SPACE}0.001{_SPACE}%"
    text = "0" if value == 0 else f"{value:.1f}" if value >= 1 else _trimmed(f"{value:.2g}")
    return (_trimmed(text) if trim else text) + _SPACE + "%"


def seconds(value: float | None) -> str:
    """Format a duration in ms, s, min or h."""
    if value is None or math.isnan(value):
        return NONE
    if value < 0.1:
        return (number(1000 * value) + " ms").replace(" ", _SPACE)
    if value < 100:
        return number(value) + _SPACE + "s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s".replace(" ", _SPACE)
    return f"{count(minutes // 60)} h {minutes % 60} min".replace(" ", _SPACE)


def size(n: int) -> str:
    """Format a number of bytes in B, kB, MB, GB or TB."""
    value, units = float(n), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.5 and unit != "TB":
        value, unit = value / 1000, next(units)
    return (count(n) if unit == "B" else number(value)) + _SPACE + unit


def moment(value: datetime) -> str:
    """Format a time to the minute, in UTC if its zone is known.

    >>> moment(datetime(2026, 11, 21, 13, 5, tzinfo=UTC))
    '2026-11-21 13:05 UTC'
    """
    if value.tzinfo is None:
        return value.strftime("%Y-%m-%d %H:%M")
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def cell(value: object, *, most: int = 80) -> str:
    """Format a source value: numbers shortened, other values truncated to `most` characters.

    >>> cell(2026), cell(123456), cell(3.14159), cell(None), cell(b"abc"), cell("a" * 9, most=5)
    ('2026', '123,456', '3.14', '–', '3 bytes', 'aaaa…')
    """
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value).replace("-", _MINUS) if abs(value) < 10_000 else count(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, bytes | bytearray):
        return f"{count(len(value))} bytes"
    if isinstance(value, datetime | date | time):
        return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    return text(value, most=most)


def key(value: object) -> str:
    """Format a key; a whole number has no separators, since it is an identifier.

    >>> key(123456)
    '123456'
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else cell(value)


def text(value: object, *, most: int = 80) -> str:
    r"""Format a value as one line of printable text, truncated to `most` characters.

    >>> text("two\nlines"), text("abcdef", most=4)
    ('two lines', 'abc…')
    """
    # Only twice the length is processed, so that a cell of a megabyte is cheap.
    line = "".join(c if c.isprintable() else " " for c in str(value)[: 2 * most])
    return line if len(line) <= most else line[: most - 1] + _CUT


def format_counts(counts: Iterable[tuple[str, int]]) -> str:
    """Format counts with their names, most frequent first.

    >>> format_counts([("a", 1), ("b", 1200)])
    'b: 1,200, a: 1'
    """
    return ", ".join(f"{name}: {count(n)}" for name, n in sorted(counts, key=lambda pair: -pair[1]))


def _trimmed(text: str) -> str:
    digits, times, exponent = text.partition(_TIMES)
    return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + times + exponent
