"""Cost table of alarms and misses. Does not import numpy: job files are read with it, and that would slow `--help`."""

import math
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from aepipe.frozen import FrozenModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rate = TypeVar("Rate", float, "NDArray[np.float64]")


class Costs(FrozenModel):
    """Costs of false alarms and misses."""

    false_alarm: float = Field(ge=0, allow_inf_nan=False)
    miss: float = Field(ge=0, allow_inf_nan=False)
    base_rate: float = Field(gt=0, lt=1, description="share of anomalies among all rows")

    @property
    def beta(self) -> float:
        """Beta of the F-beta score that weighs a miss beta**2 times a false alarm, as these costs do."""
        return math.sqrt(self.miss / self.false_alarm) if self.false_alarm and self.miss else 1.0

    def expected(self, *, false_alarm_rate: Rate, recall: Rate) -> Rate:
        """Return the expected cost per row.

        >>> Costs(false_alarm=1, miss=20, base_rate=0.01).expected(false_alarm_rate=0.1, recall=0.5)
        0.199
        """
        alarms = (1 - self.base_rate) * false_alarm_rate * self.false_alarm
        return alarms + self.base_rate * (1 - recall) * self.miss
