"""Numbers, dates and timestamps that are stored as text. Text that does not parse is a missing value."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from aepipe.tables.arrow_arrays import array_of, plain_values, values_of

SHARE = 0.99
"""Share of sampled texts that must parse for a column to be proposed as numbers or datetimes."""
FEWEST = 20
_MOST_LETTERS = 40
_KEY = b"aepipe.text"
PLAIN_NUMBER = "1234.5"
ISO = "%Y-%m-%d"

_EXPONENT = r"(?:[eE][+-]?\d+)?"
NUMBERS: Mapping[str, str] = {
    PLAIN_NUMBER: rf"(?:\d+\.?\d*|\.\d+){_EXPONENT}",
    "1,234.5": r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?",
    "1.234,5": r"(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?",
    "1 234,5": r"(?:\d{1,3}(?:[ \x{a0}\x{202f}]\d{3})+|\d+)(?:,\d+)?",
}
"""Patterns of numbers without a sign by an example of the notation."""

_CURRENCIES = "$€£¥₹₩₽₺"
_SPACE = "[ \u00a0\u202f]"
_BEFORE = rf"[{_CURRENCIES}]|[A-Z]{{3}} "
_AFTER = rf"{_SPACE}?[%{_CURRENCIES}]|{_SPACE}[A-Z]{{3}}"
"""What a notation may have before and after the number; read by RE2 and by Python alike."""

DATES: Mapping[str, str] = {
    ISO: r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})",
    "%Y/%m/%d": r"(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})",
    "%Y%m%d": r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    "%d.%m.%Y": r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
    "%d/%m/%Y": r"(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{4})",
    "%m/%d/%Y": r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})",
}
"""Patterns of dates by their notation; each may be followed by a time of day."""

_TIME = (
    r"(?P<time>[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<zone>Z|z|UTC|[+-]\d{2}:?(?:\d{2})?)?)?"
)


class Moments(NamedTuple):
    """Parsed dates and times, (B,) each."""

    days: np.ndarray
    """int64, since 1970-01-01."""
    microseconds: np.ndarray
    """int64, since midnight in UTC, or in local time without a zone."""
    has_time: np.ndarray
    has_zone: np.ndarray
    is_valid: np.ndarray


def parse_numbers(texts: pa.Array, notation: str) -> pa.Array:
    """Return the numbers (B,), float64; null where the text is not a number of this notation.

    A currency or a percent sign of the notation stands in each text. Percentages are not divided by 100.

    >>> parse_numbers(pa.array(["1.234,5", "x"]), "1.234,5").to_pylist()
    [1234.5, None]
    >>> parse_numbers(pa.array(["-$1,000", "1,000"]), "$1,234.5").to_pylist()
    [-1000.0, None]

    Raises:
        ValueError: `is_number_notation` denies the notation.
    """
    before, base, after = _parts_of_notation(notation)
    texts = pc.utf8_trim_whitespace(plain_values(texts))
    sign = rf"[+-]?{re.escape(before)}|{re.escape(before)}[+-]?" if before else "[+-]?"
    matches = pc.match_substring_regex(texts, f"^(?:{sign})(?:{NUMBERS[base]}){re.escape(after)}$")
    kept = pc.if_else(matches, texts, pa.nulls(len(texts), pa.string()))
    for affix in (before, after):
        kept = pc.replace_substring(kept, affix, "") if affix else kept
    if base == "1,234.5":
        kept = pc.replace_substring(kept, ",", "")
    elif base != PLAIN_NUMBER:
        kept = pc.replace_substring_regex(kept, r"[. \x{a0}\x{202f}]", "")
        kept = pc.replace_substring(kept, ",", ".")
    return pc.replace_substring_regex(kept, r"^\+", "").cast(pa.float64())


def is_number_notation(notation: str) -> bool:
    """Return whether text is parsed by this notation: one of `NUMBERS`, with a currency or percent sign if wanted.

    >>> is_number_notation("1.234,5 €"), is_number_notation("1234.5%"), is_number_notation("1:5")
    (True, True, False)
    """
    try:
        _parts_of_notation(notation)
    except ValueError:
        return False
    return True


def _parts_of_notation(notation: str) -> tuple[str, str, str]:
    """Split a notation into what stands before the number, one of `NUMBERS`, and what stands after it."""
    for base in NUMBERS:
        before, found, after = notation.partition(base)
        if found and re.fullmatch(f"(?:{_BEFORE})?", before) and re.fullmatch(f"(?:{_AFTER})?", after):
            return before, base, after
    raise ValueError(f"notation '{notation}' is unknown: expected one of {', '.join(NUMBERS)}")


def _with_affixes(texts: pa.Array) -> tuple[str, str]:
    """Return what most often stands before and after the digits of texts, if a notation may have it there."""
    found = pc.extract_regex(texts, rf"^[+-]?(?P<before>{_BEFORE})?[+-]?[\d.].*?(?P<after>{_AFTER})?$")
    before, after = (
        Counter(found.field(index).drop_null().to_pylist()).most_common(1) or [("", 0)] for index in range(2)
    )
    return before[0][0], after[0][0]


def parse_moments(texts: pa.Array, notation: str) -> Moments:
    """Return dates and times of this notation, with an optional time of day and time zone."""
    texts = pc.utf8_trim_whitespace(plain_values(texts))
    parts = pc.extract_regex(texts, f"^{DATES[notation]}{_TIME}$")
    found = {field.name: parts.field(index) for index, field in enumerate(parts.type)}
    year, month, day, hour, minute, second = (
        _integers(found[name]) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    months = np.clip((year - 1970) * 12 + month - 1, -24_000, 120_000).astype("M8[M]")
    first, last = months.astype("M8[D]").astype(np.int64), (months + 1).astype("M8[D]").astype(np.int64)
    is_valid = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= last - first)
    is_valid &= (hour <= 23) & (minute <= 59) & (second <= 59)
    fraction = _integers(pc.utf8_slice_codeunits(pc.utf8_rpad(found["fraction"], 6, "0"), 0, 6))
    shift, has_zone = _minutes_of_zone(found["zone"])
    microseconds = ((hour * 60 + minute - shift) * 60 + second) * 1_000_000 + fraction
    has_time = _is_there(found["time"])
    return Moments(first + day - 1, microseconds, has_time, has_zone, is_valid)


def parse_texts(texts: pa.Array, kind: pa.DataType, notation: str) -> pa.Array:
    """Return the values of a text column: float64, dates or timestamps; null where the text does not parse.

    Args:
        texts: text in any layout; a dictionary is parsed once per value.
        kind: float64, date32 or timestamp[us]. Text with a time of day does not parse as date, text with a time zone
            only as timestamp with one.
        notation: notation of a number, or key of `DATES`.
    """
    if pt.is_dictionary(texts.type):
        return parse_texts(texts.dictionary, kind, notation).take(texts.indices)
    if pt.is_floating(kind):
        return parse_numbers(texts, notation)
    found = parse_moments(texts, notation)
    if pt.is_date(kind):
        return array_of(found.days, kind, ~found.is_valid | found.has_time)
    fits = found.is_valid & (found.has_zone == (kind.tz is not None))
    return array_of(found.days * 86_400_000_000 + found.microseconds, kind, ~fits)


def _integers(texts: pa.Array) -> np.ndarray:
    """Return the integers (B,), int64; 0 for a part that is not there."""
    return values_of(pc.if_else(pc.equal(texts, ""), "0", texts).cast(pa.int64()).fill_null(0))


def _is_there(texts: pa.Array) -> np.ndarray:
    return values_of(pc.fill_null(pc.not_equal(texts, ""), False))


def _minutes_of_zone(zones: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the offset from UTC in minutes, and whether there is one."""
    digits = pc.utf8_rpad(pc.replace_substring_regex(zones, "[^0-9]", ""), 4, "0")
    hours, minutes = (_integers(pc.utf8_slice_codeunits(digits, at, at + 2)) for at in (0, 2))
    sign = np.where(values_of(pc.fill_null(pc.starts_with(zones, "-"), False)), -1, 1)
    return sign * (hours * 60 + minutes), _is_there(zones)


