"""What model cards say of trained models: measured on rows that they did not learn from."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from aepipe.models.base import Batch, Model, Posterior
from aepipe.models.latent_space import draw_from
from aepipe.models.losses import gaussian_nll
from aepipe.models.total_correlation import total_correlation

ACTIVE_NATS = 0.01
"""A latent with less KL than this is not in use."""

_IMPORTANCE_DRAWS = 64


def rebuilding_facts(model: Model, batch: Batch) -> dict[str, float]:
    """The mean negative log-likelihood of a row, in nats, and the mean squared residual of a feature."""
    params = model.reconstruct(batch.seen).params
    return {
        "nll": float(model.likelihood.nll(params, batch.clean).sum(1).mean()),
        "mse": float(model.likelihood.residual(params, batch.clean).square().mean()),
    }


def gaussian_facts(model: Model, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
    """Of a family with Gaussian latents and N(0, I): the bound, its KL, latents in use, and a tighter bound."""
    posterior = model.posterior(batch.seen)
    by_latent = posterior.kl.mean(0)
    params = model.decode(draw_from(posterior, generator), batch.seen.given)
    nll = float(model.likelihood.nll(params, batch.clean).sum(1).mean())
    kl = float(by_latent.sum())
    log_weights = partial(_log_weights, model, batch, posterior, generator)
    return {
        **rebuilding_facts(model, batch),
        "elbo": -(nll + kl),
        "kl": kl,
        "active_latents": float((by_latent > ACTIVE_NATS).sum()),
        "log_likelihood": float(importance_weighted(log_weights).mean()),
        **{f"kl.{name}": float(nats) for name, nats in zip(model.latent.names, by_latent, strict=True)},
    }


def independence_facts(model: Model, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
    """Those of `gaussian_facts`, and how far the latents are from independent: their total correlation."""
    facts = gaussian_facts(model, batch, generator)
    posterior = model.posterior(batch.seen)
    assert posterior.log_var is not None
    return {**facts, "total_correlation": total_correlation(posterior.mean, posterior.log_var, generator)}


def importance_weighted(log_weights: Callable[[], Tensor], *, draws: int = _IMPORTANCE_DRAWS) -> Tensor:
    """log p(row) from below, (B,) in nats: log of the mean of p(x|z) p(z) / q(z|x) over draws of q.

    log_weights: draws latents, and answers the logs of these quotients, (B,). Burda, Grosse & Salakhutdinov 2015
    (IWAE), equation 8; it tightens as draws grow.

    >>> importance_weighted(lambda: torch.zeros(2), draws=4)
    tensor([0., 0.])
    """
    return torch.logsumexp(torch.stack([log_weights() for _ in range(draws)]), 0) - math.log(draws)


def _log_weights(model: Model, batch: Batch, posterior: Posterior, generator: torch.Generator) -> Tensor:
    """Of one draw of each row's latents."""
    assert posterior.log_var is not None
    z = draw_from(posterior, generator)
    nll = model.likelihood.nll(model.decode(z, batch.seen.given), batch.clean).sum(1)
    own = gaussian_nll(z - posterior.mean, 0.5 * posterior.log_var).sum(1)
    return own - gaussian_nll(z, torch.zeros_like(z)).sum(1) - nll
