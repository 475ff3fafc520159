import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aepipe.heads.base import HeadStats, ScoringInputs, select_rows
from aepipe.heads.scores.consensus import HEAD, NEIGHBOURS, TRUSTED_ROWS, _trusted_neighbours
from aepipe.heads.scores.knn import SOFTENING
from tests.support.head_models import scoring_inputs


@pytest.mark.parametrize("numbers", [0, 1, 6])
def test_rows_of_rare_categories_score_high_among_contaminated_rows(numbers: int) -> None:
    rows = scoring_inputs(1_000, categories=5)
    rows.rarity[:50, :3] = -np.log(0.01)  # in numbers, these rows are like the others
    rows = rows._replace(row=rows.row[:, :numbers])

    scores = HEAD.fit(HeadStats(rows, rows)).among_others(rows).numpy()

    assert roc_auc_score(np.arange(1_000) < 50, scores) > 0.9


class _ByFirstNumber(torch.nn.Module):
    """Vote by the first number: rows with small ones are trusted."""

    def among_others(self, rows: ScoringInputs) -> torch.Tensor:
        return rows.row[:, 0]


def test_only_rows_that_the_first_vote_trusts_become_neighbours() -> None:
    rows = scoring_inputs(400)
    doubted = rows.row[:, 0] > torch.quantile(rows.row[:, 0], 0.8)

    head = _trusted_neighbours(HeadStats(rows, rows), rows, _ByFirstNumber())

    assert len(head.bank) == 320
    nearest = head._distances(rows, 1).flatten()
    assert (nearest[~doubted] < 1.001 * SOFTENING).all()
    assert (nearest[doubted] > 1.001 * SOFTENING).all()


def test_rows_outside_of_the_bank_keep_their_nearest_row_where_they_are_held_against_others() -> None:
    rows = scoring_inputs(400)
    doubted = np.flatnonzero((rows.row[:, 0] > torch.quantile(rows.row[:, 0], 0.8)).numpy())

    head = _trusted_neighbours(HeadStats(rows, rows), rows, _ByFirstNumber())

    outside = select_rows(rows, torch.from_numpy(doubted))
    np.testing.assert_allclose(head.among_others(outside), head(outside), rtol=1e-6)
    trusted = select_rows(rows, torch.from_numpy(np.setdiff1d(np.arange(400), doubted)))
    assert (head.among_others(trusted) > head(trusted)).all()


def test_the_bank_of_trusted_rows_is_bounded() -> None:
    rows = scoring_inputs(2 * TRUSTED_ROWS)

    head = _trusted_neighbours(HeadStats(rows, rows), rows, _ByFirstNumber())

    assert len(head.bank) == TRUSTED_ROWS
    assert head.neighbours == NEIGHBOURS
