import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from aepipe.heads.base import HeadStats, ScoringInputs, select_rows
from aepipe.heads.distance_space import Scaling, coordinates, standard_scaling
from aepipe.heads.scores.knn import BANK_ROWS, HEAD, NEIGHBOURS, SOFTENING, nearest_neighbours
from aepipe.heads.scores.knn import NearestNeighbours as HeadOfBank
from tests.support.head_models import scoring_inputs


def _oracle(train: ScoringInputs, dev: ScoringInputs, rows: ScoringInputs) -> np.ndarray:
    center, scale = standard_scaling(train, dev)
    bank = np.concatenate([coordinates(train), coordinates(dev)])
    tree = NearestNeighbors(n_neighbors=NEIGHBOURS).fit((bank - center) / scale)
    distances, _ = tree.kneighbors((coordinates(rows) - center) / scale)
    return np.asarray(np.sqrt(distances**2 / scale.size + SOFTENING**2).mean(axis=1))


@pytest.mark.parametrize(("residuals", "latents"), [(6, 3), (1, 1), (200, 16)])
def test_the_score_is_the_mean_distance_to_the_nearest_rows_of_scikit_learn(residuals: int, latents: int) -> None:
    train, dev, rows = (scoring_inputs(n, residuals=residuals, latents=latents, seed=n) for n in (900, 100, 150))

    found = HEAD.fit(HeadStats(train, dev))(rows)

    np.testing.assert_allclose(found.numpy(), _oracle(train, dev, rows), rtol=1e-5)


def test_a_row_far_out_loses_no_digits() -> None:
    train, dev = scoring_inputs(900), scoring_inputs(100, seed=1)
    far = ScoringInputs(*(1e4 * part for part in scoring_inputs(50, seed=2)))

    found = HEAD.fit(HeadStats(train, dev))(far)

    np.testing.assert_allclose(found.numpy(), _oracle(train, dev, far), rtol=1e-5)


def test_a_row_close_to_a_sample_of_the_bank_keeps_its_precision() -> None:
    train, dev = scoring_inputs(900), scoring_inputs(100, seed=1)
    repeated = ScoringInputs(*(part[:20].repeat(45, *[1] * (part.ndim - 1)) for part in train))
    close = repeated._replace(residual=repeated.residual + 1e-3 * torch.randn(repeated.residual.shape))

    found = HEAD.fit(HeadStats(repeated, dev))(close)

    np.testing.assert_allclose(found.numpy(), _oracle(repeated, dev, close), rtol=1e-5)


def test_a_row_of_the_bank_itself_scores_the_least_there_is() -> None:
    repeated = ScoringInputs(*(part[:20].repeat(45, *[1] * (part.ndim - 1)) for part in scoring_inputs(900)))

    found = HEAD.fit(HeadStats(repeated, scoring_inputs(100, seed=1)))(repeated)

    np.testing.assert_allclose(found.numpy(), SOFTENING, rtol=1e-5)


@pytest.mark.parametrize("rows", [999, 1_000, 1_001, 2_500])
@pytest.mark.parametrize("has_ties", [False, True])
def test_neighbours_found_by_groups_are_those_of_a_sort(rows: int, has_ties: bool) -> None:
    generator = np.random.default_rng(rows)
    bank = generator.normal(size=(rows, 3))
    if has_ties:
        bank = bank.round()
    head = HeadOfBank(Scaling(np.zeros(3), np.ones(3)), bank)
    closeness = torch.from_numpy(generator.normal(size=(40, rows)).astype(np.float32))
    closeness = closeness.round() if has_ties else closeness

    for count in (1, 2, 3):
        found = head._greatest(closeness, count)

        assert torch.equal(closeness.gather(1, found), closeness.sort(dim=1, descending=True).values[:, :count])
        assert all(len(set(row)) == count for row in found.tolist())
    assert (head.groups < rows) == (rows in (1_000, 2_500))


def test_the_bank_holds_so_many_rows_at_most_chosen_by_the_seed() -> None:
    train, dev = scoring_inputs(3_000), scoring_inputs(100, seed=1)

    one, other = (HEAD.fit(HeadStats(train, dev, seed)).state_dict()["bank"] for seed in (0, 1))

    assert one.shape == (BANK_ROWS, 9)
    assert not torch.equal(one, other)


def test_rows_of_the_bank_are_held_against_the_others_of_it() -> None:
    train, dev = scoring_inputs(300), scoring_inputs(60, seed=1)
    head = nearest_neighbours(HeadStats(train, dev))

    found = head.among_others(select_rows(train, torch.arange(20)))

    for i in range(20):
        others = select_rows(train, torch.tensor([j for j in range(300) if j != i]))
        center, scale = standard_scaling(train, dev)
        bank = (np.concatenate([coordinates(others), coordinates(dev)]) - center) / scale
        point = (coordinates(train)[i] - center) / scale
        distances = np.sort(np.sqrt(((bank - point) ** 2).mean(axis=1) + SOFTENING**2))[:NEIGHBOURS]
        assert found[i].item() == pytest.approx(distances.mean(), rel=1e-5)


def test_fewer_rows_than_neighbours_are_all_neighbours() -> None:
    train, rows = scoring_inputs(NEIGHBOURS - 1), scoring_inputs(10, seed=1)

    found = HEAD.fit(HeadStats(train, train))(rows)

    center, scale = standard_scaling(train, train)
    points, bank = ((coordinates(part) - center) / scale for part in (rows, train))
    squares = ((points[:, None] - bank[None]) ** 2).mean(axis=2)
    wanted = np.sqrt(squares + SOFTENING**2).mean(axis=1)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
