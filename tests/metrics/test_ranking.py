"""Measures against scikit-learn and brute force, with ties."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, fbeta_score, precision_score, recall_score, roc_auc_score

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.ranking import (
    Ranking,
    auroc,
    average_precision,
    bootstrap_alarms,
    bootstrap_ranking,
    confusion,
    f_beta,
    ranking_auroc,
    ranking_average_precision,
)

LABELLED = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def _columns(rows: list[tuple[bool, int]]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([label for label, _ in rows]), np.array([score for _, score in rows], dtype=np.float64)


@given(LABELLED)
def test_auroc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[bool, int]]) -> None:
    truth, score = _columns(rows)

    pairs = [(p > n) + 0.5 * (p == n) for p in score[truth] for n in score[~truth]]

    assert auroc(truth, score) == pytest.approx(np.mean(pairs), abs=1e-12)


@given(LABELLED)
def test_both_measures_are_those_of_scikit_learn_with_ties(rows: list[tuple[bool, int]]) -> None:
    truth, score = _columns(rows)

    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert average_precision(truth, score) == pytest.approx(average_precision_score(truth, score), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_measures_are_those_of_scikit_learn_on_many_rows(dtype: type[np.floating]) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.03
    score = (generator.normal(size=20_000) + truth).astype(dtype)

    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert average_precision(truth, score) == pytest.approx(average_precision_score(truth, score), abs=1e-12)


def test_a_perfect_ranking_a_reversed_one_and_a_constant_score() -> None:
    truth = [0, 0, 0, 1]

    assert (auroc(truth, [1, 2, 3, 4]), average_precision(truth, [1, 2, 3, 4])) == (1.0, 1.0)
    assert (auroc(truth, [4, 3, 2, 1]), average_precision(truth, [4, 3, 2, 1])) == (0.0, 0.25)
    assert (auroc(truth, [7, 7, 7, 7]), average_precision(truth, [7, 7, 7, 7])) == (0.5, 0.25)


def test_infinite_scores_are_ranked_like_any_other() -> None:
    assert auroc([0, 1, 0, 1], [-np.inf, np.inf, 0.0, 1.0]) == 1.0


@given(LABELLED, st.integers(-4, 4), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_counts_at_a_threshold_are_those_of_scikit_learn(
    rows: list[tuple[bool, int]], threshold: int, beta: float
) -> None:
    truth, score = _columns(rows)
    flagged = score > threshold

    found = confusion(truth, flagged)

    assert sum(astuple(found)) == len(rows)
    assert found.true_negatives == np.sum(~truth & ~flagged)
    assert found.precision == pytest.approx(precision_score(truth, flagged, zero_division=0), abs=1e-12)
    assert found.recall == pytest.approx(recall_score(truth, flagged), abs=1e-12)
    assert found.f_beta(beta) == pytest.approx(fbeta_score(truth, flagged, beta=beta, zero_division=0), abs=1e-12)
    shares = (found.true_positives / 40, found.false_negatives / 40, found.false_positives / 40)
    assert f_beta(*shares, beta) == pytest.approx(found.f_beta(beta), abs=1e-12)
    assert found.false_alarm_rate == pytest.approx(np.mean(flagged[~truth]), abs=1e-12)


def test_a_random_scorer_gets_what_chance_gives_however_long_the_incidents_are() -> None:
    """Point adjustment would give it an F1 near 1: every incident of 100 rows holds some flagged row."""
    truth = np.zeros(10_000)
    truth.reshape(-1, 100)[::10] = 1
    flagged = np.random.default_rng(0).random(10_000) < 0.1

    assert confusion(truth, flagged).f_beta() == pytest.approx(0.1, abs=0.03)


def test_the_bootstrap_interval_holds_the_value_and_depends_on_the_seed_alone() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random(400) < 0.2
    ranking = Ranking.of(truth, generator.normal(size=400) + truth)

    first, again, other = (bootstrap_ranking(ranking, seed=seed, rounds=200) for seed in (3, 3, 4))

    assert first == again
    for one, another in zip(first, other, strict=True):
        assert one[1:] != another[1:]
        assert one.low < one.value < one.high
    assert first.auroc.value == pytest.approx(ranking_auroc(ranking), abs=1e-12)
    assert first.average_precision.value == pytest.approx(ranking_average_precision(ranking), abs=1e-12)


@settings(max_examples=50)
@given(LABELLED)
def test_ranks_between_positives_can_be_merged(rows: list[tuple[bool, int]]) -> None:
    counts = Ranking.of(*_columns(rows)).counts()

    merged = counts.merged()

    assert len(merged.positives) <= 2 * np.count_nonzero(counts.positives) + 1
    assert [part.sum() for part in merged] == [part.sum() for part in counts]
    assert merged.auroc() == pytest.approx(counts.auroc(), abs=1e-12)
    assert merged.average_precision() == pytest.approx(counts.average_precision(), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("positives", "shift"), [(10, 3.0), (100, 0.0), (1_500, 1.0), (2_990, 0.5)])
@pytest.mark.parametrize("digits", [None, 1])
def test_the_interval_is_that_of_drawn_rows(positives: int, shift: float, digits: int | None) -> None:
    """Oracle: rows drawn one after the other. An end of 20,000 draws is known to 2 % of a standard deviation."""
    generator = np.random.default_rng(7)
    truth = np.arange(3_000) < positives
    score = generator.normal(size=3_000) + shift * truth
    ranking = Ranking.of(truth, score if digits is None else score.round(digits))
    draws = [ranking.resampled(generator) for _ in range(20_000)]

    found = bootstrap_ranking(ranking, seed=0, rounds=20_000)

    for interval, measure in zip(found, (ranking_auroc, ranking_average_precision), strict=True):
        values = [measure(each) for each in draws]
        assert interval.value == pytest.approx(measure(ranking), abs=1e-12)
        assert interval[1:] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.08 * np.std(values))


@pytest.mark.parametrize("positives", [20, 1_500])
def test_draws_of_counts_are_those_of_rows(positives: int) -> None:
    """Few positives draw one binomial per rank, many draw rows; both must have the spread of drawn rows."""
    generator = np.random.default_rng(5)
    truth = np.arange(3_000) < positives
    ranking = Ranking.of(truth, generator.normal(size=3_000) + truth)
    rows = [ranking.resampled(generator) for _ in range(1_000)]

    found = bootstrap_ranking(ranking, seed=0, rounds=4_000)

    for interval, measure in zip(found, (ranking_auroc, ranking_average_precision), strict=True):
        low, high = np.quantile([measure(each) for each in rows], [0.025, 0.975])
        assert interval.high - interval.low == pytest.approx(high - low, rel=0.15)


def test_the_bootstrap_spread_of_auroc_is_that_of_the_normal_theory() -> None:
    """Oracle: Hanley & McNeil 1982, with DeLong's (1988) structural components in place of their approximation."""
    generator = np.random.default_rng(2)
    truth = np.arange(600) < 200
    score = generator.normal(size=600) + truth
    above = score[truth][:, None] > score[~truth][None, :]
    error = np.sqrt(above.mean(1).var(ddof=1) / 200 + above.mean(0).var(ddof=1) / 400)

    interval = bootstrap_ranking(Ranking.of(truth, score), seed=0).auroc

    assert (interval.high - interval.low) / (2 * 1.96 * error) == pytest.approx(1.0, abs=0.1)


