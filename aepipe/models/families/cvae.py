"""The conditional variational autoencoder: condition columns are given to encoder and decoder, and rows drawn at them.

The latents learn what the conditions do not say: p(row | z, given) with z from N(0, I) whatever is given. Sohn, Lee &
Yan 2015, with the bound, warm-up and free bits of `vae`.
"""

from aepipe.models.base import Family
from aepipe.models.vae_base import VaeOptions, build_vae, vae_faults

FAMILY = Family(
    "cvae",
    "a Gaussian code beside given columns, sampled at a condition",
    VaeOptions,
    ("mlp", "conv"),
    build_vae,
    vae_faults,
    takes_conditions=True,
)
