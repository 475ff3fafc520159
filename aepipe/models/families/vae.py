"""Variational autoencoder with Gaussian latents and the prior N(0, I), trained by the ELBO.

Kingma & Welling 2013.
"""

from aepipe.models.base import Family
from aepipe.models.vae_base import VaeBase, VaeOptions, vae_faults

FAMILY = Family(
    "vae",
    "a Gaussian code that can be sampled, by the evidence lower bound",
    VaeOptions,
    ("mlp", "conv", "recurrent"),
    VaeBase,
    vae_faults,
)
