import torch

from aepipe.heads.base import HeadStats
from aepipe.heads.scores import find
from tests.support.head_models import evidence


def test_reconstruction_is_the_negative_log_likelihood_of_the_row() -> None:
    rows = evidence(10)

    torch.testing.assert_close(find("reconstruction").fit(HeadStats(rows, rows))(rows), rows.total)


def test_elbo_adds_the_divergence_from_the_prior() -> None:
    rows = evidence(10)

    torch.testing.assert_close(find("elbo").fit(HeadStats(rows, rows))(rows), rows.total + rows.kl)
