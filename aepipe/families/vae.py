"""The variational autoencoder: a Gaussian code that training pulls towards N(0, I), by the evidence lower bound.

Kingma & Welling 2013.
"""

from collections.abc import Sequence

from pydantic import BaseModel

from aepipe.bottleneck import MOST, too_wide
from aepipe.elbo import ElboCoder, ElboOptions
from aepipe.family import Family, Model, TrunkPlan
from aepipe.layout import Layout
from aepipe.nets.likelihood import Likelihood


def _build(layout: Layout, options: BaseModel, trunk: TrunkPlan, likelihood: Likelihood) -> Model:
    return ElboCoder(layout, ElboOptions.model_validate(options), trunk, likelihood)


def _faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    return too_wide(layout, ElboOptions.model_validate(options).latent, most=MOST)


FAMILY = Family(
    "vae",
    "a Gaussian code that can be sampled, by the evidence lower bound",
    ElboOptions,
    ("mlp", "conv", "recurrent"),
    _build,
    _faults,
)
