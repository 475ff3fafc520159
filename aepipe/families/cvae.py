"""The conditional variational autoencoder: condition columns are given to encoder and decoder, and rows drawn at them.

The latents learn what the conditions do not say: p(row | z, given) with z from N(0, I) whatever is given. Sohn, Lee &
Yan 2015, with the bound, warm-up and free bits of `vae`.
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
    "cvae",
    "a Gaussian code beside given columns, sampled at a condition",
    ElboOptions,
    ("mlp", "conv"),
    _build,
    _faults,
    takes_conditions=True,
)
