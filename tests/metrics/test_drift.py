"""Change of distributions against closed forms, and the guarantees of the evidence by simulation."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import ks_2samp, kstwobign, norm, t

from aepipe.metrics import drift
from aepipe.metrics.drift import (
    PartitionSpread,
    change_between,
    drift_p_value,
    evidence,
    first_alike,
    next_martingale,
    student_quantile,
)


def counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def test_distance_is_that_of_scipy_where_every_value_has_a_bin() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 30, 500), generator.integers(3, 30, 400)
    edges = np.arange(30.0)

    change = change_between(counts(first, edges), counts(second, edges))

    assert change.distance == pytest.approx(ks_2samp(first, second).statistic)
    assert 0 <= change.low < change.distance < change.high <= 1


def test_shift_of_a_normal_distribution_is_in_standard_deviations() -> None:
    edges = norm.ppf(np.arange(1, 32) / 32)
    before, after = (np.diff(norm.cdf(edges - mean), prepend=0, append=1) for mean in (0.0, 0.25))

    change = change_between((before * 1e7).astype(np.int64), (after * 1e7).astype(np.int64))

    assert change.shift == pytest.approx(0.25, abs=0.01)
    assert change.distance == pytest.approx(2 * norm.cdf(0.125) - 1, abs=0.002)


def test_intervals_cover_the_true_distance() -> None:
    generator = np.random.default_rng(0)
    edges = norm.ppf(np.arange(1, 32) / 32)
    truth = 2 * norm.cdf(0.15) - 1

    found = [
        change_between(counts(generator.normal(size=2_000), edges), counts(generator.normal(0.3, size=1_000), edges))
        for _ in range(200)
    ]

    assert np.mean([change.low <= truth <= change.high for change in found]) >= 0.95


def test_p_values_are_valid_at_the_tolerance_for_many_rows_too() -> None:
    generator = np.random.default_rng(0)
    reference = np.array([500_000, 500_000])
    shares = np.array([0.55, 0.45])  # a distance of exactly the tolerance

    found = [drift_p_value(reference, generator.multinomial(10_000, shares), tolerance=0.05) for _ in range(2_000)]

    for level in (0.01, 0.1, 0.5):
        assert np.mean(np.array(found) <= level) <= level
    assert drift_p_value(reference, np.array([5_100_000, 4_900_000]) * 100, tolerance=0.05) == 1.0
    assert drift_p_value(reference, np.array([6_000, 4_000]), tolerance=0.05) < 1e-3


@pytest.mark.parametrize("p_value", [1e-6, 0.01, 0.3, 0.9, 0.9999])
def test_evidence_is_the_integral_of_all_power_bets(p_value: float) -> None:
    integral, _ = quad(lambda power: power * p_value ** (power - 1), 0, 1)

    assert evidence(p_value) == pytest.approx(integral, rel=1e-3)


def test_evidence_is_one_on_average_for_uniform_p_values() -> None:
    mean, _ = quad(evidence, 1e-12, 1, points=[1e-9, 1e-6, 1e-3, 1e-2], limit=200)

    assert mean == pytest.approx(1, abs=0.05)
    assert mean <= 1


def test_stable_nights_leave_no_debt() -> None:
    state = 1.0
    for _ in range(60):
        state = next_martingale(state, 1.0)

    assert next_martingale(state, 1e-9) > 1e6


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 29, 30, 199])
@pytest.mark.parametrize("level", [0.3, 0.025, 1e-3, 2e-5])
def test_quantiles_of_students_t_are_those_of_scipy(freedom: int, level: float) -> None:
    assert student_quantile(level, freedom) == pytest.approx(t.isf(level, freedom), rel=1e-6)


def test_distances_by_chance_have_the_mean_square_of_the_kolmogorov_distribution() -> None:
    assert kstwobign.moment(2) == pytest.approx(drift._SAMPLING, rel=1e-6)


def test_partitions_of_one_distribution_differ_by_little_and_others_by_their_shifts() -> None:
    generator = np.random.default_rng(0)
    edges = norm.ppf(np.arange(1, 32) / 32)

    def spread(shifts: np.ndarray, rows: int) -> PartitionSpread:
        found = PartitionSpread.fit(np.stack([counts(generator.normal(shift, size=rows), edges) for shift in shifts]))
        assert found is not None
        return found

    alike, unlike = spread(np.zeros(40), 20_000), spread(np.tile([-0.25, 0.25], 20), 20_000)

    assert alike.bound(1e-4) < 0.02
    assert unlike.mean == pytest.approx(2 * norm.cdf(0.125) - 1, abs=0.01)
    assert unlike.bound(0.1) > unlike.mean
    assert unlike.bound(0.1) == pytest.approx(
        unlike.mean + t.isf(0.1, 39) * unlike.deviation * np.sqrt(1 + 1 / 40), rel=1e-6
    )


def test_one_more_partition_exceeds_the_bound_as_often_as_stated() -> None:
    generator = np.random.default_rng(1)
    drawn = generator.normal(0.1, 0.02, (1_500, 13))  # distances of twelve partitions, and of one more

    exceeded = [
        PartitionSpread(partitions=12, mean=row[:-1].mean(), deviation=row[:-1].std(ddof=1)).bound(0.05) < row[-1]
        for row in drawn
    ]

    assert np.mean(exceeded) == pytest.approx(0.05, abs=0.018)


def test_more_partitions_together_exceed_their_bound_at_most_as_often_as_stated_and_not_much_less() -> None:
    generator = np.random.default_rng(2)
    edges = norm.ppf(np.arange(1, 32) / 32)
    level, exceeded = 0.1, []
    for _ in range(300):
        means = generator.normal(0, 0.2, 30 + 28)  # mean of each partition: 30 of the reference, 28 of the window
        below = norm.cdf(edges - means[:, None])
        shares = np.diff(np.concatenate([np.zeros((58, 1)), below, np.ones((58, 1))], axis=1), axis=1)
        before, now = np.rint(shares[:30] * 1e6).astype(np.int64), np.rint(shares[30:] * 1e6).astype(np.int64)
        spread = PartitionSpread.fit(before)
        assert spread is not None
        distance = change_between(before.sum(axis=0), now.sum(axis=0)).distance
        exceeded.append(distance > spread.pooled_bound(level, 28))

    assert 0.02 < np.mean(exceeded) <= 0.14


def test_few_or_tiny_partitions_have_no_spread() -> None:
    large, tiny = np.full((4, 8), 100), np.full((9, 8), 1)

    assert PartitionSpread.fit(large) is None
    assert PartitionSpread.fit(np.concatenate([large, tiny])) is None
    assert PartitionSpread.fit(np.concatenate([large, large])) is not None


def nights_of(means: np.ndarray, *, rows: int = 500, seed: int = 0) -> np.ndarray:
    """Count normal rows with these means, night by night, in 32 bins after the bin of missing values."""
    generator = np.random.default_rng(seed)
    edges = norm.ppf(np.arange(1, 32) / 32)
    drawn = [counts(generator.normal(mean, size=rows), edges) for mean in means]
    return np.column_stack([np.zeros(len(means), np.int64), np.stack(drawn)])


def without_values(nights: int, *, rows: int = 500) -> np.ndarray:
    return np.column_stack([np.full(nights, rows), np.zeros((nights, 32), np.int64)])


def test_partitions_before_the_first_value_of_a_column_are_left_out() -> None:
    for nights in (1, 3, 40):
        later = nights_of(np.zeros(nights))

        assert first_alike(np.concatenate([without_values(30), later]), window=28, tolerance=0.05) == 30
        assert first_alike(np.concatenate([later, without_values(3), later]), window=28, tolerance=0.05) == 0


def test_values_too_rare_to_make_a_difference_leave_no_partition_out() -> None:
    rare = without_values(20)
    rare[10:, 0] -= 10
    rare[10:, 1] += 10

    assert first_alike(rare, window=28, tolerance=0.05) == 0
    assert first_alike(rare, window=28, tolerance=0.01) == 10
    assert first_alike(without_values(9), window=28, tolerance=0.05) == 0


def test_partitions_before_a_lasting_change_are_left_out_in_whole_windows() -> None:
    changed = np.concatenate([nights_of(np.zeros(70)), nights_of(np.full(65, 1.0), seed=1)])

    assert first_alike(changed, window=28, tolerance=0.05) == 135 - 56
    assert first_alike(changed[-70:], window=10, tolerance=0.05) == 0  # five of 70 nights: within the tolerance
    gone = np.concatenate([nights_of(np.zeros(70)), without_values(30)])
    assert first_alike(gone, window=28, tolerance=0.05) == 100 - 28


def test_partitions_that_differ_by_chance_are_all_kept() -> None:
    for seed in range(20):
        means = np.random.default_rng(seed).normal(0, 0.3, 150)

        assert first_alike(nights_of(means, seed=seed), window=28, tolerance=0.05) == 0


def test_partitions_too_small_to_tell_how_much_they_differ_are_all_kept() -> None:
    changed = nights_of(np.repeat([0.0, 2.0], 60), rows=40)

    assert first_alike(changed, window=28, tolerance=0.05) == 0
