"""Points of a long table, scored partition by partition, against scores of the whole series computed by numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aepipe.batch.series.neighbours import find_neighbours
from aepipe.bundles.bundle import Bundle
from aepipe.errors import TooManyInvalid
from tests.support.long_series import (
    MINUTE,
    START,
    calibrated,
    expected_scores,
    long_table,
    read_all,
    score_all,
    series_bundle,
    write_partitions,
)

WINDOW = 5
many = settings(max_examples=15)


def _values(steps: int = 40, seed: int = 0, channels: int = 1) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(seed).normal(size=(steps, channels)).astype(np.float32)
    return found if channels > 1 else found[:, 0]


@pytest.fixture
def table() -> pa.Table:
    return long_table({"a": _values(seed=1), "b": _values(seed=2)})


@pytest.fixture
def bundle(tmp_path: Path, table: pa.Table) -> Bundle:
    return series_bundle(tmp_path, table, window=WINDOW)


def _score(bundle: Bundle, folder: Path, parts: list[pa.Table], **options: Any) -> pa.Table:
    partitions = write_partitions(folder / "rows", parts)
    score_all(bundle, partitions, folder / "out", **options)
    return read_all(partitions, folder / "out")


def _by_point(scores: pa.Table) -> dict[tuple[str, Any], float]:
    keys = zip(scores["machine"].to_pylist(), scores["at"].to_pylist(), strict=True)
    return dict(zip(keys, scores["score"].to_pylist(), strict=True))


def _days(table: pa.Table, steps: int) -> list[pa.Table]:
    """Cut a table into partitions of equal numbers of steps."""
    minutes = (table["at"].cast(pa.int64()).to_numpy() - START) // MINUTE
    return [table.filter(pa.array(minutes // steps == day)) for day in range(int(minutes.max()) // steps + 1)]


def test_scores_are_means_over_covering_windows_in_the_order_of_the_source(tmp_path: Path, bundle: Bundle) -> None:
    values = {"a": _values(seed=1), "b": _values(seed=2)}
    table = long_table(values)
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))

    scores = _score(bundle, tmp_path, [shuffled])

    assert scores["at"].equals(shuffled["at"])
    assert scores["machine"].equals(shuffled["machine"])
    for entity, series in values.items():
        mine = scores.filter(pc.equal(scores["machine"], entity)).sort_by("at")
        assert_allclose(mine["score"], expected_scores(series, WINDOW), rtol=1e-5)
        assert mine["windows"].to_pylist() == [1, 2, 3, 4, *[5] * 32, 4, 3, 2, 1]
    assert scores["invalid_reason"].null_count == scores.num_rows


@pytest.mark.slow
@given(cuts=st.lists(st.integers(1, 39), max_size=5, unique=True), seed=st.integers(0, 5))
@many
def test_revised_scores_do_not_depend_on_partitions_or_order(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("series")
    values = {"a": _values(seed=1), "b": _values(20, seed=2)}
    table = long_table(values)
    bundle = series_bundle(folder, table, window=WINDOW, revise=True)
    minutes = (table["at"].cast(pa.int64()).to_numpy() - START) // MINUTE
    part = np.searchsorted(sorted(cuts), minutes, side="right")
    shuffle = np.random.default_rng(seed).permutation
    parts = [table.filter(pa.array(part == number)) for number in range(len(cuts) + 1)]
    parts = [each.take(shuffle(each.num_rows)) for each in parts]

    found = _by_point(_score(bundle, folder, parts))

    for entity, series in values.items():
        times = table.filter(pc.equal(table["machine"], entity))["at"].to_pylist()
        assert_allclose([found[entity, time] for time in times], expected_scores(series, WINDOW), rtol=1e-6)


@pytest.mark.parametrize(("steps", "count"), [pytest.param(1, 0, marks=pytest.mark.slow), (7, 26), (20, 56)])
def test_points_whose_windows_have_all_arrived_have_the_scores_of_one_file(
    tmp_path: Path, bundle: Bundle, table: pa.Table, steps: int, count: int
) -> None:
    whole = _score(bundle, tmp_path / "whole", [table])
    days = _score(bundle, tmp_path / "days", _days(table, steps))

    settled = days.filter(pc.equal(days["windows"], WINDOW))
    expected = _by_point(whole)
    for point, score in _by_point(settled).items():
        assert score == pytest.approx(expected[point], rel=1e-6)
    assert settled.num_rows == count
    assert days["score"].null_count == (8 if steps == 1 else 0), "no window ends in the first four steps"


def test_a_late_point_scores_its_partition_and_the_next_again(tmp_path: Path, bundle: Bundle, table: pa.Table) -> None:
    days = _days(table, 10)
    late = days[1].slice(3, 1)
    early = days[1].filter(pc.not_equal(days[1]["at"], late["at"][0]))
    partitions = write_partitions(tmp_path / "rows", [days[0], early, *days[2:]])
    score_all(bundle, partitions, tmp_path / "out")
    assert {result.status for result in score_all(bundle, partitions, tmp_path / "out")} == {"already done"}

    write_partitions(tmp_path / "rows", days)
    again = score_all(bundle, partitions, tmp_path / "out")

    assert [result.status for result in again] == ["already done", "written", "written", "already done"]
    fresh = _score(bundle, tmp_path / "fresh", days)
    assert read_all(partitions, tmp_path / "out")["score"].equals(fresh["score"])


def test_without_context_windows_stay_in_their_partition(tmp_path: Path, table: pa.Table) -> None:
    bundle = series_bundle(tmp_path, table, window=WINDOW, context=False)

    scores = _score(bundle, tmp_path, _days(table, 10))

    first = scores.filter(pc.equal(scores["machine"], "a")).slice(10, 10)
    assert first["windows"].to_pylist() == [1, 2, 3, 4, 5, 5, 4, 3, 2, 1]


def test_a_gap_splits_a_series_and_short_stretches_name_their_reason(tmp_path: Path, bundle: Bundle) -> None:
    series = long_table({"a": _values(20)})
    gap = pa.concat_tables([series.slice(0, 8), series.slice(12, 3), series.slice(16)])
    short = long_table({"new": _values(4)})

    scores = _score(bundle, tmp_path, [pa.concat_tables([gap, short])], max_invalid_share=0.0)

    reasons = scores["invalid_reason"].to_pylist()
    assert reasons[:8] == [None] * 8
    assert reasons[8:15] == [None] * 7, "one missing step does not split"
    assert reasons[15:] == ["the series has fewer than 5 steps"] * 4
    wide = pa.concat_tables([series.slice(0, 8), series.slice(12, 4)])
    found = _score(bundle, tmp_path / "wide", [wide])
    reason = "fewer than 5 steps lie between two gaps of more than 3 steps"
    assert set(found["invalid_reason"].to_pylist()[8:]) == {reason}


def test_duplicates_take_the_last_value_and_share_its_score(tmp_path: Path, bundle: Bundle) -> None:
    values = _values(12)
    series = long_table({"a": values})
    wrong = series.slice(4, 1).set_column(2, "x", pa.array([1e6]))
    partitions = write_partitions(tmp_path / "rows", [pa.concat_tables([series.slice(0, 4), wrong, series.slice(4)])])

    (result,) = score_all(bundle, partitions, tmp_path / "out")

    scores = read_all(partitions, tmp_path / "out")["score"].to_numpy()
    assert result.details.duplicates == 1
    assert scores[4] == scores[5]
    assert_allclose(np.delete(scores, 4), expected_scores(values, WINDOW), rtol=1e-5)


def test_rows_without_time_or_value_have_a_reason_and_count_as_invalid(tmp_path: Path, bundle: Bundle) -> None:
    series = long_table({"a": _values(20)})
    times, values = series["at"].to_pylist(), series["x"].to_pylist()
    times[3], values[10] = None, None
    broken = series.set_column(1, "at", pa.array(times, pa.timestamp("us"))).set_column(2, "x", pa.array(values))

    scores = _score(bundle, tmp_path, [broken])

    assert scores["invalid_reason"].drop_null().to_pylist() == ["the event time is missing", "every channel is missing"]
    assert scores["score"].null_count == 2
    with pytest.raises(TooManyInvalid, match="partition day=000: 2 of 20 rows cannot be scored"):
        _score(bundle, tmp_path / "strict", [broken], max_invalid_share=0.05)


def test_a_missing_value_of_one_channel_is_filled_and_the_row_has_a_score(tmp_path: Path) -> None:
    values = _values(20, channels=2)
    table = long_table({"a": values}, channels=("x", "y"))
    bundle = series_bundle(tmp_path, table, window=WINDOW)
    gap = values.copy()
    gap[10, 1] = np.nan

    scores = _score(bundle, tmp_path, [long_table({"a": gap}, channels=("x", "y"))])

    filled = values.copy()
    filled[10, 1] = values[9, 1]
    assert_allclose(scores["score"], expected_scores(filled, WINDOW), rtol=1e-5)


def test_alarms_name_their_channel_and_become_events(tmp_path: Path) -> None:
    values = np.abs(_values(60, channels=2))
    table = long_table({"a": values}, channels=("x", "y"))
    bundle = series_bundle(tmp_path, table, window=WINDOW)
    bundle = calibrated(bundle, expected_scores(values, WINDOW))
    fault = values.copy()
    fault[20:23, 1] += 100
    fault[50, 0] += 100
    partitions = write_partitions(tmp_path / "rows", [long_table({"a": fault}, channels=("x", "y"))])

    (result,) = score_all(bundle, partitions, tmp_path / "out")

    scores = read_all(partitions, tmp_path / "out")
    assert set(np.flatnonzero(scores["is_anomaly"])) == {*range(16, 27), *range(46, 55)}
    assert scores["channel"].to_pylist()[16:27] == ["y"] * 11
    assert scores["channel"].to_pylist()[50] == "x"
    assert scores["channel"].null_count == 40
    events = read_all(partitions, tmp_path / "out", "events")
    assert result.details.events == events.num_rows == 2
    at = scores["at"].to_pylist()
    assert events["machine"].to_pylist() == ["a", "a"]
    assert events["first"].to_pylist() == [at[16], at[46]]
    assert events["last"].to_pylist() == [at[26], at[54]]
    assert events["points"].to_pylist() == [11, 9]
    assert events["channels"].to_pylist() == [["y"], ["x"]]
    peak = int(np.argmax(scores["score"].to_numpy()[:40]))
    assert events["peak"].to_pylist()[0] == at[peak]


def test_thresholds_adapt_by_entity_and_flags_do_not_depend_on_partitions(tmp_path: Path, bundle: Bundle) -> None:
    rng = np.random.default_rng(0)
    values = {"a": np.abs(rng.normal(size=600)), "b": 3 * np.abs(rng.normal(size=600))}
    table = long_table(values)
    bundle = calibrated(bundle, expected_scores(np.abs(rng.normal(size=300)), WINDOW))

    whole = _score(bundle, tmp_path / "whole", [table], adaptive=True)
    halves = write_partitions(tmp_path / "halves", _days(table, 300))
    score_all(bundle, halves, tmp_path / "out", adaptive=True)

    of_b = whole.filter(pc.equal(whole["machine"], "b"))["is_anomaly"].to_numpy(zero_copy_only=False)
    fixed = _score(bundle, tmp_path / "fixed", [table])
    fixed_b = fixed.filter(pc.equal(fixed["machine"], "b"))["is_anomaly"].to_numpy(zero_copy_only=False)
    assert of_b.mean() < 0.3 < fixed_b.mean()
    states = pq.ParquetFile(tmp_path / "out" / "thresholds" / "day=001" / "part-0.parquet").read()
    assert states["entity"].to_pylist() == ["a", "b"]
    assert all(len(scores) == 500 for scores in states["scores"].to_pylist())
    assert_array_equal(states["last_alarm"].is_valid(), [True, True])


def test_an_event_that_continues_one_of_the_night_before_is_marked(tmp_path: Path, bundle: Bundle) -> None:
    values = np.abs(_values(600))
    bundle = calibrated(bundle, expected_scores(values, WINDOW))
    fault = values.copy()
    fault[298:302] += 10.0 ** np.arange(2, 6)
    partitions = write_partitions(tmp_path / "rows", _days(long_table({"a": fault}), 300))

    score_all(bundle, partitions, tmp_path / "out", adaptive=True)

    events = read_all(partitions, tmp_path / "out", "events").sort_by("first")
    midnight = START + 300 * MINUTE
    continuing = events.filter(events["continues"])["first"].cast(pa.int64()).to_pylist()
    assert len(continuing) == 1
    assert midnight <= continuing[0] < midnight + WINDOW * MINUTE


def test_the_score_of_a_network_of_single_steps_is_the_mean_over_the_window(tmp_path: Path) -> None:
    values = _values(seed=3, channels=12)
    names = [f"c{number}" for number in range(12)]
    rows = long_table({"a": values, "b": values[::-1]}, channels=names)
    bundle = series_bundle(tmp_path, rows, window=WINDOW, reads=1)
    rows = rows.filter(pa.array(np.arange(80) != 20))  # a missing step takes the values of the step before

    scores = _score(bundle, tmp_path, [rows])["score"].to_numpy()

    filled = values.copy()
    filled[20] = filled[19]
    expected = [np.delete(expected_scores(filled, WINDOW), 20), expected_scores(values[::-1], WINDOW)]
    assert_allclose(scores, np.concatenate(expected) / WINDOW, rtol=1e-5)


def test_scores_of_single_steps_do_not_depend_on_the_division_into_partitions(tmp_path: Path) -> None:
    rows = long_table({"a": _values(seed=3, channels=9)}, channels=[f"c{number}" for number in range(9)])
    bundle = series_bundle(tmp_path, rows, window=WINDOW, reads=1, revise=True)

    whole = _score(bundle, tmp_path / "whole", [rows])
    days = _score(bundle, tmp_path / "days", [rows.slice(begin, 8) for begin in range(0, 40, 8)])

    assert_array_equal(days["score"].to_numpy(), whole["score"].to_numpy())


def test_an_entity_of_numbers_in_a_later_partition_is_the_same_entity(tmp_path: Path) -> None:
    rows = long_table({"1": _values(seed=1), "2": _values(seed=2)}).sort_by("at")
    first, later = rows.slice(0, 40), rows.slice(40)
    numbers = later.set_column(0, "machine", later["machine"].cast(pa.int64()))
    bundle = series_bundle(tmp_path, rows, window=WINDOW)

    found = _score(bundle, tmp_path / "numbers", [first, numbers])

    assert found.equals(_score(bundle, tmp_path / "texts", [first, later]))
    assert found["machine"].type == pa.string()


def test_a_neighbour_with_times_in_another_unit_is_left_out(tmp_path: Path) -> None:
    rows = long_table({"a": _values(seed=1)}).sort_by("at")
    stage = series_bundle(tmp_path, rows, window=WINDOW).series
    assert stage is not None
    seconds = rows.slice(0, 20).set_column(1, "at", rows["at"].slice(0, 20).cast(pa.int64()))
    table = write_partitions(tmp_path / "rows", [seconds, rows.slice(20)])
    same = write_partitions(tmp_path / "same", [rows.slice(0, 20), rows.slice(20)])

    assert find_neighbours(stage, same[1], same).before == (same[0],)
    assert find_neighbours(stage, table[1], table).before == ()


def test_rows_without_an_entity_are_one_series(tmp_path: Path) -> None:
    values = _values(seed=1)
    rows = long_table({"a": _values(seed=2), "b": values})
    none = pa.array([None if name == "b" else name for name in rows["machine"].to_pylist()], pa.string())
    rows = rows.set_column(0, "machine", none)

    scores = _score(series_bundle(tmp_path, rows, window=WINDOW), tmp_path, [rows])

    assert_allclose(scores["score"].to_numpy()[40:], expected_scores(values, WINDOW), rtol=1e-5)
