"""Section `[drift]`: when a change of the data counts as drift."""

from typing import Literal, TypeAlias

from pydantic import Field

from aepipe.frozen import FrozenModel

Retrain: TypeAlias = Literal[True, False, "lasting"]


class Drift(FrozenModel):
    """Comparison of each night with the reference in the bundle: input columns, scores and latents."""

    check: bool = Field(True, description="compare every scored partition with the reference of the bundle")
    tolerance: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="largest Kolmogorov distance that is not drift; a shift by 0.25 standard deviations is 0.1",
    )
    false_alarm: float = Field(
        0.001, gt=0, lt=1, description="largest share of nights with a drift alarm while nothing drifts"
    )
    min_rows: int = Field(500, ge=10, description="partitions with fewer rows are not compared")
    cool_down: int = Field(
        7, ge=0, description="number of partitions after an alarm in which the same column raises no other"
    )
    window: int = Field(
        28,
        ge=0,
        description="number of partitions that are also compared together, for a lasting change that is too small to "
        "show in one; 0: none",
    )
    retrain: Retrain = Field(
        False,
        description="train a challenger when a nightly run finds drift; `lasting`: only if the partitions of `window` "
        "together have drifted, or seven in a row each alone",
    )
