"""What a trained model's latents are drawn from, as ONNX files: the mixture fitted on them, and the plain Gaussian."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from aepipe.family import Model, Part
from aepipe.nets.prior import MixturePrior, NormalPrior, fit_mixture, fit_normal, standard_prior
from aepipe.parts import latent_port, named

MIXTURE, NORMAL = "prior", "prior_normal"
"""Names of the parts: noise in, latents out."""

_ROWS_A_CALL = 4_096


def fit_priors(
    model: Model, train: Mapping[str, NDArray[np.generic]], *, components: int, seed: int = 0
) -> tuple[Part, Part]:
    """The mixture of at most `components` Gaussians of the training rows' latents, and the plain Gaussian.

    The plain one is N(0, I) where training pulled the latents towards it, else it has the moments of the latents.
    """
    latents = draw_latents(model, train, seed=seed)
    normal = standard_prior(latents.shape[1]) if model.has_prior else fit_normal(latents)
    return _part(MIXTURE, model, fit_mixture(latents, components=components, seed=seed)), _part(NORMAL, model, normal)


@torch.no_grad()
def draw_latents(
    model: Model, arrays: Mapping[str, NDArray[np.generic]], *, seed: int, most: int = 50_000
) -> NDArray[np.float64]:
    """A draw from the posterior of each row, (B, Z): what a decoder was trained on. The latent where there is none.

    Of more than `most` rows, of a seeded choice of them. The model is put into eval mode.
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
        posterior = model.posterior(model.frontend(named(model.layout, tensors)))
        z = posterior.mean.double().cpu().numpy()
        if posterior.log_var is not None:
            z += generator.standard_normal(z.shape) * np.exp(0.5 * posterior.log_var.double().cpu().numpy())
        drawn.append(z)
    return np.concatenate(drawn)


def _part(name: str, model: Model, prior: MixturePrior | NormalPrior) -> Part:
    return Part(name, prior, prior.noise, (latent_port(model),))
