"""Options of families with Gaussian latents that choose the prior."""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, TypeAlias

from pydantic import Field

from aepipe.layout import Layout
from aepipe.models.latent_space import HasLatent, latent_faults

PriorKind: TypeAlias = Annotated[
    Literal["normal", "vampprior"],
    Field(description="normal: N(0, I); vampprior: the mean posterior of learned pseudo-inputs, with a tighter bound"),
]
"""Option `prior`."""

PseudoInputCount: TypeAlias = Annotated[
    int | None,
    Field(ge=1, le=1_000, description="number of pseudo-inputs of vampprior, each a component; default: 50"),
]
"""Option `pseudo_inputs`, used with `prior`."""

_DEFAULT_COUNT = 50


class HasPrior(HasLatent, Protocol):
    """Options with a choice of the prior."""

    @property
    def prior(self) -> PriorKind: ...

    @property
    def pseudo_inputs(self) -> PseudoInputCount: ...


def pseudo_input_count(options: HasPrior) -> int:
    """Return the number of pseudo-inputs, 0 for N(0, I)."""
    return 0 if options.prior == "normal" else options.pseudo_inputs or _DEFAULT_COUNT


def prior_faults(layout: Layout, options: HasPrior) -> Sequence[str]:
    """Return a sentence if there are too many latents, or pseudo-inputs without a prior that uses them."""
    faults = list(latent_faults(layout, options))
    if options.prior == "normal" and options.pseudo_inputs is not None:
        faults.append(
            f"pseudo_inputs = {options.pseudo_inputs} has no effect: set prior = 'vampprior', or omit pseudo_inputs"
        )
    return faults
