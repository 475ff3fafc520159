"""Generated machines, baselines of series, and the tables of the benchmark."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from aepipe.metrics.events import runs
from benchmarks.series import WIDE_BASELINES, WINDOWS, Alarms, machine_section, measure, nab_section, wide_section
from benchmarks.series_baselines import BASELINES, over_windows
from benchmarks.series_data import FAULTS, FAULTS_PER_MACHINE, WIDE_FAULTS, LabelledSeries, machines, nab, wide_machine
from benchmarks.series_ours import OURS


@pytest.fixture(scope="module")
def spikes() -> LabelledSeries:
    return next(machines(0))


def test_every_kind_of_fault_has_a_machine_with_faults_after_the_beginning() -> None:
    found = list(machines(0))

    assert [series.name for series in found] == list(FAULTS)
    for series in found:
        assert not series.anomalous[: series.learned].any()
        assert len(runs(series.anomalous)) == FAULTS_PER_MACHINE
        assert np.isfinite(series.values).all()
        assert series.weeks == pytest.approx(25 / 7, abs=0.01)


def test_a_stuck_channel_holds_its_value_and_the_others_go_on() -> None:
    series = next(each for each in machines(1) if each.name == "stuck")

    for fault in runs(series.anomalous):
        assert sorted(np.ptp(series.values[fault], axis=0) == 0) == [False, False, True]


def test_the_score_of_a_point_is_the_mean_of_its_windows() -> None:
    scores = np.random.default_rng(0).normal(size=8)

    found = over_windows(scores, 12)

    expected = [np.mean([scores[at] for at in range(8) if at <= point < at + 5]) for point in range(12)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "isolation forest" else name for name in BASELINES]
)
def test_a_baseline_scores_every_point_and_only_random_depends_on_chance(name: str, spikes: LabelledSeries) -> None:
    short = spikes._replace(
        times=spikes.times[:700], values=spikes.values[:700], anomalous=spikes.anomalous[:700], learned=400
    )

    first, again = (BASELINES[name](short, 3) for _ in range(2))

    assert first.shape == (700,)
    assert np.isfinite(first).all()
    assert (first == again).all()


def test_series_are_read_with_their_windows_and_their_beginning(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()
    times = np.datetime64("2026-01-01") + np.arange(200) * np.timedelta64(1, "h")
    with (tmp_path / "kind" / "one.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value"])
        writer.writerows((str(time).replace("T", " ") + ":00:00", index) for index, time in enumerate(times))
    window = [["2026-01-05 00:00:00.000000", "2026-01-05 04:00:00.000000"]]
    (tmp_path / "combined_windows.json").write_text(json.dumps({"kind/one.csv": window}))

    (series,) = nab(tmp_path)

    assert series.values.shape == (200, 1)
    assert np.flatnonzero(series.anomalous).tolist() == [96, 97, 98, 99, 100]
    assert series.learned == 30


def test_the_tables_hold_every_method_and_say_which_goals_are_met(spikes: LabelledSeries) -> None:
    perfect, useless = spikes.anomalous.astype(float), np.random.default_rng(0).random(len(spikes.values))
    found = [measure(spikes, OURS, perfect, 0), *(measure(spikes, name, useless, 0) for name in BASELINES)]

    page = nab_section(found, [Alarms("spike", 0, 0.011)]) + machine_section(found)

    assert found[0].found == FAULTS_PER_MACHINE
    assert "flagged 1.10% of the normal points (0.8 to 1.2 %): met" in page
    assert "nyc_taxi nan (0.80): not met" in page
    assert f"| spike | {FAULTS_PER_MACHINE} | 100% |" in page
    assert all(name in page for name in BASELINES)


@pytest.mark.parametrize("channels", [12, 30])
def test_a_machine_of_many_channels_has_every_kind_of_fault_in_few_channels(channels: int) -> None:
    series = wide_machine(3, channels)

    faults = runs(series.anomalous)
    assert series.values.shape[1] == channels
    assert len(faults) == len(WIDE_FAULTS) == len(FAULTS)
    assert faults[0].start >= series.learned
    assert np.isfinite(series.values).all()
    stuck = [(np.ptp(series.values[fault], axis=0) == 0).sum() for fault in faults if fault.stop - fault.start > 2]
    assert sorted(stuck)[-1] == channels // 12


def test_the_table_of_many_channels_has_one_line_per_machine() -> None:
    series = wide_machine(3, 12)._replace(values=np.zeros((6_000, 1)))
    scores = np.arange(6_000.0)

    text = wide_section([measure(series, name, scores, 0) for name in (OURS, WINDOWS, *WIDE_BASELINES)])

    assert text.count("| 12 channels |") == 1
    assert f"| VUS-PR | {OURS} | {WINDOWS} |" in text
