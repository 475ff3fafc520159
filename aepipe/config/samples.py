"""Section [samples] of a job file: synthetic rows."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from aepipe.config.sample_requirements import Constraint, Quality, check_shares
from aepipe.config.text import TokenChoice
from aepipe.config.validation import parsed_condition
from aepipe.frozen import FrozenModel

if TYPE_CHECKING:
    from aepipe.expressions.condition import Condition


class Samples(FrozenModel):
    """Synthetic rows and the checks that they must pass."""

    rows: int = Field(1_000, ge=0, description="number of synthetic rows per night; 0: none")
    prior: Literal["mixture", "normal"] = Field("mixture", description="distribution that latents are drawn from")
    where: str | None = Field(
        None, description="condition that every row meets, such as kind = 'boot'; default: all rows"
    )
    components: int = Field(
        20, ge=1, le=256, description="components of the Gaussian mixture fitted to the training latents"
    )
    seed: int = Field(0, ge=0, description="seed; combined with the name of the partition")
    temperature: float | None = Field(
        None,
        gt=0,
        le=100,
        exclude_if=lambda value: value is None,
        description="texts: divisor of the logits of a token; below 1, likely tokens become likelier; default: 1",
    )
    top_k: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda value: value is None,
        description="texts: number of tokens, the likeliest ones, that each is drawn from; default: all",
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        exclude_if=lambda value: value is None,
        description="texts: each token is drawn from the fewest tokens whose probabilities sum to at least this "
        "(nucleus sampling, after top_k); default: all",
    )
    labels: bool = Field(
        False,
        description="also model the labels, for synthetic rows alone: they are drawn given the other columns, and are "
        "no part of features and scores (tables)",
    )
    sequences: bool = Field(
        True,
        exclude_if=lambda value: value,
        description="draw the rows of an entity one given the row before, with times in order, if [data] names entity "
        "and event_time and the family samples given any columns; false: independent rows without entity and time",
    )
    shares: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description='shares of values of one column, such as {income = {">50K" = 0.5}}; other values share the rest',
    )
    constraints: tuple[Constraint, ...] = Field((), description="constraints on every synthetic row")
    quality: Quality = Field(Quality(), description="quality checks that a set must pass to be published")

    @field_validator("shares")
    @classmethod
    def _shares_of_one_column(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return check_shares(value)

    @property
    def token_choice(self) -> TokenChoice:
        """Distribution that the tokens of texts are drawn from."""
        return TokenChoice(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    @property
    def condition(self) -> "Condition | None":
        """Condition on the conditioning columns; None: as in training."""
        return parsed_condition(self.where)
