"""Counts of the replay of streams, on series with known results."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.streams import Series, adapt, all_series, by_day, calibrated, replay, section, windowed_pca

START = np.datetime64("2026-01-01T00:00:00")


def series(values: np.ndarray, *windows: tuple[int, int]) -> Series:
    times = START + np.arange(len(values)) * np.timedelta64(300, "s")
    return Series("made", times, values, tuple((times[first], times[last]) for first, last in windows))


def test_the_score_is_causal_and_that_of_windows_off_the_plane() -> None:
    values = np.sin(np.arange(2_000) / 5)
    spoiled = values.copy()
    spoiled[1_500] += 4

    calm, found = windowed_pca(values, 300), windowed_pca(spoiled, 300)

    np.testing.assert_array_equal(found[:1_500], calm[:1_500])
    np.testing.assert_array_equal(found[1_516:], calm[1_516:])
    assert np.isnan(found[:15]).all()
    assert np.nanmax(calm) < 1e-6
    assert found[1_500:1_516].min() > 1


def test_a_window_with_a_spike_is_hit_and_noise_alone_is_flagged_at_alpha() -> None:
    values = np.random.default_rng(0).normal(size=6_000)
    values[4_000] += 30

    found = replay(series(values, (3_990, 4_010)))

    assert found.hits == (1, 1)
    assert found.points == 5_100 - 21
    assert found.false_alarms[0] == pytest.approx(0.01, abs=0.004)
    assert found.by_chance == pytest.approx(1 - 0.99**21)
    assert "| made | 18 |" in section([found])


def test_days_cut_the_stream_and_not_its_flags() -> None:
    scores = np.random.default_rng(1).normal(size=1_000)
    nights = by_day(scores, series(scores).times)

    assert [len(night) for night in nights] == [288, 288, 288, 136]
    calibration = calibrated(np.random.default_rng(2).normal(size=300))
    np.testing.assert_array_equal(adapt(nights, calibration), adapt([scores], calibration))


def test_series_are_read_with_their_windows(tmp_path: Path) -> None:
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "one.csv").write_text("timestamp,value\n2026-01-01 00:00:00,1.5\n2026-01-01 00:05:00,2\n")
    windows = '{"kind/one.csv": [["2026-01-01 00:00:00.000000", "2026-01-01 00:05:00.000000"]]}'
    (tmp_path / "combined_windows.json").write_text(windows)

    (found,) = all_series(tmp_path)

    assert found.values.tolist() == [1.5, 2.0]
    assert found.windows == ((START, START + np.timedelta64(300, "s")),)
