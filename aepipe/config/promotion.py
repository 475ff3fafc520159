"""Section `[promotion]`: when a challenger may replace the champion."""

from pydantic import Field

from aepipe.frozen import FrozenModel


class Promotion(FrozenModel):
    """Checks that a challenger must pass to replace the champion; an empty limit is not checked."""

    automatic: bool = Field(
        False, description="promote a new challenger after training if it passes every check; false: by command only"
    )
    nights: int = Field(7, ge=1, le=366, description="number of latest partitions that both models score")
    min_rows: int = Field(100, ge=1, description="fewest rows that both models can score")
    max_alarm_ratio: float | None = Field(
        2.0,
        gt=0,
        description="largest alarm rate of the challenger, as a multiple of the champion's alarm rate or of the "
        "challenger's alpha, whichever is larger",
    )
    min_rank_correlation: float | None = Field(
        0.5, ge=-1, le=1, description="lowest rank correlation of the two scores; not checked where labels are known"
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="lowest share of flagged rows that both models flag; default: not checked"
    )
    max_auroc_drop: float | None = Field(
        0.02, ge=0, le=1, description="largest decrease of the AUROC, where labels of both classes are known"
    )
    max_cost_increase: float | None = Field(
        0.05, ge=0, description="largest increase of the expected cost, as a share, where the job has a cost table"
    )
    min_speed_ratio: float | None = Field(
        None, gt=0, description="lowest rows per second, as a multiple of the champion's; default: not checked"
    )
