"""Initialisation of linear layers from the principal components of the training rows."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row

_MOST_ROWS = 20_000
_MOST_WIDE = 1_024  # wider inputs: the eigendecomposition takes longer than the training it saves
LEAST_SHARE = 1e-4
"""Floor of a variance, as a share of the largest: scaling less to unit variance would amplify float32 rounding."""


_RIDGE = 1e-6


class PcaInit(NamedTuple):
    """Weights of a linear encoder, and of the linear decoder that reconstructs rows from its code."""

    weight: Tensor
    """(Z, V), applied to the output of `InputProjection.vector`"""
    bias: Tensor
    """(Z,)"""
    given: Tensor
    """(G, Z), applied to the conditions"""
    log_var: Tensor
    """(Z,) posterior log-variances of probabilistic PCA"""
    slopes: Tensor
    """(width, Z + G), weight of the decoder: latents and conditions to parameters of the likelihood"""
    middle: Tensor
    """(width,), bias of the decoder"""


@torch.no_grad()
def principal_components(
    encoder: InputProjection, latents: int, likelihood: Likelihood, rows: Row, wanted: Row
) -> PcaInit | None:
    """Compute linear weights whose codes are the principal components, scaled to unit variance.

    The decoder is the linear regression of the targets on the codes; log-variances are those that probabilistic PCA
    gives (Tipping & Bishop 1999). With conditions, the components are computed on the residuals of a regression on the
    conditions.

    Args:
        encoder: Projection whose `vector` turns a row into the input of the PCA.
        latents: Z, the number of components.
        likelihood: Distribution whose parameters the decoder outputs.
        rows: Training rows.
        wanted: Reconstruction targets of the rows.

    Returns:
        The weights, or None where rows are wider than 1,024 or there are too few rows or inputs for `latents`.
    """
    rows = _some(rows)
    count, wide = len(rows.dense), encoder.dense + encoder.codes
    if wide > _MOST_WIDE or min(count - 1, wide) < latents:
        return None
    given = rows.given.double()
    # Latents that encode the condition at the start keep encoding it, and draws at a condition then ignore it.
    vectors = _regressed(encoder.vector(rows).double(), given)
    targets = _regressed(likelihood.targets(_some(wanted)).double(), given)
    variances, directions = torch.linalg.eigh(vectors.rest.T @ vectors.rest / count)
    largest = variances.flip(0)[:latents].clamp(min=LEAST_SHARE * variances[-1].clamp(min=LEAST_SHARE))
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
    """Initialise both layers from the principal components; leave them unchanged where there are none.

    Args:
        encoder: Outputs the latents, or means, log-variances and further outputs, which start at 0.
        decoder: Layer from latents and conditions to parameters of the likelihood.
        likelihood: Distribution whose parameters the decoder outputs.
        rows: Training rows.
        wanted: Reconstruction targets of the rows.
    """
    start = principal_components(encoder, decoder.in_features - rows.given.shape[1], likelihood, rows, wanted)
    if start is None:
        return
    weight, bias, given = start.weight, start.bias, start.given
    if (missing := len(encoder.bias) - len(weight)) > 0:
        rest = missing - len(start.log_var)
        weight = torch.cat([weight, weight.new_zeros((missing, weight.shape[1]))])
        bias = torch.cat([bias, start.log_var, bias.new_zeros(rest)])
        given = torch.cat([given, given.new_zeros((len(given), missing))], 1)
    encoder.become(weight, bias, given)
    decoder.weight.copy_(start.slopes)
    decoder.bias.copy_(start.middle)


class _Regressed(NamedTuple):
    """Linear regression of vectors (B, F) on conditions (B, G), and its residuals."""

    mean: Tensor
    """(F,)"""
    slopes: Tensor
    """(G, F)"""
    at_none: Tensor
    """(F,), the prediction where all conditions are 0"""
    rest: Tensor
    """(B, F), the residuals"""


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
