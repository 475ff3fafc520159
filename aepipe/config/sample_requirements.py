"""Requirements on synthetic rows: constraints on each row, quality thresholds on a set."""

from pydantic import Field, model_validator

from aepipe.frozen import FrozenModel


class Constraint(FrozenModel):
    """Constraint on every synthetic row: an order of two columns, a combination seen in training, or unique values.

    Rows that violate it are redrawn.
    """

    low: str | None = Field(None, description="column whose value must not exceed `high` if both are present")
    high: str | None = Field(None, description="number or time column, as `low`")
    strict: bool = Field(False, description="`low` must also differ from `high`")
    combination: tuple[str, ...] = Field((), description="columns whose combination of values must occur in training")
    unique: tuple[str, ...] = Field((), description="columns whose combined values must be unique (keys always are)")

    @model_validator(mode="after")
    def _has_one_rule(self) -> "Constraint":
        if (self.low is None) != (self.high is None):
            raise ValueError("an order needs both low and high")
        rules = [self.low is not None, bool(self.combination), bool(self.unique)]
        if sum(rules) != 1:
            raise ValueError("a constraint takes exactly one of low with high, combination, or unique")
        if self.strict and self.low is None:
            raise ValueError("strict requires low and high")
        if len(self.combination) == 1:
            raise ValueError(f"combination is too short: expected at least 2 columns, got {len(self.combination)}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it names."""
        return tuple(name for name in (self.low, self.high, *self.combination, *self.unique) if name is not None)

    @property
    def title(self) -> str:
        """Short form for messages.

        >>> Constraint(low="start", high="end", strict=True).title, Constraint(unique=("id",)).title
        ('start < end', 'unique id')
        """
        if self.low is not None:
            return f"{self.low} {'<' if self.strict else '<='} {self.high}"
        return (
            f"combination of {', '.join(self.combination)}" if self.combination else f"unique {', '.join(self.unique)}"
        )


class Quality(FrozenModel):
    """Quality checks that a set of synthetic rows must pass. A check without a threshold is only reported.

    Synthetic rows are compared with rows that the model was not trained on: its calibration rows.
    """

    check: bool = Field(True, description="check a set before it is published; false: publish without checks")
    copies: bool = Field(
        True,
        description="limit exact copies of training rows to the upper 99 % bound of the rate among held-out rows",
    )
    near_copies: bool = Field(
        True,
        exclude_if=lambda value: value,
        description="limit rows that equal a training row up to the precision of the columns to 0.02 above 1.25 times "
        "the rate among real rows (tables)",
    )
    closeness: float | None = Field(
        0.05,
        gt=0,
        le=0.5,
        description="maximum distance from 0.5 of the share of rows that are closer to training rows than to the same "
        "number of held-out rows, unless it is not significant; with a split by time only checked if set",
    )
    membership: float | None = Field(
        0.6,
        ge=0.5,
        le=1,
        exclude_if=lambda value: value == 0.6,
        description="maximum AUROC of attacks that tell training rows from held-out rows by the synthetic rows, unless "
        "not significant; with a split by time only checked if set",
    )
    exposed: float | None = Field(
        0.03,
        gt=0,
        le=1,
        exclude_if=lambda value: value == 0.03,
        description="maximum share of training rows that these attacks find at 1 % false positives, likewise",
    )
    shapes: float | None = Field(None, ge=0, le=1, description="minimum similarity of single columns (tables)")
    trends: float | None = Field(None, ge=0, le=1, description="minimum similarity of pairs of columns (tables)")
    trees: float | None = Field(
        None, ge=0.5, le=1, description="maximum AUROC of boosted trees that classify synthetic against held-out rows"
    )
    logistic: float | None = Field(
        None, ge=0.5, le=1, description="maximum AUROC of a logistic regression that does the same"
    )
    coverage: float | None = Field(
        None, ge=0, le=1, description="minimum share of held-out rows with a synthetic row in their neighbourhood"
    )
    loss: float | None = Field(
        None,
        ge=0,
        le=1,
        description="maximum loss of score of a model that predicts `predict` when it is trained on synthetic rows",
    )
    frechet: float | None = Field(
        None,
        ge=0,
        description="maximum Frechet distance to held-out rows: of images in the features of a fixed network, of "
        "series in the model's features",
    )
    moments: float | None = Field(
        None,
        gt=0,
        exclude_if=lambda value: value is None,
        description="maximum error of a number's mean, in standard deviations, or of the logarithm of its standard "
        "deviation, beyond four standard errors (tables)",
    )
    defaults: bool | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="default thresholds of trees, trends and moments (tables), if the job sets no threshold on a "
        "distribution; default: true for families that sample given any columns",
    )
    latents: float | None = Field(
        0.1,
        ge=0,
        exclude_if=lambda value: value == 0.1,
        description="minimum mutual information of rows and latents in nats (texts): below it the model has collapsed, "
        "and the texts of a row do not depend on its other columns",
    )
    predict: str | None = Field(
        None, description="modelled column that the models behind `loss` predict (tables); default: the first condition"
    )

    @property
    def names_distributions(self) -> bool:
        """True if the job sets a threshold on the distribution of rows."""
        own = (
            self.shapes,
            self.trends,
            self.trees,
            self.logistic,
            self.coverage,
            self.loss,
            self.frechet,
            self.moments,
        )
        return any(threshold is not None for threshold in own)


def check_shares(shares: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the shares if they are valid.

    Raises:
        ValueError: they name more than one column, lie outside (0, 1], or sum to more than 1.
    """
    if len(shares) > 1:
        raise ValueError(f"shares name several columns: expected one, got {' and '.join(shares)}")
    for column, wanted in shares.items():
        wrong = [f"{value}: {share:g}" for value, share in wanted.items() if not 0 < share <= 1]
        if wrong or not wanted:
            raise ValueError(
                f"share of '{column}' is invalid: expected above 0 and at most 1, got {', '.join(wrong) or 'none'}"
            )
        if sum(wanted.values()) > 1 + 1e-9:
            raise ValueError(
                f"shares of '{column}' are too large: expected a sum of at most 1, got {sum(wanted.values()):g}"
            )
    return shares


MISSING_VALUE = "is null"
"""Value of a share that stands for missing values."""


def parse_share(text: str) -> tuple[str, str, float]:
    """Parse `column=value:share` or `column is null:share`. Raises ValueError.

    >>> parse_share("income=>50K:0.5"), parse_share("income is null:0.1")
    (('income', '>50K', 0.5), ('income', 'is null', 0.1))
    """
    column, equals, rest = text.partition("=")
    value, colon, share = rest.rpartition(":")
    if not equals:
        missing, colon, share = text.rpartition(":")
        value = MISSING_VALUE
        column = missing.removesuffix(f" {value}").strip()
        equals = "=" if missing.endswith(f" {value}") else ""
    try:
        return column, value, float(share) if equals and colon and column else float("")
    except ValueError:
        raise ValueError(f"expected column=value:share, such as income=>50K:0.5, got '{text}'") from None
