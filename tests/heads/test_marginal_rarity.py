import numpy as np
import torch

from aepipe.heads.marginal_rarity import marginals
from tests.support.head_models import scoring_inputs


def test_the_loss_of_a_row_is_interpolated_like_by_numpy() -> None:
    known, rows = scoring_inputs(500), scoring_inputs(50, seed=1)

    found = marginals(known)(rows)

    expected = np.zeros(50)
    for column, values in zip(known.row.double().numpy().T, rows.row.double().numpy().T, strict=True):
        nodes = np.linspace(column.min(), column.max(), 20)
        step = nodes[1] - nodes[0]
        mass = np.maximum(0, 1 - np.abs(column[:, None] - nodes) / step).sum(axis=0)
        costs = -np.log((np.concatenate([[0], mass, [0]]) + 0.5) / (500 + 0.5 * 22))
        expected += np.interp(values, np.concatenate([[nodes[0] - step], nodes, [nodes[-1] + step]]), costs)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_the_rarity_of_categories_is_added() -> None:
    known, rows = scoring_inputs(500, categories=3), scoring_inputs(50, categories=3, seed=1)
    of_numbers = marginals(known._replace(rarity=known.rarity[:, :0]))
    of_categories = marginals(known._replace(row=known.row[:, :0]))

    found = marginals(known)(rows)

    np.testing.assert_allclose(of_categories(rows).numpy(), rows.rarity.sum(1).numpy())
    np.testing.assert_allclose(found.numpy(), (of_numbers(rows) + rows.rarity.sum(1)).numpy(), rtol=1e-5)


def test_rounding_on_either_side_of_a_known_value_changes_nothing() -> None:
    """The values are whole numbers, many of them on a node, with the smallest and the largest."""
    known = scoring_inputs(400)
    known.row[:, :] = torch.randint(0, 20, known.row.shape, generator=torch.Generator().manual_seed(0)).float()
    head = marginals(known)

    above, below = (head(known._replace(row=known.row * (1 + sign * 1e-6) + sign * 1e-6)) for sign in (1, -1))

    torch.testing.assert_close(above, below, rtol=1e-4, atol=1e-3)


def test_a_column_of_one_value_distinguishes_it_from_every_other() -> None:
    known = scoring_inputs(100)
    known.row[:, 0] = 3.0
    rows = scoring_inputs(3, seed=1)
    rows.row[:, :] = known.row[:3]
    rows.row[1, 0] = 3.1

    found = marginals(known)(rows)

    usual = marginals(known)(known)[:3]
    torch.testing.assert_close(found[[0, 2]], usual[[0, 2]])
    assert found[1] > usual[1] + 4
