import numpy as np
import pytest
import torch
from sklearn import datasets

from aepipe.errors import OptionInvalid
from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.heads.scorer import LossScale, Scorer, fit_scorer
from tests.support.head_models import cells, image_layout, mixed_layout, random_rows, table_layout, train

FAULT = 8.0  # robust standard deviations


def _tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return training rows and other rows of three real tables."""
    tables = {"cells": cells()}
    for name, load in (("wine", datasets.load_wine), ("diabetes", datasets.load_diabetes)):
        numbers = load().data.astype(np.float32)
        order = np.random.default_rng(0).permutation(len(numbers))
        half = int(0.6 * len(numbers))
        tables[name] = numbers[order[:half]], numbers[order[half:]]
    return tables


def _scorer(numbers: np.ndarray, *, head: str = "knn", reasons: int = 3, family: str = "pca") -> Scorer:
    learned, dev = {"num": numbers[20:]}, {"num": numbers[:20]}
    model = train(table_layout(numbers[20:]), learned, dev, family=family)
    return fit_scorer(model, learned, dev, head=head, reasons=reasons)


@torch.no_grad()
def _answers(scorer: Scorer, numbers: np.ndarray) -> list[np.ndarray]:
    return [answer.numpy() for answer in scorer(torch.from_numpy(numbers))]


def _spread(numbers: np.ndarray) -> np.ndarray:
    low, high = np.quantile(numbers, [0.25, 0.75], axis=0)
    return np.asarray((high - low) / 1.349)


def _first_reasons_found(
    learned: np.ndarray, rows: np.ndarray, *, family: str, trials: int, columns: np.ndarray | None = None
) -> float:
    """Inject faults into one column of a row; return how often that column is the first reason."""
    generator = np.random.default_rng(0)
    spread = _spread(learned)
    column = generator.choice(np.flatnonzero(spread > 0) if columns is None else columns, trials)
    faulty = rows[generator.integers(0, len(rows), trials)]
    faulty[np.arange(trials), column] += FAULT * (spread[column] * generator.choice([-1, 1], trials)).astype(np.float32)

    _, _, reason, _ = _answers(_scorer(learned, family=family), faulty)

    return float((reason[:, 0] == column).mean())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ae", "vae", "pca"])
def test_a_fault_planted_in_one_column_makes_it_the_first_reason(family: str) -> None:
    found = [_first_reasons_found(*rows, family=family, trials=350) for rows in _tables().values()]

    assert np.mean(found) >= 0.98
    assert min(found) >= 0.95


def test_faults_are_found_in_columns_that_a_tenth_of_the_training_rows_have_worse_ones_in() -> None:
    learned, rows = cells()
    polluted, columns = learned.copy(), np.arange(3)
    generator = np.random.default_rng(1)
    at = generator.choice(len(learned), len(learned) // 10, replace=False)
    polluted[np.ix_(at, columns)] += (
        30 * _spread(learned)[columns] * generator.choice([-1, 1], (len(at), len(columns)))
    ).astype(np.float32)

    found = _first_reasons_found(polluted, rows, family="pca", trials=350, columns=columns)

    assert found >= 0.8  # 0.18 without a bound on their effect on the covariance


def test_reasons_are_the_columns_of_greatest_attribution_in_order() -> None:
    learned, rows = cells()
    scorer = _scorer(learned, reasons=4)

    _, _, reason, reason_z = _answers(scorer, rows)

    with torch.no_grad():
        attribution = scorer.attribution(scorer.probe(torch.from_numpy(rows))).numpy()
    np.testing.assert_array_equal(reason, np.argsort(-attribution, axis=1, kind="stable")[:, :4])
    np.testing.assert_allclose(reason_z, -np.sort(-attribution, axis=1)[:, :4], rtol=1e-5)
    assert reason.dtype == np.int32
    assert (np.diff(reason_z, axis=1) <= 0).all()


def test_scores_and_latents_are_those_of_head_and_encoder() -> None:
    learned, rows = cells()
    scorer = _scorer(learned, head="mahalanobis")

    z, score, _, _ = _answers(scorer, rows)

    probe = ModelProbe(scorer.probe.model)
    train_rows, dev_rows, evidence = (
        collect_outputs(probe, {"num": numbers}, most=1_000, seed=0) for numbers in (learned[20:], learned[:20], rows)
    )
    head = heads.find("mahalanobis").fit(HeadStats(train_rows, dev_rows))
    np.testing.assert_allclose(score, head(evidence).numpy(), rtol=1e-6)
    np.testing.assert_allclose(z, evidence.z.numpy(), rtol=1e-6)


def test_malignant_cells_score_above_benign_ones() -> None:
    learned, benign = cells()
    table = datasets.load_breast_cancer()
    malignant = table.data[table.target == 0].astype(np.float32)

    for head in heads.names():
        scorer = _scorer(learned, head=head)
        ill, well = _answers(scorer, malignant)[1], _answers(scorer, benign)[1]

        assert (ill[:, None] > well[None]).mean() > 0.85


def test_the_scale_of_losses_is_halfway_between_their_own_spread_and_the_mean_one() -> None:
    losses = torch.from_numpy(np.random.default_rng(0).normal([1, 5], [1, 3], size=(20_000, 2)))

    scaled = LossScale(losses)(torch.tensor([[3.0, 5.0], [1.0, 10.0]]))

    wanted = torch.tensor([[2 / ((1 + 2) / 2), 0], [0, 5 / ((3 + 2) / 2)]])
    torch.testing.assert_close(scaled, wanted, rtol=0.05, atol=0.05)


def test_losses_that_never_vary_are_scaled_to_finite_numbers() -> None:
    scaled = LossScale(torch.ones(100, 3))(torch.tensor([[1.0, 2.0, 1e6]]))

    assert torch.isfinite(scaled).all()


def test_no_more_reasons_are_given_than_there_are_columns() -> None:
    layout = mixed_layout()
    rows, dev = random_rows(layout, 200), random_rows(layout, 50, seed=1)
    scorer = fit_scorer(train(layout, rows, dev, epochs=1, family="ae"), rows, dev, head="knn", reasons=20)

    part = scorer.part()

    assert [port.row_shape for port in part.outputs[2:]] == [(4,), (4,)]
    assert scorer(*(torch.from_numpy(rows[port.name]) for port in part.inputs))[2].shape == (200, 4)


def test_without_reasons_the_graph_answers_latents_and_score_only() -> None:
    scorer = _scorer(cells()[0], reasons=0)

    assert len(_answers(scorer, cells()[1])) == 2
    assert [port.name for port in scorer.part().outputs] == ["z", "score"]


def test_without_dev_rows_training_rows_are_used_instead() -> None:
    learned = {"num": cells()[0]}
    model = train(table_layout(learned["num"]), learned, learned, family="pca")
    none = {"num": learned["num"][:0]}

    without = fit_scorer(model, learned, none, head="mahalanobis", reasons=1)

    same = fit_scorer(model, learned, learned, head="mahalanobis", reasons=1)
    np.testing.assert_array_equal(_answers(without, cells()[1])[1], _answers(same, cells()[1])[1])


def test_the_reasons_of_an_image_are_its_regions() -> None:
    layout = image_layout()
    rows, dev = random_rows(layout, 300), random_rows(layout, 60, seed=1)
    scorer = fit_scorer(train(layout, rows, dev, family="pca"), rows, dev, head="knn", reasons=2)
    spoilt = dev["image"].copy()
    spoilt[:, 0, 2:4, 6:8] = 255

    _, _, reason, _ = scorer(torch.from_numpy(spoilt))

    assert (reason[:, 0] == 7).float().mean() > 0.95  # second row of regions, fourth column


def test_an_unknown_head_is_refused_before_any_work() -> None:
    model = train(table_layout(cells()[0]), {"num": cells()[0]}, {"num": cells()[1]}, family="pca")

    with pytest.raises(OptionInvalid, match="there is no head 'kn'; did you mean 'knn'"):
        fit_scorer(model, {"num": cells()[0]}, {"num": cells()[1]}, head="kn", reasons=1)
