import numpy as np
import pytest
from scipy import stats

from aepipe.encoding import number_statistics as statistics


def transform(values: np.ndarray) -> str:
    return statistics.number(values, name="x", column=0).transform


@pytest.mark.parametrize("shape", [0.3, 0.6, 1.0, 1.3, 1.6, 2.0])
def test_the_logarithm_is_taken_above_a_kurtosis_of_fifty(shape: float) -> None:
    values = np.random.default_rng(1).lognormal(0, shape, 4000)

    heavy = stats.kurtosis(values, fisher=False) > 50

    assert transform(values) == ("log" if heavy else "linear")


def test_no_values_and_equal_values_have_a_spread_of_one() -> None:
    assert statistics.spread(np.zeros(0)) == statistics.spread(np.full(3, 1e9)) == 1


@pytest.mark.parametrize(("values", "expected"), [([1e6, 1e6 + 1], 1e6 + 0.5), ([1e6, 2e6], 0.0), ([], 0.0)])
def test_an_offset_is_the_mean_where_the_spread_is_relatively_small(values: list[float], expected: float) -> None:
    assert statistics.offset(np.array(values)) == expected


@pytest.mark.parametrize("places", range(7))
def test_decimals_of_rounded_values_are_found(places: int) -> None:
    values = np.round(np.random.default_rng(1).normal(0, 1000, 3000), places)

    assert statistics.decimals(values, 2.0**-52) == places


def test_decimals_of_rounded_float32_values_are_found() -> None:
    values = np.round(np.random.default_rng(1).normal(0, 10, 3000), 2).astype(np.float32)

    assert statistics.decimals(values.astype(np.float64), 2.0**-23) == 2


def test_values_that_are_not_rounded_have_no_decimals() -> None:
    values = np.random.default_rng(1).normal(0, 1, 3000)

    assert statistics.decimals(values, 2.0**-52) is None
    assert statistics.decimals(np.append(np.ones(2000), 1 / 3), 2.0**-52) is None


def test_tiny_values_are_not_taken_for_zeros() -> None:
    assert statistics.decimals(np.array([0.0, 1.9e-23]), 2.0**-23) is None
    assert statistics.decimals(np.array([1000.25, 1e-13]), 2.0**-52) is None


def test_numbers_too_large_to_have_decimals_say_nothing_of_them() -> None:
    assert statistics.decimals(np.array([1e17, 3e17]), 2.0**-52) is None


def test_a_scale_below_float32_resolution_is_ignored() -> None:
    values = np.concatenate([np.full(5000, 1.0), 1 + 1e-12 * np.arange(5000), [1e9]])

    number = statistics.number(values, name="x", column=0)

    assert (number.transform, number.scale) == ("log", pytest.approx(values.std()))


def test_what_float32_can_hold() -> None:
    top = float(np.finfo(np.float32).max)

    fits = statistics.fits_float32(np.array([0.0, top, np.nextafter(top, np.inf), 3.41e38, np.inf, np.nan]))

    assert fits.tolist() == [True, True, True, False, False, False]