@settings(max_examples=30)
@given(LABELLED, st.integers(0, 2**31))
def test_rows_drawn_again_measure_as_those_rows_would(rows: list[tuple[bool, int]], seed: int) -> None:
    truth, score = _columns(rows)
    ranking = Ranking.of(truth, score).resampled(np.random.default_rng(seed))
    places = np.concatenate([ranking.positives, ranking.negatives])
    drawn = np.arange(len(places)) < len(ranking.positives)

    assert len(ranking.positives) == truth.sum()
    assert len(ranking.negatives) == (~truth).sum()
    assert ranking_auroc(ranking) == pytest.approx(roc_auc_score(drawn, -places), abs=1e-12)
    assert ranking_average_precision(ranking) == pytest.approx(average_precision_score(drawn, -places), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "score", "sentence"),
    [
        (
            [1, 1, 1],
            [1, 2, 3],
            r"^labels are not of both classes: expected 0 and 1, got 3 labels, all 1\. Give rows of both classes\.$",
        ),
        ([False, False], [1, 2], r"got 2 labels, all 0\. Give rows of both classes\.$"),
        ([], [], r"^labels are not of both classes: expected 0 and 1, got no labels\. Give rows of both classes\.$"),
        ([0, 1, 2], [1, 2, 3], r"^a label is invalid: expected 0 or 1, got 2\. State the positive value\.$"),
        (["good", "bad"], [1, 2], r"^a label is invalid: expected 0 or 1, got good"),
        ([0, np.nan], [1, 2], r"^a label is invalid: expected 0 or 1, got nan"),
        ([0, None], [1, 2], r"^a label is invalid: expected 0 or 1, got None"),
        ([0, 1], [1, np.nan], r"^1 of 2 rows have no score\. Leave out rows that were not scored\.$"),
        ([0, 1], [1, None], r"^1 of 2 rows have no score"),
        ([0, 1, 1], [1, 2], r"got \(3,\) and \(2,\)\. Give one label and one score per row\.$"),
        ([[0], [1]], [[1], [2]], r"^labels do not match the scores: .* got \(2, 1\)"),
    ],
)
def test_invalid_labels_or_scores_are_rejected(truth: object, score: object, sentence: str) -> None:
    for measure in (auroc, average_precision, confusion):
        with pytest.raises(EvaluationInvalid, match=sentence):
            measure(truth, score)  # type: ignore[operator]


def test_intervals_of_alarms_are_those_of_rows_drawn_again_within_each_class() -> None:
    generator = np.random.default_rng(0)
    truth = np.arange(600) < 60
    flagged = generator.random(600) < np.where(truth, 0.7, 0.05)

    found = bootstrap_alarms(confusion(truth, flagged), seed=1, rounds=4_000)

    positive, negative = flagged[truth], flagged[~truth]
    drawn = []
    for _ in range(4_000):
        hits, false = generator.choice(positive, 60).sum(), generator.choice(negative, 540).sum()
        drawn.append((hits / (hits + false), hits / 60))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert found.precision.value == pytest.approx(precision_score(truth, flagged))
    assert found.recall.value == pytest.approx(recall_score(truth, flagged))
    assert [each.low for each in found] == pytest.approx(low.tolist(), abs=0.01)
    assert [each.high for each in found] == pytest.approx(high.tolist(), abs=0.01)
