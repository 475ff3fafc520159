"""Calendar of drawn series: the chosen cycle, and the means along it."""

import numpy as np
import pytest

from aepipe.series.generation.calendar import (
    DAY,
    HOUR,
    ChannelProfile,
    Cycle,
    History,
    Profile,
    choose_cycle,
    closed_cells,
    cycles,
    left_out_error,
)

STEP = HOUR // 2
PER_DAY = 48
MONDAY = 4 * DAY


def _moments(days: int) -> np.ndarray:
    return MONDAY + STEP * np.arange(days * PER_DAY)


def _noisy(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed).normal(0, 0.5, len(values))
    return _moments(len(values) // PER_DAY), values + noise


def _shape(kind: str, days: int = 28) -> np.ndarray:
    moments = _moments(days)
    hour, day = np.mod(moments, DAY) / HOUR, (moments - MONDAY) // DAY % 7
    shapes = {
        "no cycle": np.zeros(len(moments)),
        "hour of the day": np.sin(2 * np.pi * hour / 24),
        "workdays and weekends": np.where(day >= 5, -2.0, 0.0),
        "the week": np.where(day == 2, -2.0, 0.0),
        "hour of workdays and weekends": np.where((day < 5) & (hour >= 8) & (hour < 18), 5.0, 0.0),
        "step of the day": np.where(hour == 3.5, 6.0, 0.0),
        "hour of the week": np.where(day == 6, 0.0, 3.0) * np.sin(2 * np.pi * hour / 24),
        "step of the week": np.where((day == 6) & (hour == 3.5), 12.0, 0.0),
        "31 steps": 2 * np.sin(2 * np.pi * np.arange(len(moments)) / 31),
    }
    return shapes[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "no cycle",
        "hour of the day",
        "workdays and weekends",
        "the week",
        "hour of workdays and weekends",
        "step of the day",
        "hour of the week",
        "step of the week",
        "31 steps",
    ],
)
def test_the_cycle_that_made_the_values_is_chosen(kind: str) -> None:
    period = 31 if kind == "31 steps" else None

    found = choose_cycle(*_noisy(_shape(kind, 56)), cycles(STEP, period=period))

    assert found.name == kind


def test_a_week_is_not_learned_from_a_single_week() -> None:
    found = choose_cycle(*_noisy(_shape("hour of the week", 7)), cycles(STEP, period=None))

    assert "week" not in found.name


def test_steps_without_a_time_have_their_period_or_none() -> None:
    wave = np.sin(2 * np.pi * np.arange(960) / 24)

    assert choose_cycle(np.arange(960), wave, cycles(None, period=24)).name == "24 steps"
    assert choose_cycle(np.arange(960), wave, cycles(None, period=None)).name == "no cycle"


def test_each_channel_follows_its_own_cycle() -> None:
    moments, wave = _noisy(_shape("hour of the day", 28))
    _, level = _noisy(_shape("the week", 28), seed=1)

    profile = Profile.fit(History(moments, np.column_stack([wave, level])), cycles(STEP, period=None))

    assert [each.cycle.name for each in profile.channels] == ["hour of the day", "the week"]
    for channel, shape in enumerate(("hour of the day", "the week")):
        np.testing.assert_allclose(profile.at(moments)[:, channel], _shape(shape, 28), atol=0.4)


@pytest.mark.parametrize("seed", range(5))
def test_the_left_out_error_is_that_of_a_loop_over_the_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moments = np.sort(rng.choice(60, 40, replace=False))
    values = rng.normal(size=40)
    values[rng.random(40) < 0.2] = np.nan

    def predicted(at: int) -> float:
        others = (moments // 10 != moments[at] // 10) & np.isfinite(values)
        alike = others & (moments % 7 // 2 == moments[at] % 7 // 2)
        chosen = alike if alike.any() else others
        return float(values[chosen].mean()) if chosen.any() else 0.0

    expected = np.mean([(values[at] - predicted(at)) ** 2 for at in np.flatnonzero(np.isfinite(values))])

    assert left_out_error(Cycle("a cycle", 7, 2, 10), moments, values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_left_out_error_of_interpolated_means_is_that_of_profiles_fitted_without_each_day(seed: int) -> None:
    moments, values = _noisy(_shape("hour of the week", 14), seed)
    cycle = next(each for each in cycles(STEP, period=None) if each.name == "hour of the week" and each.is_smooth)

    squares = []
    for day in np.unique(moments // DAY):
        mine = moments // DAY == day
        profile = ChannelProfile.fit(cycle, moments[~mine], values[~mine])
        squares.append((values[mine] - profile.at(moments[mine])) ** 2)

    assert left_out_error(cycle, moments, values) == pytest.approx(np.concatenate(squares).mean(), rel=1e-9)


def test_hours_are_joined_by_lines_between_their_middles() -> None:
    cycle = next(each for each in cycles(STEP, period=None) if each.name == "hour of the day" and each.is_smooth)
    means = np.random.default_rng(0).normal(size=24)
    profile = ChannelProfile(cycle, means)
    moments = _moments(2)

    middles, around = np.arange(-1, 25) + 0.5, np.concatenate([means[-1:], means, means[:1]])
    expected = np.interp(np.mod(moments, DAY) / HOUR, middles, around)

    np.testing.assert_allclose(profile.at(moments), expected, atol=1e-12)


def test_a_cell_without_values_has_the_mean_of_the_series() -> None:
    profile = ChannelProfile.fit(Cycle("a cycle", 3, 1, 3), np.array([0, 1, 3, 4]), np.array([1.0, 2, 3, 4]))

    assert profile.at(np.array([0, 1, 2])).tolist() == [2.0, 3.0, 2.5]


def test_hours_without_rows_are_closed() -> None:
    cycle = next(each for each in cycles(STEP, period=None) if each.name == "hour of the week")
    moments = _moments(84)
    hour, day = np.mod(moments, DAY) // HOUR, (moments - MONDAY) // DAY % 7
    has_row = (hour >= 8) & (hour < 18) & (day < 5)
    has_row[np.random.default_rng(0).choice(np.flatnonzero(has_row), 100, replace=False)] = False
    has_row[10] = True  # once at night

    closed = closed_cells(cycle, moments, has_row)

    hours = np.arange(7 * 24)
    np.testing.assert_array_equal(closed, (hours % 24 < 8) | (hours % 24 >= 18) | (hours // 24 >= 5))
