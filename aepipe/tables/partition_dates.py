"""Dates of partitions: `dt=2026-02-16`, `year=2026/month=2/day=16` and `events-20260216` are the same day."""

import re
from datetime import UTC, datetime, timedelta

from aepipe.errors import ArgumentInvalid

Date = tuple[int, ...]
"""Year; year and month; or year, month and day."""

_UNITS = (("year", "y", "yyyy"), ("month", "m", "mm"), ("day", "d", "dd"))
_BOUND = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?|(\d{2})(\d{2}))?")
_DAY = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?!\d)")


def parse_date(text: str) -> Date | None:
    """Return the date that a text is: a year, a month or a day; None if it is none.

    >>> parse_date("2026-02"), parse_date("20260216"), parse_date("week-9")
    ((2026, 2), (2026, 2, 16), None)
    """
    found = _BOUND.fullmatch(text)
    return _checked(tuple(int(part) for part in found.groups() if part)) if found else None


def date_of_partition(name: str) -> Date | None:
    """Return the date in a partition's name, or None if it has none or more than one.

    >>> date_of_partition("year=2026/month=02/day=16/hour=3"), date_of_partition("dt=2026-02-16")
    ((2026, 2, 16), (2026, 2, 16))
    """
    parts = [part.partition("=") for part in name.split("/")]
    units = []
    for (key, _, value), names in zip(parts, _UNITS, strict=False):
        if key.lower() not in names or not value.isdigit():
            break
        units.append(int(value))
    if units:
        return _checked(tuple(units))
    days = {(int(year), int(month), int(day)) for year, _, month, day in _DAY.findall(name)}
    return _checked(days.pop()) if len(days) == 1 else None


def _checked(date: Date) -> Date | None:
    limits = ((1, 9999), (1, 12), (1, 31))
    return date if all(low <= unit <= high for unit, (low, high) in zip(date, limits, strict=False)) else None


def day_end(partition: str) -> datetime | None:
    """Return the last moment of the day, month or year of a partition, in UTC; None if its name has no date."""
    date = date_of_partition(partition)
    return None if date is None else end_of(date)


def end_of(date: Date) -> datetime:
    """Return the last moment of a day, month or year, in UTC. Raises ArgumentInvalid for a day that does not exist."""
    year, month, day = (*date, 12, 31)[:3] if len(date) == 1 else (*date, 0)[:3]
    try:
        if day:
            after = datetime(year, month, day, tzinfo=UTC) + timedelta(days=1)
        else:
            after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        name = "-".join(f"{part:02d}" for part in date)
        raise ArgumentInvalid("on", [f"expected a day of the calendar, got {name}. Name another day."]) from None
    return after - timedelta(microseconds=1)
