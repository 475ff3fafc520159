"""Scaling of channels against numpy, and times of every type as microseconds."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from aepipe.errors import SchemaMismatch
from aepipe.series.scaling import Scaling
from aepipe.series.stage import entities_of, parsed_times, times_of
from aepipe.tables.text_values import ISO, PLAIN_NUMBER, TextGuess, text_field

RNG = np.random.default_rng(0)
ENTITY = np.repeat([0, 1, 2], 50)
VALUES = np.column_stack([RNG.normal(10 * ENTITY, 1 + ENTITY), np.where(ENTITY == 2, 7.0, RNG.normal(size=150))])


def _fit(scale: str) -> Scaling:
    return Scaling.fit(("a", "b", "constant"), ENTITY, VALUES, scale=scale)  # type: ignore[arg-type]


def test_each_entity_is_standardised_by_its_own_rows() -> None:
    scaled = _fit("entity").apply(("a", "b", "constant"), ENTITY, VALUES)

    for code in range(3):
        mine = VALUES[code == ENTITY][:, 0]
        assert_allclose(scaled[code == ENTITY][:, 0], (mine - mine.mean()) / mine.std(), rtol=1e-4, atol=1e-5)


def test_a_constant_channel_has_the_deviation_of_all_entities() -> None:
    scaled = _fit("entity").apply(("constant",), np.zeros(1, np.int64), np.array([[20.0, 8.0]]))

    assert_allclose(scaled[0, 1], 1 / VALUES[:, 1].std(), rtol=1e-5)


def test_an_unseen_entity_is_scaled_like_all_entities_together() -> None:
    unseen = _fit("entity").apply(("new",), np.zeros(150, np.int64), VALUES)

    assert_allclose(unseen, (VALUES - VALUES.mean(axis=0)) / VALUES.std(axis=0), rtol=1e-4, atol=1e-5)
    assert_allclose(_fit("pooled").apply(("a",), np.zeros(150, np.int64), VALUES), unseen)


def test_missing_values_stay_missing_and_huge_ones_stay_finite() -> None:
    values = np.array([[np.nan, 1e300], [1.0, -1e300]])

    scaled = _fit("none").apply(("a",), np.zeros(2, np.int64), values)

    assert np.isnan(scaled[0, 0])
    assert scaled[:, 1].tolist() == [1e6, -1e6]


def test_a_clock_with_a_zone_does_not_repeat_an_hour_and_one_without_does() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    moments = [datetime(2026, 10, 25, 2, 30, tzinfo=summer), datetime(2026, 10, 25, 2, 30, tzinfo=winter)]

    aware, _ = times_of(pa.array(moments, pa.timestamp("us", "Europe/Berlin")))
    local, _ = times_of(pa.array([moment.replace(tzinfo=None) for moment in moments], pa.timestamp("us")))

    assert np.diff(aware).tolist() == [3_600_000_000]
    assert np.diff(local).tolist() == [0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([date(1970, 1, 2), None]),
        pa.array(["1970-01-02 00:00:00", None]),
        pa.array(["1970-01-02", ""]),
        pa.array(["1970-01-02T00:00:00Z", "yesterday"]),
        pa.array(["1970-01-02T01:00:00.000+01:00", None]),
        pa.array([86_400.0, None]),
        pa.array([datetime(1970, 1, 2), None], pa.timestamp("s")),
    ],
)
def test_times_are_microseconds_whatever_their_type(column: pa.Array) -> None:
    times, absent = times_of(column)

    assert times[0] == 86_400_000_000
    assert absent.tolist() == [False, True]


@pytest.mark.parametrize("column", [pa.array(["yesterday"]), pa.array([[1]]), pa.array([True])])
def test_columns_that_are_not_times_are_refused(column: pa.Array) -> None:
    with pytest.raises(SchemaMismatch, match="the event time"):
        times_of(column)


def test_text_that_is_not_a_time_is_refused_with_the_remedy() -> None:
    with pytest.raises(SchemaMismatch, match=r"such as '02.01.1970': expected ISO 8601. Name its format"):
        times_of(pa.array(["02.01.1970"]))


@pytest.mark.parametrize(
    ("texts", "kind", "notation"),
    [
        (["02.01.1970", "?", None], pa.date32(), "%d.%m.%Y"),
        (["1970-01-02T02:00+02:00", "1970-01-02", None], pa.timestamp("us", "UTC"), ISO),
        (["86400", "soon", None], pa.float64(), PLAIN_NUMBER),
    ],
)
def test_text_of_a_named_format_is_parsed_as_a_time(texts: list[str | None], kind: pa.DataType, notation: str) -> None:
    field = text_field(pa.field("at", pa.string()), TextGuess("datetime", notation, kind, 1.0))

    times, absent = parsed_times(pa.array(texts), field)

    assert times[0] == 86_400_000_000
    assert absent.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1_767_225_600]), pa.timestamp("us")),
        (pa.array([1_767_225_600]), pa.float64()),
        (pa.array([1.5]), pa.int64()),
        (pa.array([datetime(2026, 1, 1)]), pa.int64()),
    ],
)
def test_times_in_another_unit_than_in_training_are_refused(column: pa.Array, kind: pa.DataType) -> None:
    with pytest.raises(SchemaMismatch, match=r"'at' is .*, but the model was trained on .*\. Write it as"):
        parsed_times(column, pa.field("at", kind))

    assert parsed_times(pa.nulls(1), pa.field("at", kind))[1].tolist() == [True]


def test_entities_of_several_columns_have_one_code_over_all_batches() -> None:
    first = pa.RecordBatch.from_pydict({"plant": ["x", "y"], "line": [1, 1]})
    second = pa.RecordBatch.from_pydict({"plant": ["y", "x"], "line": [1, 2]})

    names, codes = entities_of([first, second], ("plant", "line"))

    assert [names[code] for code in codes] == ["x,1", "y,1", "y,1", "x,2"]
