import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding.datetime import DatetimeCodec
from aepipe.layout import FIRST_VALUE, MISSING
from tests.support.columns import DATETIMES, PER_SECOND, batch_of, comparable, encoding_of, one_column

many = settings(max_examples=150)


def codec_of(array: pa.Array) -> DatetimeCodec:
    (codec,) = one_column(array).codecs
    assert isinstance(codec, DatetimeCodec)
    return codec


def stamps(*texts: str | None, unit: str = "s", zone: str | None = None) -> pa.Array:
    moments = pa.array(texts, pa.string()).cast(pa.timestamp(unit))
    return pa.compute.assume_timezone(moments, zone) if zone else moments


@many
@given(st.one_of(*DATETIMES.values()))
def test_a_time_comes_back_to_the_day_the_second_or_eight_milliseconds(array: pa.Array) -> None:
    encoding = one_column(array)
    kind = array.type
    finer = not pa.types.is_date(kind) and kind.unit != "s"
    allowed = PER_SECOND[kind.unit] // 128 if finer else 0
    seconds = PER_SECOND[kind.unit] if finer else 1

    found = comparable(encoding.decode(encoding.encode(batch_of(array)).arrays).column(0))

    for one, value in zip(found, comparable(array), strict=True):
        whole = value is not None and all(v is None or v % seconds == 0 for v in comparable(array))
        assert one == value if value is None or whole else abs(one - value) <= allowed


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_week_weekday_and_time_are_those_of_the_calendar(unit: str) -> None:
    ticks = np.random.default_rng(1).integers(-(10**9) * 8, 10**9 * 8, 400)
    array = pa.array(ticks * PER_SECOND[unit]).cast(pa.timestamp(unit))
    calendar = pd.Series(ticks.astype("datetime64[s]")).dt

    codec = codec_of(array)
    (weeks, times), (weekdays,) = codec.encode(array).numbers, codec.encode(array).codes

    midnights = calendar.normalize()
    mondays = midnights - pd.to_timedelta(calendar.day_of_week, unit="D")
    assert weekdays.tolist() == (calendar.day_of_week + FIRST_VALUE).tolist()
    assert weeks.tolist() == ((mondays - mondays.min()).dt.days // 7).tolist()
    assert times.tolist() == (pd.Series(ticks) - midnights.astype("int64")).tolist()
    assert codec.week.low == 0


def test_dates_have_no_time_of_day_and_neither_have_timestamps_at_midnight() -> None:
    assert codec_of(pa.array([1, 2], pa.date32())).time is None
    assert codec_of(stamps("2026-01-01", "2026-01-02")).time is None
    assert codec_of(stamps("2026-01-01", "2026-01-02 00:00:01")).time is not None


def test_a_zone_is_kept_and_its_weekday_counts() -> None:
    array = stamps("2026-01-05 23:30", "2026-01-06 00:30", "2026-01-07 12:00", zone="America/Los_Angeles")

    encoding = one_column(array)
    encoded = encoding.encode(batch_of(array))

    assert (encoded.arrays["cat"][:, 0] - FIRST_VALUE).tolist() == [0, 1, 2]
    assert encoded.arrays["num"][:, 1].tolist() == [23.5 * 3600, 0.5 * 3600, 12 * 3600]
    assert encoding.decode(encoded.arrays).column(0).equals(array)


def test_the_hour_that_summer_time_repeats_comes_back_as_two() -> None:
    array = pa.array([1792890000 + 1800 * step for step in range(8)], pa.timestamp("s", tz="Europe/Berlin"))

    encoding = one_column(array)

    assert encoding.decode(encoding.encode(batch_of(array)).arrays).column(0).equals(array)


def test_timestamps_in_another_unit_or_zone_are_the_same_moments() -> None:
    array = stamps("2026-01-05 23:30", "1955-06-07 01:02:03", unit="us", zone="Europe/Berlin")
    encoding = one_column(array)

    expected = encoding.encode(batch_of(array)).arrays
    for kind in (pa.timestamp("ns", tz="Europe/Berlin"), pa.timestamp("s", tz="UTC"), pa.timestamp("ms", tz="+03:00")):
        found = encoding.encode(batch_of(array.cast(kind))).arrays
        assert np.array_equal(found["num"], expected["num"])
        assert np.array_equal(found["cat"], expected["cat"])


@pytest.mark.parametrize(
    ("times", "step"),
    [
        (["2026-01-01 03:00", "2026-01-02 07:00"], 3600),
        (["2026-01-01 03:15", "2026-01-02 07:00"], 60),
        (["2026-01-01 03:15:01", "2026-01-02 07:00"], 1),
    ],
)
def test_decoded_times_keep_the_resolution_of_the_training_times(times: list[str], step: int) -> None:
    array = stamps(*times)
    encoding = one_column(array)
    arrays = {"num": np.array([[0.2, 12345.6]], np.float32), "cat": np.array([[6]], np.int32)}

    (found,) = comparable(encoding.decode(arrays).column(0))

    assert codec_of(array).step == step
    assert found % 86400 == round(12345.6 / step) * step


def test_a_missing_time_is_missing_in_every_feature_and_invalid_where_training_had_none() -> None:
    never, sometimes = stamps("2026-01-01 01:00", "2026-01-02"), stamps("2026-01-01 01:00", None)
    tonight = batch_of(stamps(None))

    strict, lenient = one_column(never), one_column(sometimes)

    assert strict.invalid_reasons[strict.encode(tonight).invalid[0]] == "x is missing, and never was in training"
    assert np.isfinite(strict.encode(tonight).arrays["num"]).all()
    assert lenient.encode(tonight).invalid.tolist() == [0]
    assert np.isnan(lenient.encode(tonight).arrays["num"]).all()
    assert lenient.encode(tonight).arrays["cat"].tolist() == [[MISSING]]


def test_missing_is_what_the_week_says() -> None:
    encoding = one_column(stamps("2026-01-01 01:00", None, "2026-01-14 23:00"))
    arrays = {
        "num": np.array([[np.nan, 3600], [1, np.nan], [2, 0]], np.float32),
        "cat": np.array([[5], [MISSING], [3]], np.int32),
    }

    found = encoding.decode(arrays).column(0).to_pylist()

    assert found[0] is None
    assert found[1] == datetime.datetime(2026, 1, 5, 12)
    assert found[2] == datetime.datetime(2026, 1, 12)


def test_the_ends_of_the_nanosecond_range_neither_overflow_nor_leave_it() -> None:
    array = pa.array([-(2**63) + 1, 0, 2**63 - 1], pa.timestamp("ns"))
    encoding = one_column(array)
    far = {"num": np.array([[-1e9, 0], [1e9, 86399]], np.float32), "cat": np.array([[3], [9]], np.int32)}

    found = comparable(encoding.decode(far).column(0))

    assert found[0] >= -(2**63) + 1
    assert found[1] <= 2**63 - 1
    assert np.isfinite(encoding.encode(batch_of(array)).arrays["num"]).all()


def test_a_sentinel_far_in_the_future_bends_the_scale_instead_of_flattening_the_rest() -> None:
    days = [*range(20_000, 20_365), 2_932_896]

    week = encoding_of(pa.table({"x": pa.array(days, pa.date32())})).layout.numbers[0]

    assert week.transform == "log"


def test_a_time_of_day_needs_no_date() -> None:
    array = pa.array([datetime.time(1, 2, 3), datetime.time(23, 59, 59), None], pa.time64("us"))
    encoding = one_column(array)

    encoded = encoding.encode(batch_of(array))

    assert [number.name for number in encoding.layout.numbers] == ["x.time"]
    assert encoded.arrays["num"][:2, 0].tolist() == [3723, 86399]
    assert encoding.decode(encoded.arrays).column(0).equals(array)
