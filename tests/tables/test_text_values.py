import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.tables.text_values import (
    DATES,
    ISO,
    NUMBERS,
    PLAIN_NUMBER,
    guess_notation,
    is_number_notation,
    parse_moments,
    parse_numbers,
    parse_texts,
)


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)))
def test_what_python_writes_of_a_number_is_parsed_to_the_same_number(values: list[float | None]) -> None:
    texts = pa.array([None if value is None else repr(value) for value in values], pa.string())

    assert parse_numbers(texts, PLAIN_NUMBER).to_pylist() == values


@pytest.mark.parametrize("notation", NUMBERS)
@given(units=st.integers(-(10**9), 10**9))
def test_numbers_with_separators_are_parsed_by_their_notation(notation: str, units: int) -> None:
    text = f"{units / 100:,.2f}".translate(
        {
            PLAIN_NUMBER: str.maketrans({",": None}),
            "1,234.5": {},
            "1.234,5": str.maketrans(",.", ".,"),
            "1 234,5": str.maketrans(",.", "\u00a0,"),
        }[notation]
    )

    assert parse_numbers(pa.array([f" {text} "]), notation).to_pylist() == [units / 100]


@pytest.mark.parametrize(
    ("before", "base", "after"),
    [
        ("$", "1,234.5", ""),
        ("EUR ", "1.234,5", ""),
        ("", "1 234,5", " €"),
        ("", "1234.5", "%"),
        ("", "1.234,5", " CHF"),
    ],
)
@given(units=st.lists(st.integers(-(10**9), 10**9), min_size=20, max_size=25, unique=True))
def test_currency_and_percent_signs_are_found_and_parsed(before: str, base: str, after: str, units: list[int]) -> None:
    plain = [f"{abs(value) / 100:,.2f}" for value in [*units, 123_456_789]]
    changes: dict[str, dict[int, str | None]] = {
        PLAIN_NUMBER: str.maketrans({",": None}),
        "1,234.5": {},
        "1.234,5": str.maketrans(",.", ".,"),
        "1 234,5": str.maketrans(",.", " ,"),
    }
    signs = ["-" if value < 0 else "" for value in [*units, 0]]
    texts = [f"{sign}{before}{text.translate(changes[base])}{after}" for sign, text in zip(signs, plain, strict=True)]

    guess = guess_notation(pa.array(texts))

    assert guess is not None and guess.notation == f"{before}{base}{after}"
    assert parse_numbers(pa.array(texts), guess.notation).to_pylist() == [
        value / 100 for value in [*units, 123_456_789]
    ]


@pytest.mark.parametrize("text", ["--$1", "-$-1", "1", "$1$", "$", "$ 1", "€1"])
def test_text_without_the_sign_of_its_notation_is_missing(text: str) -> None:
    assert parse_numbers(pa.array([text]), "$1234.5").to_pylist() == [None]


@pytest.mark.parametrize("notation", ["", "$", "1:5", "x1234.5", "1234.5 dollars", "%1234.5", "12345"])
def test_other_notations_are_unknown(notation: str) -> None:
    assert not is_number_notation(notation)
    with pytest.raises(ValueError, match="is unknown: expected one of"):
        parse_numbers(pa.array(["1"]), notation)


@pytest.mark.parametrize("text", ["", " ", "x", "1,2", "1.2.3", "--1", "1e", "0x10", "١٢", "1_000", "NaN", "inf"])
def test_text_that_is_not_a_number_is_missing(text: str) -> None:
    assert parse_numbers(pa.array([text, None]), PLAIN_NUMBER).to_pylist() == [None, None]


@pytest.mark.parametrize("notation", DATES)
@given(days=st.lists(st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)), min_size=1, max_size=5))
def test_dates_are_parsed_by_their_notation(notation: str, days: list[dt.date]) -> None:
    texts = [
        notation.replace("%Y", f"{day.year:04d}").replace("%m", f"{day.month:02d}").replace("%d", f"{day.day:02d}")
        for day in days
    ]

    assert parse_texts(pa.array(texts), pa.date32(), notation).to_pylist() == days


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


@given(st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)), ZONES, st.sampled_from(["T", " "]))
def test_timestamps_are_the_moments_that_python_reads(moment: dt.datetime, zone: dt.timezone, between: str) -> None:
    local, zoned = moment.isoformat(between), moment.replace(tzinfo=zone)

    plain = parse_texts(pa.array([local]), pa.timestamp("us"), ISO)
    aware = parse_texts(pa.array([zoned.isoformat(between)]), pa.timestamp("us", "UTC"), ISO)

    assert plain.to_pylist() == [moment]
    assert aware.cast(pa.int64()).to_pylist() == [
        (zoned - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    ]


@pytest.mark.parametrize(
    "text",
    ["2026-02-29", "2026-13-01", "2026-00-10", "2026-01-00", "2026-01-01T24:00", "2026-01-01 10:60", "26-01-01", "x"],
)
def test_dates_that_do_not_exist_are_missing(text: str) -> None:
    assert not parse_moments(pa.array([text]), ISO).is_valid[0]


def test_a_time_or_a_zone_that_the_type_lacks_is_missing() -> None:
    texts = pa.array(["2026-01-01", "2026-01-01T10:00", "2026-01-01T10:00Z"])

    assert parse_texts(texts, pa.date32(), ISO).null_count == 2
    assert [value is None for value in parse_texts(texts, pa.timestamp("us"), ISO).to_pylist()] == [False, False, True]
    assert [value is None for value in parse_texts(texts, pa.timestamp("us", "UTC"), ISO).to_pylist()] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_every_layout_of_text_is_parsed(kind: pa.DataType) -> None:
    texts = pa.array(["1.5", None, "x", "1.5"]).cast(kind)

    assert parse_texts(texts, pa.float64(), PLAIN_NUMBER).to_pylist() == [1.5, None, None, 1.5]
    assert np.array_equal(parse_texts(texts.slice(3), pa.float64(), PLAIN_NUMBER).to_pylist(), [1.5])
