"""Total correlation and information of latents, by densities of the aggregated posterior, or minibatch estimates."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aepipe.models.layers.noise import normal_like

_CELLS = 8_000_000  # of one chunk of pairs: 32 MB in float32


class Densities(NamedTuple):
    """Log densities of the aggregated posterior at B draws: log q(z), (B,), and log q(z_j) per latent, (B, Z)."""

    joint: Tensor
    by_latent: Tensor

    @property
    def total_correlation(self) -> Tensor:
        """Return KL(q(z) || prod_j q(z_j)), a scalar in nats, as the mean over the draws."""
        return (self.joint - self.by_latent.sum(1)).mean()


def aggregated(z: Tensor, mean: Tensor, log_var: Tensor, log_weights: Tensor) -> Densities:
    """Compute the densities of a mixture of N Gaussians at draws z (B, Z).

    Args:
        z: (B, Z) draws.
        mean: (N, Z) means.
        log_var: (N, Z) log-variances.
        log_weights: (N,) or (B, N) log weights.
    """
    pairs = _log_densities(z, mean, log_var)
    weights = log_weights.expand(len(z), len(mean))
    joint = torch.logsumexp(pairs.sum(0) + weights, 1)
    return Densities(joint, torch.logsumexp(pairs + weights, 2).T)


def _log_densities(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute log N(z_j; mean_j, exp(log_var_j)) of every draw under every Gaussian, (Z, B, N).

    As a product of a polynomial's terms and its coefficients: half the time of differences, there and back. In float64,
    because the terms of a narrow Gaussian far from 0 are large and all but cancel.
    """
    terms, center, spread = (tensor.T.double() for tensor in (z, mean, log_var))
    precision = torch.exp(-spread)
    constant = -0.5 * (center.square() * precision + spread + math.log(2 * math.pi))
    powers = torch.stack([terms.square(), terms, torch.ones_like(terms)], 2)
    return torch.bmm(powers, torch.stack([-0.5 * precision, center * precision, constant], 1)).to(z.dtype)


def stratified(z: Tensor, mean: Tensor, log_var: Tensor, *, rows: int) -> Densities:
    """Estimate the densities from a batch of B of `rows` training rows; z (B, Z) has one draw per row.

    Minibatch-stratified sampling, Chen et al. 2018, appendix C.2: a row's own Gaussian, under which its draw is
    likeliest, weighs 1/N, on the diagonal. The paper gives one other row (N - M)/(N M) and the rest 1/M, M = B - 1;
    here the M others share 1 - 1/N alike, the mean over that choice: it does not depend on the batch's order, and is
    exact where the batch is all there is.
    """
    return aggregated(z, mean, log_var, stratified_log_weights(len(z), rows).to(z))


def stratified_log_weights(batch: int, rows: int) -> Tensor:
    """Log weights (B, B) of `stratified`: of each draw, a row, for each Gaussian, a column; a row's weights sum to 1.

    >>> stratified_log_weights(3, 6).exp()[0]
    tensor([0.1667, 0.4167, 0.4167])
    """
    rows = max(batch, rows)
    weights = torch.full((batch, batch), (1 - 1 / rows) / max(1, batch - 1))
    return weights.fill_diagonal_(1 / rows).log()


@torch.no_grad()
def total_correlation(mean: Tensor, log_var: Tensor, generator: torch.Generator, *, draws: int = 1_024) -> float:
    """Compute the total correlation of the aggregated posterior of N rows, in nats, as a mean over draws.

    The densities of the mixture are exact.

    mean, log_var: (N, Z). The draws are of `draws` rows chosen at random. Fewer rows of the same kind have
    more of it: 2,000 of Fashion-MNIST 1.3 nats where 10,000 have 0.8. Chen et al. 2018, equation 2.
    """
    mean, log_var = mean.double(), log_var.double()
    chosen = torch.randint(len(mean), (draws,), generator=generator, device=mean.device)
    center, spread = mean[chosen], log_var[chosen]
    z = center + normal_like(center, generator) * torch.exp(0.5 * spread)
    alike = mean.new_full((len(mean),), -math.log(len(mean)))
    parts = [aggregated(part, mean, log_var, alike) for part in torch.split(z, max(1, _CELLS // mean.numel()))]
    return float(Densities(*map(torch.cat, zip(*parts, strict=True))).total_correlation)


@torch.no_grad()
def mutual_information(mean: Tensor, log_var: Tensor, generator: torch.Generator, *, rows: int = 1_024) -> float:
    """Estimate the mutual information of rows and latents, in nats, from one draw of each of the first `rows` rows.

    At most the log of the number of rows. Hoffman & Johnson 2016 (ELBO surgery).

    mean, log_var: (N, Z), of diagonal Gaussian posteriors.
    """
    mean, log_var = mean[:rows].double(), log_var[:rows].double()
    noise = normal_like(mean, generator)
    z = mean + noise * torch.exp(0.5 * log_var)
    alike = mean.new_full((len(mean),), -math.log(len(mean)))
    chunks = torch.split(z, max(1, _CELLS // mean.numel()))
    joint = torch.cat([aggregated(part, mean, log_var, alike).joint for part in chunks])
    own = -0.5 * (noise.square() + log_var + math.log(2 * math.pi)).sum(1)
    return float((own - joint).mean())


def permuted(z: Tensor, generator: torch.Generator) -> Tensor:
    """Permute each latent of (B, Z) over the rows independently: draws from the product of the marginals.

    Kim & Mnih 2018 (FactorVAE), algorithm 1.
    """
    orders = torch.rand(z.shape, generator=generator, device=z.device).argsort(0)
    return z.gather(0, orders)
