"""What a job demands of synthetic rows: constraints that hold for each row, and bars that a whole set has to clear."""

from pydantic import Field, model_validator

from aepipe.frozen import FrozenModel


class Constraint(FrozenModel):
    """What holds for every synthetic row: an order of two columns, a combination seen in training, or a unique value.

    Rows for which it does not hold are drawn again.
    """

    low: str | None = Field(None, description="a column that is never greater than `high`, where both are known")
    high: str | None = Field(None, description="a number or a time, as `low` is")
    strict: bool = Field(False, description="`low` is never equal to `high` either")
    combination: tuple[str, ...] = Field((), description="columns that only have such values together as in training")
    unique: tuple[str, ...] = Field((), description="columns that no two rows have the same values in; keys are anyway")

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Constraint":
        if (self.low is None) != (self.high is None):
            raise ValueError("an order needs low and high")
        said = [self.low is not None, bool(self.combination), bool(self.unique)]
        if sum(said) != 1:
            raise ValueError("a constraint is one of low and high, combination, or unique")
        if self.strict and self.low is None:
            raise ValueError("strict goes with low and high")
        if len(self.combination) == 1:
            raise ValueError("a combination takes two columns or more")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names."""
        return tuple(name for name in (self.low, self.high, *self.combination, *self.unique) if name is not None)

    @property
    def title(self) -> str:
        """As it is said in messages.

        >>> Constraint(low="start", high="end", strict=True).title, Constraint(unique=("id",)).title
        ('start < end', 'unique id')
        """
        if self.low is not None:
            return f"{self.low} {'<' if self.strict else '<='} {self.high}"
        return (
            f"combination of {', '.join(self.combination)}" if self.combination else f"unique {', '.join(self.unique)}"
        )


class Quality(FrozenModel):
    """What a set of synthetic rows must be like to be published. A bar that is none is reported, and stops nothing.

    Rows are held against those that the model did not learn from: the calibration rows of its training.
    """

    check: bool = Field(True, description="judge a set before it is published; false: it is published as it comes")
    copies: bool = Field(
        True,
        description="copies of training rows are no more frequent than the upper 99 % bound of the hold-out's own rate",
    )
    closeness: float | None = Field(
        0.05,
        gt=0,
        le=0.5,
        description="how far from one half, at most, the share of rows is that lie closer to training rows than to as "
        "many held-out ones, unless chance explains it; set it to have it judged where rows are split by time too",
    )
    shapes: float | None = Field(None, ge=0, le=1, description="likeness of single columns, at least; a table's")
    trends: float | None = Field(None, ge=0, le=1, description="likeness of pairs of columns, at least; a table's")
    trees: float | None = Field(
        None, ge=0.5, le=1, description="AUROC of boosted trees that tell synthetic from held-out rows, at most"
    )
    logistic: float | None = Field(None, ge=0.5, le=1, description="the same of a logistic regression")
    coverage: float | None = Field(
        None, ge=0, le=1, description="share of held-out rows with a synthetic one in their neighbourhood, at least"
    )
    loss: float | None = Field(
        None, ge=0, le=1, description="what a learner of `predict` loses where it learns from synthetic rows, at most"
    )
    frechet: float | None = Field(
        None, ge=0, description="Frechet's distance to held-out rows in the model's features, at most; not a table's"
    )
    predict: str | None = Field(
        None, description="a modelled column of a table that learners foretell; none: the first condition"
    )


def check_shares(shares: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The shares themselves, if they are of one column, above 0, and together no more than 1. Raises ValueError."""
    if len(shares) > 1:
        raise ValueError(f"shares are of one column, found {' and '.join(shares)}")
    for column, wanted in shares.items():
        wrong = [f"{value}: {share:g}" for value, share in wanted.items() if not 0 < share <= 1]
        if wrong or not wanted:
            raise ValueError(f"a share of '{column}' lies above 0 and is 1 at most, found {', '.join(wrong) or 'none'}")
        if sum(wanted.values()) > 1 + 1e-9:
            raise ValueError(f"the shares of '{column}' are {sum(wanted.values()):g} together, more than 1")
    return shares


def parse_share(text: str) -> tuple[str, str, float]:
    """Column, value and share of `column=value:share`. Raises ValueError.

    >>> parse_share("income=>50K:0.5")
    ('income', '>50K', 0.5)
    """
    column, equals, rest = text.partition("=")
    value, colon, share = rest.rpartition(":")
    try:
        return column, value, float(share) if equals and colon and column else float("")
    except ValueError:
        raise ValueError(f"is written column=value:share, such as income=>50K:0.5, found '{text}'") from None
