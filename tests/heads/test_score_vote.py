import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs, all_rows, select_rows
from aepipe.heads.score_vote import Vote
from aepipe.heads.scores.mahalanobis import mahalanobis
from aepipe.heads.scores.reconstruction import Reconstruction
from tests.support.head_models import scoring_inputs


def test_a_vote_is_the_mean_of_logarithms_in_spreads() -> None:
    train, rows = scoring_inputs(400), scoring_inputs(30, seed=2)
    views = [Reconstruction(), mahalanobis(HeadStats(train, train))]

    found = Vote(views, train)(rows)

    expected = np.zeros(30)
    for view in views:
        normal, scores = view(train).double().numpy(), view(rows).double().numpy()
        low, high = np.quantile(np.log1p(normal / np.median(normal)), [0.25, 0.75])
        expected += np.log1p(scores / np.median(normal)) / (high - low) / 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_dev_rows_that_are_the_training_rows_are_not_counted_twice() -> None:
    train = scoring_inputs(40)

    assert len(all_rows(HeadStats(train, train)).total) == 40
    assert len(all_rows(HeadStats(train, scoring_inputs(7, seed=1))).total) == 47


def test_a_row_that_the_model_reconstructs_is_found_by_its_own_values() -> None:
    """Residual and latents are like those from normal rows, so that knn has no evidence."""
    train, dev, anomalous = scoring_inputs(500), scoring_inputs(60, seed=1), scoring_inputs(40, seed=2)
    anomalous = anomalous._replace(row=anomalous.row + 4 * train.row.std(0))
    normal = scoring_inputs(40, seed=3)
    truth = np.repeat([0, 1], 40)
    rows = ScoringInputs(*map(torch.cat, zip(normal, anomalous, strict=True)))

    alone, together = (heads.find(name).fit(HeadStats(train, dev))(rows) for name in ("knn", "knn_with_row"))

    assert roc_auc_score(truth, alone) < 0.7
    assert roc_auc_score(truth, together) > 0.95


@pytest.mark.parametrize("name", ["knn_with_row", "knn_with_quantiles", "consensus"])
def test_rows_without_numbers_are_scored_by_the_model_alone(name: str) -> None:
    def bare(rows: ScoringInputs) -> ScoringInputs:
        return rows._replace(row=rows.row[:, :0])

    head = heads.find(name).fit(HeadStats(bare(scoring_inputs(200)), bare(scoring_inputs(50, seed=1))))

    assert torch.isfinite(head(bare(scoring_inputs(9, seed=2)))).all()


def test_a_consensus_is_more_robust_to_outliers_than_its_heads() -> None:
    """A tenth of the rows forms a distant, dense cluster: near to each other, and within the covariance of all rows."""
    outliers = scoring_inputs(60, seed=5)
    outliers = ScoringInputs(*(0.05 * part + 6 * part.std(0) if part.numel() else part for part in outliers))
    train = ScoringInputs(*map(torch.cat, zip(scoring_inputs(540), outliers, strict=True)))
    stats = HeadStats(train, scoring_inputs(60, seed=1))
    rows = ScoringInputs(
        *map(torch.cat, zip(scoring_inputs(200, seed=2), select_rows(outliers, torch.arange(20)), strict=True))
    )
    truth = np.repeat([0, 1], [200, 20])

    found = {name: roc_auc_score(truth, heads.find(name).fit(stats)(rows)) for name in ("knn", "consensus")}

    assert found["knn"] < 0.7
    assert found["consensus"] > 0.98


def test_quantiles_of_a_skewed_number_show_rows_that_its_spread_hides() -> None:
    """One number is lognormal: its large values set its spread, so that anomalous small values look normal."""
    train, dev, anomalous, normal = (
        scoring_inputs(rows, seed=seed) for rows, seed in ((500, 0), (60, 1), (40, 2), (200, 3))
    )
    skewed = [
        torch.exp(3 * torch.randn(len(part.row), 1, generator=torch.Generator().manual_seed(i)).abs())
        for i, part in enumerate((train, dev, anomalous, normal))
    ]
    skewed[2] = torch.full_like(skewed[2], 0.1)
    train, dev, anomalous, normal = (
        part._replace(row=torch.cat([part.row, number], 1))
        for part, number in zip((train, dev, anomalous, normal), skewed, strict=True)
    )
    rows = ScoringInputs(*map(torch.cat, zip(normal, anomalous, strict=True)))
    truth = np.repeat([0, 1], [200, 40])

    row, quantiles = (
        heads.find(name).fit(HeadStats(train, dev))(rows) for name in ("knn_with_row", "knn_with_quantiles")
    )

    assert roc_auc_score(truth, quantiles) > roc_auc_score(truth, row) + 0.1


def test_the_default_head_sees_a_value_that_training_never_had() -> None:
    train, dev = scoring_inputs(540, categories=3), scoring_inputs(60, categories=3, seed=1)
    head = heads.find("knn_with_quantiles").fit(HeadStats(train, dev))
    usual = scoring_inputs(400, categories=3, seed=2)
    unseen = usual._replace(rarity=usual.rarity.clone())
    unseen.rarity[:, 1] = -np.log(0.5 / 600)

    before, after = head(usual).numpy(), head(unseen).numpy()

    assert (after > before).all()
    assert roc_auc_score(np.repeat([0, 1], 400), np.concatenate([before, after])) > 0.9
