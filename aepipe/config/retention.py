"""Retention of outputs: an age in days, or a number of partitions."""

import re
from datetime import date, timedelta
from typing import NamedTuple

_DAYS = {"day": 1, "days": 1, "week": 7, "weeks": 7}
_TEXT = re.compile(r"([0-9]{1,6}) *(partitions?|days?|weeks?)?")


class Retention(NamedTuple):
    """Retention of outputs; exactly one of the fields is set."""

    days: int | None = None
    partitions: int | None = None

    def oldest_kept(self, today: date) -> date:
        """Return the first day that is kept under an age.

        >>> Retention(days=90).oldest_kept(date(2026, 4, 1))
        datetime.date(2026, 1, 1)
        """
        return today - timedelta(days=self.days or 0)

    def __str__(self) -> str:
        """Return the value as the job file has it."""
        return f"{self.partitions} partitions" if self.days is None else f"{self.days} days"


def parse_retention(value: int | str) -> Retention:
    """Parse `[output] keep`.

    Raises:
        ValueError: the value is neither a number of partitions nor an age of at least a day.

    >>> parse_retention(30), parse_retention("90 days"), parse_retention("2 weeks")
    (Retention(days=None, partitions=30), Retention(days=90, partitions=None), Retention(days=14, partitions=None))
    """
    found = None if isinstance(value, bool) else _TEXT.fullmatch(str(value).strip())
    count = int(found.group(1)) if found else 0
    if found is None or count < 1:
        raise ValueError(f"expected an age such as '90 days', or a number of partitions such as 30, got {value!r}")
    unit = found.group(2) or "partitions"
    if unit in _DAYS:
        return Retention(days=count * _DAYS[unit])
    return Retention(partitions=count)
