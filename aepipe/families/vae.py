"""The variational autoencoder: a Gaussian code that training pulls towards N(0, I), by the evidence lower bound.

Kingma & Welling 2013.
"""

from aepipe.elbo import ElboOptions, build_elbo, elbo_faults
from aepipe.family import Family

FAMILY = Family(
    "vae",
    "a Gaussian code that can be sampled, by the evidence lower bound",
    ElboOptions,
    ("mlp", "conv", "recurrent"),
    build_elbo,
    elbo_faults,
)
