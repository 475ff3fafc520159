"""Linear layers that begin at the principal components of the training rows."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row

_MOST_ROWS = 20_000
_MOST_WIDE = 1_024  # beyond it the eigenvectors take longer than the training that they save
_LEAST_SHARE = 1e-4
"""Of the greatest variance: a direction of less is not blown up to unit variance, where float32 would show as noise."""


_RIDGE = 1e-6


class PcaInit(NamedTuple):
    """A linear code of rows, and what a linear decoder makes of it."""

    weight: Tensor
    """(Z, V) of what `InputProjection.vector` answers"""
    bias: Tensor
    """(Z,)"""
    given: Tensor
    """(G, Z) of what is given"""
    log_var: Tensor
    """(Z,) of probabilistic components"""
    slopes: Tensor
    """(width, Z + G) of the likelihood's parameters"""
    middle: Tensor
    """(width,)"""


@torch.no_grad()
def principal_components(
    encoder: InputProjection, latents: int, likelihood: Likelihood, rows: Row, wanted: Row
) -> PcaInit | None:
    """Codes are the principal components, with unit variance; the decoder's means are their regression on the rows.

    Log-variances are those of probabilistic components, Tipping & Bishop 1999. Beside conditions, components are those
    of what a regression on them leaves of a row: latents that begin by saying what is given go on saying it, and rows
    drawn at a condition do not follow it. Nothing where rows are wider than 1,024 or fewer than the latents. encoder:
    says what of a row is a vector; wanted: what is rebuilt of the rows.
    """
    rows = _some(rows)
    count, wide = len(rows.dense), encoder.dense + encoder.codes
    if wide > _MOST_WIDE or min(count - 1, wide) < latents:
        return None
    given = rows.given.double()
    vectors = _regressed(encoder.vector(rows).double(), given)
    targets = _regressed(likelihood.targets(_some(wanted)).double(), given)
    variances, directions = torch.linalg.eigh(vectors.rest.T @ vectors.rest / count)
    largest = variances.flip(0)[:latents].clamp(min=_LEAST_SHARE * variances[-1].clamp(min=_LEAST_SHARE))
    weight = directions.flip(1)[:, :latents].T / largest.sqrt().unsqueeze(1)
    slopes = targets.rest.T @ (vectors.rest @ weight.T) / count
    noise = (variances.sum() - largest.sum()).clamp(min=0) / wide
    log_var = torch.log((noise / largest).clamp(1e-3, 1.0))
    linear = torch.arange(likelihood.width, device=slopes.device) < likelihood.linear
    middle = likelihood.params_of(targets.mean.to(rows.dense.dtype).unsqueeze(0)).squeeze(0)
    return PcaInit(
        weight,
        -weight @ vectors.at_none,
        -vectors.slopes @ weight.T,
        log_var,
        torch.cat([slopes, targets.slopes.T], 1) * linear.unsqueeze(1),
        middle + (targets.at_none - targets.mean) * linear,
    )


@torch.no_grad()
def init_from_pca(encoder: InputProjection, decoder: nn.Linear, likelihood: Likelihood, rows: Row, wanted: Row) -> None:
    """Both become the principal components, or stay where there are none.

    An encoder of twice the decoder's inputs answers log-variances too. wanted: what is rebuilt of the rows.
    """
    start = principal_components(encoder, decoder.in_features - rows.given.shape[1], likelihood, rows, wanted)
    if start is None:
        return
    weight, bias, given = start.weight, start.bias, start.given
    if len(encoder.bias) == 2 * len(weight):
        weight, bias = torch.cat([weight, torch.zeros_like(weight)]), torch.cat([bias, start.log_var])
        given = torch.cat([given, torch.zeros_like(given)], 1)
    encoder.become(weight, bias, given)
    decoder.weight.copy_(start.slopes)
    decoder.bias.copy_(start.middle)


class _Regressed(NamedTuple):
    """Vectors (B, F) as their linear regression on what is given, (B, G), and the rest."""

    mean: Tensor
    """(F,)"""
    slopes: Tensor
    """(G, F)"""
    at_none: Tensor
    """(F,), the regression where all that is given is 0"""
    rest: Tensor
    """(B, F)"""


def _regressed(vectors: Tensor, given: Tensor) -> _Regressed:
    mean, middle = vectors.mean(0), given.mean(0)
    if not given.shape[1]:
        return _Regressed(mean, given.new_zeros((0, vectors.shape[1])), mean, vectors - mean)
    known = given - middle
    ridge = _RIDGE * len(given) * torch.eye(len(middle), dtype=given.dtype, device=given.device)
    slopes = torch.linalg.solve(known.T @ known + ridge, known.T @ (vectors - mean))
    return _Regressed(mean, slopes, mean - middle @ slopes, vectors - mean - known @ slopes)


def _some(rows: Row) -> Row:
    step = -(-len(rows.dense) // _MOST_ROWS)
    return Row(*(part[::step] for part in rows))
