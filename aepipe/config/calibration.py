"""Section `[calibration]`: the anomaly threshold."""

from typing import Literal

from pydantic import Field, model_validator

from aepipe.config.cost_table import Costs
from aepipe.frozen import FrozenModel


class Calibration(FrozenModel):
    """Anomaly threshold."""

    alpha: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of normal rows that may be flagged; share of all rows if [train] data is polluted",
    )
    false_alarm_cost: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="cost of reviewing a normal row; with miss_cost and base_rate it selects alpha",
    )
    miss_cost: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="cost of an anomaly that is not flagged"
    )
    base_rate: float | None = Field(None, gt=0, lt=1, description="share of anomalies among all rows")
    capacity: int | None = Field(
        None, ge=1, description="maximum alarms per night that can be reviewed; default: no limit"
    )
    adaptive: bool = Field(
        False,
        description="adjust the threshold every night so that the share of flagged rows stays at alpha under drift; "
        "default of series jobs: true, by entity",
    )
    cells: bool = Field(
        True,
        exclude_if=lambda value: value,
        description="also flag rows of a table for one cell that does not fit the others; both alarms share alpha",
    )
    per: Literal["entity"] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="entity: each [data] entity with enough calibration rows for alpha has its own threshold, the "
        "others share one; default: one threshold for all rows",
    )

    @model_validator(mode="after")
    def _thresholds_are_fixed_per_entity(self) -> "Calibration":
        if self.per is not None and self.adaptive:
            raise ValueError("adaptive keeps one threshold for all rows: expected adaptive or per, got both")
        return self

    @model_validator(mode="after")
    def _costs_are_complete(self) -> "Calibration":
        table = {"false_alarm_cost": self.false_alarm_cost, "miss_cost": self.miss_cost, "base_rate": self.base_rate}
        absent = [name for name, value in table.items() if value is None]
        if absent and len(absent) < len(table):
            raise ValueError(f"cost table is incomplete: expected {', '.join(table)}, got no {' or '.join(absent)}")
        if self.false_alarm_cost == 0 and self.miss_cost == 0:
            raise ValueError(
                "cost table cannot rank thresholds: expected false_alarm_cost or miss_cost above 0, got 0 for both"
            )
        return self

    @property
    def has_cells(self) -> bool:
        """True if the job asks for an alarm for cells: all rows have one threshold."""
        return self.cells and self.per is None

    @property
    def costs(self) -> Costs | None:
        """Cost table; None if the job has none."""
        if self.false_alarm_cost is None or self.miss_cost is None or self.base_rate is None:
            return None
        return Costs(false_alarm=self.false_alarm_cost, miss=self.miss_cost, base_rate=self.base_rate)

    @property
    def selects_alpha(self) -> bool:
        """Alpha is selected by cost or capacity rather than taken as given."""
        return self.costs is not None or self.capacity is not None
