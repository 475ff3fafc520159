"""Priors of a trained model as ONNX files: a mixture or a flow fitted on its latents, and a single Gaussian."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from aepipe.latent_math import Mixture
from aepipe.layout import LatentSpace
from aepipe.models.base import Model, Part
from aepipe.models.export_parts import latent_port, named
from aepipe.models.layers.flow_matching import FlowMatchingPrior, fit_flow
from aepipe.models.layers.prior import MixturePrior, Prior, fit_mixture, fit_normal

MIXTURE, NORMAL = "prior", "prior_normal"
"""Names of the parts: noise in, latents out."""

_ROWS_A_CALL = 4_096
_DRAWS = 4
"""Draws of each row's latents that a flow learns from."""


def fit_priors(
    model: Model, train: Mapping[str, NDArray[np.generic]], *, components: int, seed: int = 0
) -> tuple[Part, ...]:
    """Fit a mixture of at most `components` Gaussians and a single Gaussian to the latents of training rows.

    With Euler steps, a flow goes on from the mixture to the latents. The prior of the model takes the place of the
    mixture if it is one, and of the single Gaussian otherwise. Without a prior, the single Gaussian has the moments of
    the latents. Latents that are codes or sequences are drawn from the prior of the model only.
    """
    own, latent = model.prior(), model.latent
    if not has_mixture(latent):
        return () if own is None else (_part(MIXTURE, model, own),)
    latents = draw_latents(model, train, seed=seed)
    if isinstance(own, MixturePrior):
        return _part(MIXTURE, model, own), _part(NORMAL, model, fit_normal(latents))
    mixture = fit_mixture(latents, components=components, seed=seed)
    fitted: Prior = mixture
    if model.euler_steps:
        draws = [latents, *(draw_latents(model, train, seed=seed + at) for at in range(1, _DRAWS))]
        fitted = fit_flow(np.stack(draws), mixture, steps=model.euler_steps, seed=seed)
    return _part(MIXTURE, model, fitted), _part(NORMAL, model, own or fit_normal(latents))


def own_priors(model: Model) -> tuple[Part, ...]:
    """Return the prior that the model was trained with, in place of both that `fit_priors` fits to training rows."""
    own = model.prior()
    return () if own is None else (_part(MIXTURE, model, own), _part(NORMAL, model, own))


def has_mixture(latent: LatentSpace) -> bool:
    """Tell whether a mixture can be fitted: real latents, one vector per row."""
    return latent.kind == "real" and latent.is_written


def mixture_of(priors: Sequence[Part]) -> Mixture | None:
    """Return the fitted mixture, if there is one."""
    modules = [part.module.source if isinstance(part.module, FlowMatchingPrior) else part.module for part in priors]
    return next((module.mixture for module in modules if isinstance(module, MixturePrior)), None)


@torch.no_grad()
def draw_latents(
    model: Model, arrays: Mapping[str, NDArray[np.generic]], *, seed: int, most: int = 50_000
) -> NDArray[np.float64]:
    """Draw real latents from the posterior of each row, (B, Z), as the decoder saw them in training.

    More than `most` rows are subsampled with `seed`. Puts the model into eval mode.
    """
    model.eval()
    generator = np.random.default_rng(seed)
    columns = [arrays[port.name] for port in model.layout.ports]
    chosen = np.sort(generator.permutation(len(columns[0]))[:most])
    device = next(iter(model.state_dict().values())).device
    drawn = []
    for begin in range(0, len(chosen), _ROWS_A_CALL):
        part = chosen[begin : begin + _ROWS_A_CALL]
        tensors = [torch.from_numpy(column[part]).to(device) for column in columns]
        posterior = model.posterior(model.preprocessing(named(model.layout, tensors)))
        noise = torch.zeros(posterior.mean.shape, dtype=torch.float64)
        if posterior.log_var is not None or posterior.flow_base is not None:
            noise = torch.from_numpy(generator.standard_normal(noise.shape))
        z = model.draw_at(posterior, noise.to(device)).cpu().numpy()
        drawn.append(z)
    return np.concatenate(drawn)


def _part(name: str, model: Model, prior: Prior) -> Part:
    return Part(name, prior, prior.noise, (latent_port(model),))
