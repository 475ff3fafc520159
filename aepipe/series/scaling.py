"""Scaling of channels by the training part of each series."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aepipe.frozen import FrozenModel

_HIGHEST = 1e6
"""Bound of scaled values, in standard deviations: beyond it float32 networks overflow."""

_FEWEST_ROWS = 10


class Scaling(FrozenModel):
    """Mean and standard deviation of each channel, pooled and by entity.

    A channel that is constant in an entity's training part has the pooled deviation, or 1 if it is constant everywhere.
    """

    mean: tuple[float, ...] = Field(description="of all training rows, by channel")
    deviation: tuple[float, ...]
    entities: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = Field(
        default_factory=dict, description="means and deviations by entity; entities with few rows are pooled"
    )

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        entity: NDArray[np.int64],
        values: NDArray[np.floating],
        *,
        scale: Literal["entity", "pooled", "none"],
    ) -> Self:
        """Fit on training rows.

        Args:
            names: (E,) name of each entity.
            entity: (R,) code of each row.
            values: (R, F), NaN where missing.
            scale: what `[series] scale` asks for.
        """
        channels = values.shape[1]
        if scale == "none":
            return cls(mean=(0.0,) * channels, deviation=(1.0,) * channels)
        rows = values.astype(np.float64)
        everything = np.zeros(len(rows), np.int64)
        _, means, deviations = _moments(everything, rows, entities=1)
        pooled_mean = np.nan_to_num(means[0])
        pooled = np.where(np.isfinite(deviations[0]) & (deviations[0] > 0), deviations[0], 1.0)
        own = {}
        if scale == "entity":
            counts, means, deviations = _moments(entity, rows, entities=len(names))
            enough = counts >= _FEWEST_ROWS
            means = np.where(enough, means, pooled_mean)
            floors = 1e-6 * np.maximum(np.abs(means), pooled)  # rounding of a constant is no deviation
            deviations = np.where(enough & (deviations > floors), deviations, pooled)
            own = {
                name: (tuple(means[at].tolist()), tuple(deviations[at].tolist()))
                for at, name in enumerate(names)
                if enough[at].any()
            }
        return cls(mean=tuple(pooled_mean.tolist()), deviation=tuple(pooled.tolist()), entities=own)

    def of(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and deviation of the channels of an entity, (F,) each; of all entities if it is unknown."""
        mean, deviation = self.entities.get(name, (self.mean, self.deviation))
        return np.array(mean), np.array(deviation)

    def apply(
        self, names: Sequence[str], entity: NDArray[np.int64], values: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return (value - mean) / deviation of each row's entity, (R, F) within a million; NaN stays NaN."""
        moments = [self.entities.get(name, (self.mean, self.deviation)) for name in names]
        mean, deviation = (np.array([each[at] for each in moments]).reshape(len(names), -1) for at in (0, 1))
        if not len(entity):
            return values.astype(np.float32)
        scaled = (values.astype(np.float64) - mean[entity]) / deviation[entity]
        found: NDArray[np.float32] = np.clip(scaled, -_HIGHEST, _HIGHEST).astype(np.float32)
        return found


def _moments(
    entity: NDArray[np.int64], values: NDArray[np.float64], *, entities: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return counts, means and standard deviations by entity and channel, (E, F) each; missing values are skipped."""
    shape = (entities, values.shape[1])
    counts, means, deviations = np.zeros(shape, np.int64), np.full(shape, np.nan), np.full(shape, np.nan)
    for channel, column in enumerate(values.T):
        known = np.isfinite(column)
        of, found = entity[known], column[known]
        number = np.bincount(of, minlength=entities)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(of, found, minlength=entities) / number
            spread = np.bincount(of, (found - mean[of]) ** 2, minlength=entities) / number
        counts[:, channel], means[:, channel], deviations[:, channel] = number, mean, np.sqrt(spread)
    return counts, means, deviations
