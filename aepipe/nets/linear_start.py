"""Linear layers that begin at the principal components of the training rows."""

import torch
from torch import Tensor, nn

from aepipe.nets.frontend import Row
from aepipe.nets.intake import Intake
from aepipe.nets.likelihood import Likelihood

_MOST_ROWS = 20_000
_MOST_WIDE = 1_024  # beyond it the eigenvectors take longer than the training that they save
_LEAST_SHARE = 1e-6


@torch.no_grad()
def start_linear(encoder: Intake, decoder: nn.Linear, likelihood: Likelihood, rows: Row) -> None:
    """Codes are the principal components, with unit variance; the decoder's means are their regression on the rows.

    An encoder of twice the decoder's inputs answers log-variances too: those of probabilistic components, Tipping &
    Bishop 1999. Nothing changes where rows are wider than 1,024 or fewer than the latents.
    """
    rows = _some(rows)
    latents = decoder.in_features
    count, wide = len(rows.dense), encoder.dense + encoder.codes
    if wide > _MOST_WIDE or min(count - 1, wide) < latents:
        return
    vectors, targets = encoder.vector(rows).double(), likelihood.targets(rows).double()
    center, mean = vectors.mean(0), targets.mean(0)
    variances, directions = torch.linalg.eigh((vectors - center).T @ (vectors - center) / count)
    largest = variances.flip(0)[:latents].clamp(min=_LEAST_SHARE * variances[-1].clamp(min=_LEAST_SHARE))
    weight = directions.flip(1)[:, :latents].T / largest.sqrt().unsqueeze(1)
    codes = (vectors - center) @ weight.T
    slopes = (targets - mean).T @ codes / count
    noise = (variances.sum() - largest.sum()).clamp(min=0) / wide
    log_var = torch.log((noise / largest).clamp(1e-3, 1.0))
    _become(encoder, weight, -weight @ center, log_var)
    linear = torch.arange(likelihood.width, device=slopes.device) < likelihood.linear
    decoder.weight.copy_(slopes * linear.unsqueeze(1))
    decoder.bias.copy_(likelihood.params_of(mean.to(rows.dense.dtype).unsqueeze(0)).squeeze(0))


def _become(encoder: Intake, weight: Tensor, bias: Tensor, log_var: Tensor) -> None:
    if len(encoder.bias) == 2 * len(weight):
        weight, bias = torch.cat([weight, torch.zeros_like(weight)]), torch.cat([bias, log_var])
    encoder.become(weight, bias)


def _some(rows: Row) -> Row:
    step = -(-len(rows.dense) // _MOST_ROWS)
    return Row(*(part[::step] for part in rows))
