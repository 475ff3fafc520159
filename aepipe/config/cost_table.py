"""What alarms and misses cost. Nothing here loads numpy: jobs are read with it, and `aepipe --help` waits for that."""

import math
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from aepipe.frozen import FrozenModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rate = TypeVar("Rate", float, "NDArray[np.float64]")


class Costs(FrozenModel):
    """What the job says that alarms and misses cost."""

    false_alarm: float = Field(ge=0, allow_inf_nan=False)
    miss: float = Field(ge=0, allow_inf_nan=False)
    base_rate: float = Field(gt=0, lt=1, description="share of anomalies among all rows")

    @property
    def beta(self) -> float:
        """Of F-beta, which weighs a miss beta**2 times a false alarm: as these costs do."""
        return math.sqrt(self.miss / self.false_alarm) if self.false_alarm and self.miss else 1.0

    def expected(self, *, false_alarm_rate: Rate, recall: Rate) -> Rate:
        """Of a row, on average.

        >>> Costs(false_alarm=1, miss=20, base_rate=0.01).expected(false_alarm_rate=0.1, recall=0.5)
        0.199
        """
        alarms = (1 - self.base_rate) * false_alarm_rate * self.false_alarm
        return alarms + self.base_rate * (1 - recall) * self.miss
