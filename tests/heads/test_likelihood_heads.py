import torch

from aepipe.heads.base import HeadStats
from aepipe.heads.scores import find
from tests.support.head_models import scoring_inputs


def test_reconstruction_is_the_negative_log_likelihood_of_the_row() -> None:
    rows = scoring_inputs(10)

    torch.testing.assert_close(find("reconstruction").fit(HeadStats(rows, rows))(rows), rows.total)


def test_elbo_adds_the_divergence_from_the_prior() -> None:
    rows = scoring_inputs(10)

    torch.testing.assert_close(find("elbo").fit(HeadStats(rows, rows))(rows), rows.total + rows.kl)


def test_residual_is_the_root_mean_square_of_the_residuals() -> None:
    rows = scoring_inputs(10)

    expected = torch.tensor([sum(value**2 for value in row) / len(row) for row in rows.residual.tolist()]).sqrt()

    torch.testing.assert_close(find("residual").fit(HeadStats(rows, rows))(rows), expected)
