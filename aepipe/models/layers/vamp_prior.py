"""Prior that is the mean posterior of learned pseudo-inputs.

Tomczak & Welling 2018 (VampPrior): of all priors, the mean posterior of the training rows gives the best bound. K
learned rows stand for them.
"""

import torch
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.layers.gaussian import Gaussian, kl_between
from aepipe.models.layers.preprocessing import Row
from aepipe.models.losses import gaussian_nll


class PseudoInputs(nn.Module):
    """K rows in units of `Row`, initialised from training rows.

    Numbers and pixels are learned; codes, conditions, missing flags and lengths are copied from the training rows.
    """

    observed: Tensor
    codes: Tensor
    given: Tensor

    def __init__(self, layout: Layout, count: int) -> None:
        super().__init__()
        shape = _dense_shape(layout)
        dense = torch.rand(count, *shape) if layout.image is not None else torch.randn(count, *shape)
        self.is_image = layout.image is not None
        self.dense = nn.Parameter(dense) if dense.numel() else None
        codes = 1 if layout.series is not None else len(layout.categories)
        self.register_buffer("observed", torch.ones(count, *shape))
        self.register_buffer("codes", torch.zeros(count, codes, dtype=torch.int64))
        self.register_buffer("given", torch.zeros(count, layout.given))

    @torch.no_grad()
    def start(self, rows: Row) -> None:
        """Copy rows that lie evenly apart."""
        places = torch.linspace(0, len(rows.dense) - 1, len(self.observed), device=rows.dense.device).round().long()
        for own, name in ((self.dense, "dense"), (self.observed, "observed"), (self.codes, "codes")):
            if own is not None:
                own.copy_(getattr(rows, name)[places])
        self.given.copy_(rows.given[places])

    def forward(self) -> Row:
        """Return the pseudo-inputs as K rows."""
        if self.dense is None:
            return Row(self.observed, self.observed, self.codes, self.given)
        dense = self.dense.clamp(0, 1) if self.is_image else self.dense * self.observed
        return Row(dense, self.observed, self.codes, self.given)


def mixture_log_density(z: Tensor, components: Gaussian) -> Tensor:
    """Compute the log density of latents z (B, Z) under the equally weighted components (K, Z), (B,) in nats."""
    of_each = -gaussian_nll(z[:, None] - components.mean, 0.5 * components.log_var).sum(2)
    return _log_mean_exp(of_each)


def kl_to_mixture(own: Gaussian, components: Gaussian) -> Tensor:
    """Bound the KL of Gaussians (B, Z) to the equally weighted components (K, Z) from above, (B, 1) in nats.

    Hershey & Olsen 2007, equation 20, for a single Gaussian. It is never negative, needs no noise, and is exact for one
    component.
    """
    apart = kl_between(Gaussian(own.mean[:, None], own.log_var[:, None]), components).sum(2)
    return -_log_mean_exp(-apart).unsqueeze(1)


def _log_mean_exp(values: Tensor) -> Tensor:
    return torch.logsumexp(values, 1) - torch.log(values.new_tensor(values.shape[1]))


def _dense_shape(layout: Layout) -> tuple[int, ...]:
    if layout.image is not None:
        return layout.image.channels, layout.image.height, layout.image.width
    if layout.series is not None:
        return layout.series.steps, layout.series.channels
    return (len(layout.numbers),)
