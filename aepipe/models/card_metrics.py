"""Metrics of trained models for their model cards, computed on held-out rows."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from aepipe.layout import INFORMATION
from aepipe.models.base import Batch, Model, Posterior
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.latent_space import draw_from
from aepipe.models.losses import gaussian_nll
from aepipe.models.total_correlation import mutual_information, total_correlation

ACTIVE_NATS = 0.01
"""A latent with less KL than this counts as inactive."""
ACTIVE_VARIANCE = 0.01
"""A latent whose mean varies less between rows counts as inactive (Burda, Grosse & Salakhutdinov 2015)."""

_IMPORTANCE_DRAWS = 64


def reconstruction_metrics(model: Model, batch: Batch) -> dict[str, float]:
    """Compute the mean negative log-likelihood per row, in nats, and the mean squared residual per feature."""
    params = model.reconstruct(batch.input).params
    return {
        "nll": float(model.likelihood.nll(params, batch.target).sum(1).mean()),
        "mse": float(model.likelihood.residual(params, batch.target).square().mean()),
    }


def gaussian_metrics(model: GaussianEncoderDecoder, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
    """Compute the ELBO, its KL, the active latents and the IWAE bound for Gaussian latents.

    A KL per latent exists only where it has a closed form. A latent is active if its mean varies between rows: free
    bits give a KL to latents that are alike in all rows, too. With texts also the mutual information of rows and
    latents, where the posterior is Gaussian.
    """
    posterior = model.posterior(batch.input)

    def nll_of(z: Tensor) -> Tensor:
        return model.likelihood.nll(model.decode(z, batch.input.given), batch.target).sum(1)

    def log_weights() -> Tensor:
        z, log_ratio = model.draw_weighted(posterior, generator)
        return log_ratio - nll_of(z)

    drawn = model.draw(posterior, generator)
    nll, by_latent = float(nll_of(drawn.z).mean()), drawn.kl.mean(0)
    kl = float(by_latent.sum())
    names = model.latent.names if len(by_latent) == len(model.latent.names) else ()
    informed = {}
    if model.layout.kind == "text" and posterior.log_var is not None:
        informed[INFORMATION] = mutual_information(posterior.mean, posterior.log_var, generator)
    return {
        **reconstruction_metrics(model, batch),
        "elbo": -(nll + kl),
        "kl": kl,
        "active_latents": float((posterior.mean.var(0, correction=0) > ACTIVE_VARIANCE).sum()),
        **informed,
        "log_likelihood": float(importance_weighted(log_weights).mean()),
        **{f"kl.{name}": float(nats) for name, nats in zip(names, by_latent, strict=False)},
    }


def moment_metrics(z: Tensor) -> dict[str, float]:
    """Measure how far the moments of latents (B, Z) are from N(0, I): the worst latent or pair."""
    std = z.std(0, correction=0)
    scaled = (z - z.mean(0)) / std.clamp(min=1e-9)
    correlation = scaled.T @ scaled / len(z)
    correlation.fill_diagonal_(0.0)
    return {
        "greatest_mean": float(z.mean(0).abs().max()),
        "least_std": float(std.min()),
        "greatest_std": float(std.max()),
        "greatest_correlation": float(correlation.abs().max()),
    }


def independence_metrics(
    model: GaussianEncoderDecoder, batch: Batch, generator: torch.Generator
) -> Mapping[str, float]:
    """Compute the metrics of `gaussian_metrics` and the total correlation of the latents."""
    metrics = gaussian_metrics(model, batch, generator)
    posterior = model.posterior(batch.input)
    assert posterior.log_var is not None
    return {**metrics, "total_correlation": total_correlation(posterior.mean, posterior.log_var, generator)}


def importance_weighted(log_weights: Callable[[], Tensor], *, draws: int = _IMPORTANCE_DRAWS) -> Tensor:
    """Compute a lower bound of log p(row), (B,) in nats: log of the mean of p(x|z) p(z) / q(z|x) over draws of q.

    Burda, Grosse & Salakhutdinov 2015 (IWAE), equation 8; it tightens as draws grow.

    Args:
        log_weights: draws latents, returns the logs of these quotients, (B,).
        draws: number of draws.

    >>> importance_weighted(lambda: torch.zeros(2), draws=4)
    tensor([0., 0.])
    """
    return torch.logsumexp(torch.stack([log_weights() for _ in range(draws)]), 0) - math.log(draws)


def draw_log_weights(posterior: Posterior, nll_of: Callable[[Tensor], Tensor], generator: torch.Generator) -> Tensor:
    """Compute log p(x|z) p(z) / q(z|x), (B,) in nats, for one draw of the latents per row and the prior N(0, I).

    Args:
        posterior: diagonal Gaussian.
        nll_of: maps latents (B, Z) to -log p(x|z), (B,).
        generator: source of the noise.
    """
    assert posterior.log_var is not None
    z = draw_from(posterior, generator)
    own = gaussian_nll(z - posterior.mean, 0.5 * posterior.log_var).sum(1)
    return own - gaussian_nll(z, torch.zeros_like(z)).sum(1) - nll_of(z)
