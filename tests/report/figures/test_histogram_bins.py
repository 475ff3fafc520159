"""Scales and bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.report.figures.histogram_bins import LINEAR, Scale, bin_edges, fitting_scale, round_ticks, shares

rng = np.random.default_rng(0)
finite = st.floats(-1e9, 1e9, allow_subnormal=False)


def heavy() -> np.ndarray:
    return rng.lognormal(0, 2.0, 2_000)


def test_light_tails_are_drawn_on_a_linear_axis():
    assert fitting_scale(rng.normal(5, 1, 2_000)) is LINEAR
    assert fitting_scale(np.ones(10)) is LINEAR


def test_heavy_positive_tails_are_drawn_on_a_logarithmic_axis():
    assert fitting_scale(heavy()).name == "log"


def test_heavy_tails_with_negative_values_are_drawn_on_an_asinh_axis():
    assert fitting_scale(heavy() - 3).name == "asinh"


@pytest.mark.parametrize("values", [heavy(), heavy() - 3, rng.normal(size=100)])
def test_scale_round_trip_is_exact(values):
    scale = fitting_scale(values)

    np.testing.assert_allclose(scale.inverse(scale.forward(values)), values, rtol=1e-9, atol=1e-9)


@given(st.lists(finite, min_size=1, max_size=200))
def test_every_value_falls_into_a_bin(found):
    values = np.array(found)
    edges = bin_edges(values, fitting_scale(values))

    assert (np.diff(edges) >= 0).all()
    assert shares(values, edges).sum() == pytest.approx(1)


@pytest.mark.parametrize("scale", [LINEAR, fitting_scale(heavy()), fitting_scale(heavy() - 3)])
def test_anchor_is_an_edge(scale):
    edges = bin_edges(heavy() + 1, scale, anchor=4.5)

    assert np.abs(edges - 4.5).min() < 1e-9


def test_ticks_are_round_and_within_the_axis():
    log = Scale("log", np.log10, lambda t: 10.0**t)

    found = round_ticks(log, 0.3, 3_000.0, most=9)
    assert {1.0, 10.0, 100.0, 1_000.0} <= set(found)
    assert min(found) >= 0.3
    assert max(found) <= 3_000.0


def test_axis_without_round_numbers_still_has_ticks():
    assert len(round_ticks(Scale("asinh", np.arcsinh, np.sinh), 530.0, 540.0, most=9)) == 5