class TextGuess(NamedTuple):
    """Notation that nearly all texts have: its kind, the type of the values, and the share of texts that parse."""

    kind: Literal["number", "datetime"]
    notation: str
    type: pa.DataType
    share: float


def guess_notation(texts: pa.Array, *, least: float = SHARE) -> TextGuess | None:
    """Return the notation that most texts are written in; None if there is none, or too few texts.

    Numbers with leading zeros are codes, not numbers. The day comes first if both orders of day and month are possible.

    Args:
        texts: sampled values; missing and blank ones do not count.
        least: share of texts that must parse.
    """
    known = _known(texts)
    if len(known) < FEWEST:
        return None
    codes = values_of(pc.match_substring_regex(known, r"^\s*[+-]?0\d")).any()
    before, after = _with_affixes(known)
    guesses = [] if codes else [guess_as(known, f"{before}{notation}{after}") for notation in NUMBERS]
    guesses += [guess_as(known, notation) for notation in DATES if notation != "%Y%m%d"]
    best = max(guesses, key=lambda guess: guess.share)
    return best if best.share >= least else None


def guess_as(texts: pa.Array, notation: str) -> TextGuess:
    """Return the share of texts in a notation, and the type that most of those have."""
    known = _known(texts)
    if notation not in DATES:
        valid = len(known) - parse_numbers(known, notation).null_count
        return TextGuess("number", notation, pa.float64(), valid / max(1, len(known)))
    found = parse_moments(known, notation)
    zoned, timed = found.has_zone[found.is_valid], found.has_time[found.is_valid]
    is_zoned = 2 * int(zoned.sum()) > len(zoned)
    kind = pa.timestamp("us", "UTC") if is_zoned else pa.timestamp("us") if timed.any() else pa.date32()
    valid = int((found.is_valid & (found.has_zone == is_zoned)).sum())
    return TextGuess("datetime", notation, kind, valid / max(1, len(known)))


