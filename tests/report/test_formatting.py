"""Formatting of numbers and texts."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from aepipe.report import formatting


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.5, "0.500"),
        (-12.345, "-12.3"),
        (99.96, "100"),
        (123456.7, "123,457"),
        (2.5e9, "2.50 \N{MULTIPLICATION SIGN} 10⁹"),
        (-4.56e-7, "-4.56 \N{MULTIPLICATION SIGN} 10⁻⁷"),
        (float("inf"), "∞"),
        (float("nan"), "\N{EN DASH}"),
        (None, "\N{EN DASH}"),
    ],
)
def test_number_keeps_three_significant_digits(value, shown):
    assert plain(formatting.number(value)) == shown


def test_trimmed_number_has_no_trailing_zeros():
    assert [plain(formatting.number(v, trim=True)) for v in (0.5, 2.5e9, 100.0, 3.0)] == [
        "0.5",
        "2.5 \N{MULTIPLICATION SIGN} 10⁹",
        "100",
        "3",
    ]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0307, "3.1 %"), (0.5, "50.0 %"), (0.00123, "0.12 %"), (1e-9, "< 0.001 %"), (0.0, "0 %"), (1.0, "100.0 %")],
)
def test_percent_has_one_digit_or_two_significant_ones(share, shown):
    assert plain(formatting.percent(share)) == shown


def test_trimmed_percent_matches_the_alpha_of_a_job():
    assert plain(formatting.percent(0.05, trim=True)) == "5 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0342, "34.2 ms"), (12.3, "12.3 s"), (200.0, "3 min 20 s"), (3900.0, "1 h 5 min"), (None, "\N{EN DASH}")],
)
def test_seconds_use_a_suitable_unit(value, shown):
    assert plain(formatting.seconds(value)) == shown


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, "0 B"), (512, "512 B"), (12_345, "12.3 kB"), (999_700, "1.00 MB"), (10**16, "10,000 TB")],
)
def test_size_uses_a_suitable_unit(n, shown):
    assert plain(formatting.size(n)) == shown


def test_moment_is_in_utc_if_the_zone_is_known():
    east = timezone(timedelta(hours=2))

    assert formatting.moment(datetime(2026, 11, 21, 15, 5, tzinfo=east)) == "2026-11-21 13:05 UTC"
    assert formatting.moment(datetime(2026, 11, 21, 13, 5, tzinfo=UTC)) == "2026-11-21 13:05 UTC"
    assert formatting.moment(datetime(2026, 11, 21, 13, 5)) == "2026-11-21 13:05"


def test_text_is_one_bounded_line_without_control_characters():
    shown = formatting.text("a\x00b\nc\u202ed" + "x" * 10_000_000, most=20)

    assert shown.isprintable()
    assert len(shown) == 20
