"""IWAE: one draw is the VAE, more draws tighten the bound, and both gradients estimate the same."""

import pytest
import torch

from aepipe.models.base import Batch
from aepipe.models.layers.preprocessing import Row
from tests.support.family_models import context, make_model


def test_one_draw_is_the_sampled_evidence_lower_bound() -> None:
    model, row = make_model("iwae", draws=1)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior = model.posterior(row)
    normal = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_var).exp())
    noise = torch.randn(posterior.mean.shape, generator=context().generator, dtype=torch.float64)
    z = posterior.mean + noise * normal.stddev
    ratio = (torch.distributions.Normal(0.0, 1.0).log_prob(z) - normal.log_prob(z)).sum(1)
    nll = model.likelihood.nll(model.decode(z, row.given), row).sum(1)
    assert loss.total.item() == pytest.approx(-(ratio - nll).mean().item())


def test_more_draws_tighten_the_bound() -> None:
    bounds = []
    for draws in (1, 4, 16, 64):
        model, row = make_model("iwae", draws=draws, rows=64)
        losses = [model.objectives()[0].loss(Batch(row, row), context(seed)).total.item() for seed in range(20)]
        bounds.append(-sum(losses) / 20)

    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0]


def test_both_gradients_have_the_same_mean() -> None:
    """One row is repeated 20,000 times, so that a batch mean is a mean over 20,000 draws."""
    found = {}
    for gradient in ("standard", "doubly_reparametrised"):
        model, row = make_model("iwae", draws=3, gradient=gradient, hidden=[])
        batch = Row(*(part[:1].expand(20_000, *part.shape[1:]) for part in row))
        model.objectives()[0].loss(Batch(batch, batch), context(7)).total.backward()
        found[gradient] = torch.cat(
            [weights.grad.flatten() for weights in model.parameters() if weights.grad is not None]
        )

    scale = found["standard"].abs().max().item()
    torch.testing.assert_close(found["standard"], found["doubly_reparametrised"], rtol=0, atol=0.05 * scale)
    assert not torch.equal(found["standard"], found["doubly_reparametrised"])
