"""Conditional VAE: encoder and decoder also take the condition columns, and samples are drawn given them.

It models p(row | z, given) with z from N(0, I) independent of the conditions. Sohn, Lee & Yan 2015, with the bound,
warm-up and free bits of `vae`.
"""

from aepipe.models.base import Family
from aepipe.models.vae_base import VaeBase, VaeOptions, vae_faults

FAMILY = Family(
    "cvae",
    "conditional VAE: Gaussian latents given condition columns; samples at a condition",
    VaeOptions,
    ("mlp", "conv", "recurrent"),
    VaeBase,
    vae_faults,
    takes_conditions=True,
    formula="−E[log p(x|z, c)] + KL(q(z|x, c) ‖ N(0, I)), with c the condition columns",
    advice="Prefer it for rows given columns that are always known, such as a product or a site. Not where any "
    "columns may be given: `tabular_vae` takes any.",
)