def joined_texts(texts: pa.ChunkedArray) -> pa.Array:
    """Return the chunks of a text column in any layout as one array of plain text."""
    return pa.concat_arrays([pa.nulls(0, pa.string()), *(plain_values(chunk) for chunk in texts.chunks)])


def count_unparsed(texts: pa.Array, parsed: pa.Array) -> int:
    """Return the number of texts that are neither missing nor blank, and did not parse."""
    if len(texts) == 0 or parsed.null_count == 0:
        return 0
    written = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(plain_values(texts)), ""), False)
    return int(np.count_nonzero(values_of(written) & values_of(pc.is_null(parsed))))


def text_field(field: pa.Field, guess: TextGuess) -> pa.Field:
    """Return the field of the values that a text column is parsed to; `notation_of` reads its notation."""
    return pa.field(field.name, guess.type, field.nullable, metadata={_KEY: guess.notation})


def notation_of(field: pa.Field) -> str | None:
    """Return the notation that text is parsed by to become a column of this field; None for other fields."""
    notation = (field.metadata or {}).get(_KEY)
    return None if notation is None else notation.decode()


def _known(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(plain_values(texts))
    return trimmed.filter(pc.fill_null(pc.not_equal(trimmed, ""), False))


def short_time(text: str) -> str:
    """Drop a fraction of a second that is zero from a time as Arrow writes it.

    >>> short_time("2026-01-01 00:00:00.000000Z"), short_time("2026-01-01 00:00:00.000000001")
    ('2026-01-01 00:00:00Z', '2026-01-01 00:00:00.000000001')
    """
    return re.sub(r"(:\d\d)\.0+(?!\d)", r"\1", text)


def shortened(value: object) -> str:
    """Return the start of a value in quotes, for a message.

    >>> shortened("disk"), shortened("x" * 50)
    ("'disk'", "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'")
    """
    text = str(value)
    return repr(text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}...")
