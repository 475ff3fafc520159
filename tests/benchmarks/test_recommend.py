"""Measures of rankings against hand-made cases, and baselines on a small catalogue."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks.recommend import (
    ITEMS,
    World,
    by_neighbours,
    by_popularity,
    by_regression,
    by_singular_vectors,
    ndcg,
    recall,
    regression_weights,
)


def test_measures_of_a_ranking_agree_with_hand_made_cases() -> None:
    ranked, hidden = [[5, 7, 9, 1], [1, 2, 3, 4]], [[7, 1], [9]]

    assert recall(ranked, hidden, 2) == pytest.approx((0.5 + 0) / 2)
    best = 1 + 1 / np.log2(3)
    assert ndcg(ranked, hidden, 4) == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / best / 2)
    assert ndcg([[7, 1, 5, 9]], [[1, 7]], 4) == pytest.approx(1.0)


def test_baselines_rank_what_others_had_and_leave_out_what_a_user_has() -> None:
    learned = [[0, 1, 2], [0, 1], [3, 4], [3, 4], [0, 5]] + [[at] for at in range(6, ITEMS)]
    seen = World(learned, [[1], [3]], [[0], [4]])

    assert [row[0] for row in by_popularity(seen)] == [0, 0]
    assert [row[0] for row in by_neighbours(seen)] == [0, 4]
    assert all(item not in row for row, (item,) in zip(by_popularity(seen), seen.shown, strict=True))


def test_weights_of_ease_are_ridge_regressions_of_each_item_on_the_others() -> None:
    users = (np.random.default_rng(0).random((40, 6)) < 0.4).astype(np.float64)

    weights = regression_weights(users.T @ users, ridge=3.0)

    for item in range(6):
        others = [at for at in range(6) if at != item]
        fitted = Ridge(alpha=3.0, fit_intercept=False).fit(users[:, others], users[:, item])
        np.testing.assert_allclose(weights[others, item], fitted.coef_)
        assert weights[item, item] == 0


@pytest.mark.slow
def test_linear_methods_rank_what_goes_with_the_items_of_a_user() -> None:
    learned = [[0, 1], [0, 1], [3, 4], [3, 4], [0, 5]] + [[at] for at in range(6, ITEMS)]
    seen = World(learned, [[1], [3]], [[0], [4]])

    assert [row[0] for row in by_regression(seen, ridge=1.0)] == [0, 4]
    assert [row[0] for row in by_singular_vectors(seen, rank=2)] == [0, 4]
