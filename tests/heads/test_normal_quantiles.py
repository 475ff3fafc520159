import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.preprocessing import QuantileTransformer

from aepipe.heads.normal_quantiles import NormalQuantiles


def _map(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    return NormalQuantiles(known)(torch.from_numpy(values.astype(np.float32))).double().numpy()


def test_quantiles_are_close_to_those_of_scikit_learn_for_skewed_numbers() -> None:
    generator = np.random.default_rng(0)
    known = np.stack([generator.lognormal(size=3_000), generator.normal(size=3_000), generator.uniform(size=3_000)], 1)
    inner = known[(known > np.quantile(known, 0.05, axis=0)).all(1) & (known < np.quantile(known, 0.95, axis=0)).all(1)]

    found = _map(known, inner)

    oracle = QuantileTransformer(output_distribution="normal", n_quantiles=1_000).fit(known).transform(inner)
    np.testing.assert_allclose(found, oracle, atol=0.1)


@settings(max_examples=30)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
    st.lists(st.floats(-1e7, 1e7, width=32), min_size=2, max_size=20),
)
def test_the_map_is_finite_and_never_falls(known: list[float], values: list[float]) -> None:
    found = _map(np.array(known)[:, None], np.sort(values)[:, None])[:, 0]

    assert np.isfinite(found).all()
    assert (np.diff(found) >= -1e-3 * np.maximum(1, np.abs(found[1:]))).all()


def test_values_beyond_the_known_ones_move_away_in_a_straight_line() -> None:
    known = np.random.default_rng(0).lognormal(size=(500, 1))
    far = known.max() + np.array([[0.0], [10.0], [20.0]])

    found = _map(known, far)[:, 0]

    assert found[1] > found[0] + 1
    np.testing.assert_allclose(found[2] - found[1], found[1] - found[0], rtol=1e-4)


def test_a_column_of_two_values_maps_to_the_middles_of_their_ranks() -> None:
    known = np.repeat([[0.0], [1.0]], [90, 10], axis=0)

    found = _map(known, np.array([[0.0], [1.0]]))[:, 0]

    np.testing.assert_allclose(found, norm.ppf([0.45, 0.95]), atol=1e-4)


def test_the_slope_of_a_constant_column_is_one() -> None:
    found = _map(np.full((20, 1), 3.0), np.array([[3.0], [5.0]]))[:, 0]

    np.testing.assert_allclose(found, [0.0, 2.0], atol=1e-5)
