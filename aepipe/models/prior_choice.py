"""Options of families with Gaussian latents that choose the prior."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import Field

from aepipe.layout import Layout
from aepipe.models.latent_space import HasLatent, latent_faults

PriorKind: TypeAlias = Annotated[
    Literal["normal", "vampprior", "flow_matching"],
    Field(
        description="normal: N(0, I); vampprior: the mean posterior of learned pseudo-inputs, with a tighter bound; "
        "flow_matching: N(0, I) in training; samples are draws of the mixture that a learned flow moves to the "
        "training latents"
    ),
]
"""Option `prior`."""

PseudoInputCount: TypeAlias = Annotated[
    int | None,
    Field(ge=1, le=1_000, description="number of pseudo-inputs of vampprior, each a component; default: 50"),
]
"""Option `pseudo_inputs`, used with `prior`."""

EulerSteps: TypeAlias = Annotated[
    int | None,
    Field(
        ge=1,
        le=1_000,
        exclude_if=lambda value: value is None,
        description="steps of flow_matching from the mixture to latents; default: 32",
    ),
]
"""Option `euler_steps`, used with `prior`."""

_DEFAULT_COUNT, _DEFAULT_STEPS = 50, 32


class HasPrior(HasLatent, Protocol):
    """Options with a choice of the prior."""

    @property
    def prior(self) -> PriorKind: ...

    @property
    def pseudo_inputs(self) -> PseudoInputCount: ...

    @property
    def euler_steps(self) -> EulerSteps: ...


class PriorChoice(NamedTuple):
    """Prior of a family with Gaussian latents; both counts 0 for N(0, I)."""

    pseudo_inputs: int = 0
    """components of a VampPrior"""
    euler_steps: int = 0
    """steps of a flow that is fitted on the latents after training"""


N01 = PriorChoice()
"""N(0, I)"""


def prior_choice(options: HasPrior) -> PriorChoice:
    """Return the prior that the options choose."""
    if options.prior == "vampprior":
        return PriorChoice(pseudo_inputs=options.pseudo_inputs or _DEFAULT_COUNT)
    return PriorChoice(euler_steps=(options.euler_steps or _DEFAULT_STEPS) if options.prior == "flow_matching" else 0)


def prior_faults(layout: Layout, options: HasPrior) -> Sequence[str]:
    """Return a sentence if there are too many latents, and one for each option of a prior that is not chosen."""
    faults = list(latent_faults(layout, options))
    for name, value, user in (
        ("pseudo_inputs", options.pseudo_inputs, "vampprior"),
        ("euler_steps", options.euler_steps, "flow_matching"),
    ):
        if value is not None and options.prior != user:
            faults.append(f"{name} = {value} has no effect: set prior = '{user}', or omit {name}")
    return faults
