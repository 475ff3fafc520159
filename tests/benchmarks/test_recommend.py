"""Measures of rankings against hand-made cases, and the baselines on a small world."""

import numpy as np
import pytest

from benchmarks.recommend import ITEMS, World, by_neighbours, by_popularity, ndcg, recall


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
