"""Variational autoencoder with Gaussian latents and the prior N(0, I) or VampPrior, trained by the ELBO.

Kingma & Welling 2013. A table may have conditions, as with `cvae`.
"""

from aepipe.models.base import Family
from aepipe.models.vae_base import VaeBase, VaeOptions, vae_faults

FAMILY = Family(
    "vae",
    "Gaussian latents with the prior N(0, I), trained by the ELBO",
    VaeOptions,
    ("mlp", "conv", "recurrent", "transformer"),
    VaeBase,
    vae_faults,
    formula="−E[log p(x|z)] + KL(q(z|x) ‖ N(0, I)), z = m(x) + s(x) ε, KL = ½ Σⱼ (mⱼ² + sⱼ² − 1 − log sⱼ²)",
    advice="Prefer it as the default: features, scores and samples from one model. Not for the closest "
    "reconstructions (`ae`, `vq_vae`) or independent features (`beta_tcvae`).",
    takes_items=True,
    may_take_conditions=True,
)
