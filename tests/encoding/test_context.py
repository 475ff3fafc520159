"""Parts of the event time that a model is conditional on, against Arrow's calendar."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from aepipe.encoding import Encoding
from aepipe.encoding.context import FEWEST_ROWS
from aepipe.errors import SchemaMismatch
from aepipe.layout import FIRST_VALUE, MISSING, UNSEEN
from aepipe.models.layers.preprocessing import GIVEN_SCALE, Preprocessing
from tests.support.columns import encoding_of

HOURS = [datetime(1969, 6, 30, 22) + timedelta(hours=7 * step) for step in range(2_000)]
"""Every hour of the week, on both sides of 1970, in all months."""

ALL = ["hour", "weekday", "month"]


def table_at(times: pa.Array) -> pa.Table:
    return pa.table({"x": np.linspace(0, 1, len(times)), "at": times})


def fitted(times: pa.Array, context: list[str], **columns: object) -> Encoding:
    return encoding_of(table_at(times), dict(columns), event_time="at", context=context)


def codes_of(encoding: Encoding, times: pa.Array) -> np.ndarray:
    return encoding.encode(table_at(times).to_batches()[0]).arrays["given_cat"]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC")])
def test_parts_are_those_of_the_calendar(kind: pa.DataType) -> None:
    times = pa.array(HOURS, pa.timestamp("us")).cast(kind)

    codes = codes_of(fitted(times, ALL), times)

    hour, day, month = pc.hour(times), pc.day_of_week(times), pc.subtract(pc.month(times), 1)
    week_hour = pc.add(pc.multiply(day, 24), hour)
    expected = np.stack([part.to_numpy() for part in (hour, day, month, week_hour)], 1)
    np.testing.assert_array_equal(codes - FIRST_VALUE, expected)


def test_hours_are_those_of_the_zone() -> None:
    times = pa.array([datetime(2026, 1, 5, 4) + timedelta(days=day) for day in range(20)], pa.timestamp("s", "UTC"))

    codes = codes_of(fitted(times.cast(pa.timestamp("s", "America/New_York")), ["hour"]), times)

    assert set(codes[:, 0] - FIRST_VALUE) == {23}


def test_dates_have_a_weekday() -> None:
    days = pa.array([datetime(2026, 1, 5) + timedelta(days=day) for day in range(70)], pa.timestamp("s"))

    codes = codes_of(fitted(days.cast(pa.date32()), ["weekday"]), days.cast(pa.date32()))

    assert codes[:7, 0].tolist() == [FIRST_VALUE + day for day in range(7)]


def test_a_month_that_training_hardly_had_is_unseen_and_adds_nothing() -> None:
    known = [datetime(2026, 1, 1) + timedelta(hours=step) for step in range(300)]
    few = [datetime(2026, 2, 1) + timedelta(hours=step) for step in range(FEWEST_ROWS - 1)]
    encoding = fitted(pa.array([*known, *few], pa.timestamp("s")), ["month"])
    times = pa.array([known[0], few[0], None], pa.timestamp("s"))

    encoded = encoding.encode(table_at(times).to_batches()[0])
    tensors = {name: torch.from_numpy(array) for name, array in encoded.arrays.items()}
    given = Preprocessing(encoding.layout)(tensors).given

    assert encoded.arrays["given_cat"][:, 0].tolist() == [FIRST_VALUE, UNSEEN, MISSING]
    assert encoded.unseen == {"at": 1}
    assert not encoded.invalid.any()
    assert given.sum(1).tolist() == [GIVEN_SCALE, 0, 0]


def test_the_event_time_is_not_decoded_from_its_parts() -> None:
    times = pa.array(HOURS, pa.timestamp("s"))
    encoding = fitted(times, ALL)

    decoded = encoding.decode(encoding.encode(table_at(times).to_batches()[0]).arrays)

    assert decoded.schema.names == ["x"]


def test_a_context_survives_json() -> None:
    encoding = fitted(pa.array(HOURS, pa.timestamp("s")), ALL)

    assert Encoding.model_validate_json(encoding.model_dump_json(by_alias=True)) == encoding


def test_text_with_a_format_has_a_context() -> None:
    texts = pa.array([f"{time:%d.%m.%Y}" for time in HOURS])

    encoding = fitted(texts, ["weekday"], at={"format": "%d.%m.%Y"})

    found = codes_of(encoding, texts)[:, 0] - FIRST_VALUE
    assert found.tolist() == [time.weekday() for time in HOURS]


@pytest.mark.parametrize(
    ("times", "context", "columns", "match"),
    [
        (pa.array([1, 2, 3]), ["hour"], {}, "expected a timestamp or a date, or text with its format"),
        (pa.array([datetime(2026, 1, 1)] * 3, pa.date32()), ["hour"], {}, "has no hour, but data.context names it"),
        (pa.array(HOURS[:3]), ["hour"], {"at": "datetime"}, "is a datetime, but data.context makes it a condition"),
    ],
)
def test_a_context_without_its_parts_is_refused(
    times: pa.Array, context: list[str], columns: dict[str, str], match: str
) -> None:
    with pytest.raises(SchemaMismatch, match=match):
        fitted(times, context, **columns)
