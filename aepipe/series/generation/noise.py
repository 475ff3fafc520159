"""Noise of drawn series: autoregressive, with innovations of training whose volatility may cluster."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.series.generation.volatility import Volatility

Floats = NDArray[np.float64]

MOST_LAGS = 24
BURN_IN = 200


class Noise(NamedTuple):
    """Autoregressive noise of each principal component of the channels; innovations of a step are drawn together.

    Innovations are drawn from the training, divided by their volatility (filtered historical simulation,
    Barone-Adesi, Giannopoulos & Vosper 1999).
    """

    coefficients: Floats
    """(P, F), of the last step first"""
    innovations: Floats
    """(M, F), with a mean square of 1 or 0"""
    scale: Floats
    """(F,) standard deviation of the innovations"""
    axes: Floats
    """(F, F) principal components, which the others are about"""
    volatility: Volatility

    @classmethod
    def fit(cls, stretches: Sequence[Floats]) -> "Noise":
        """Fit by the Yule-Walker equations, with the order of the least AIC.

        The innovations have the variance of the fitted process, so that drawn noise has that of the residuals.

        Args:
            stretches: Residuals of consecutive steps, (S, F) each, NaN where unknown.
        """
        axes = _principal_axes(np.concatenate(stretches))
        stretches = [_without_holes(each) @ axes for each in stretches]
        channels = len(axes)
        coefficients, variances = np.zeros((MOST_LAGS, channels)), np.zeros(channels)
        for channel in range(channels):
            found, variances[channel] = yule_walker([each[:, channel] for each in stretches])
            coefficients[: len(found), channel] = found
        used = int(np.flatnonzero(np.abs(coefficients).sum(axis=1) > 0).max(initial=-1)) + 1
        coefficients = coefficients[:used]
        parts = [_innovations(each, coefficients) for each in stretches]
        if not any(np.isfinite(part).all(axis=1).any() for part in parts):  # no step is known
            parts = [np.nan_to_num(part) for part in parts]
        together = np.concatenate([*parts, np.zeros((1, channels))])
        means, size = np.nanmean(together, axis=0), np.nanstd(together, axis=0)
        parts = [(part - means) / np.where(size > 0, size, 1.0) for part in parts]
        volatility = Volatility.fit(parts)
        whole = np.concatenate([volatility.standardised(part) for part in parts])
        whole = whole[np.isfinite(whole).all(axis=1)]
        size = np.sqrt((whole**2).mean(axis=0))
        return cls(coefficients, whole / np.where(size > 0, size, 1.0), np.sqrt(variances), axes, volatility)

    def draw(self, paths: int, steps: int, generator: np.random.Generator) -> Floats:
        """Draw noise, (B, steps, F); a shorter one of the same generator is its beginning."""
        lags, channels = self.coefficients.shape
        chosen = generator.integers(len(self.innovations), size=(BURN_IN + steps, paths))
        found = np.zeros((lags + BURN_IN + steps, paths, channels))
        reversed_lags = self.coefficients[::-1, None, :]
        power = np.ones((paths, channels))
        for step in range(BURN_IN + steps):
            drawn = np.sqrt(power) * self.innovations[chosen[step]]
            found[lags + step] = (found[step : step + lags] * reversed_lags).sum(axis=0) + self.scale * drawn
            power = self.volatility.next(power, drawn)
        return np.asarray(found[lags + BURN_IN :].transpose(1, 0, 2) @ self.axes.T)


def _without_holes(stretch: Floats) -> Floats:
    """Return residuals with 0 for a missing value of a step that has others, (S, F)."""
    is_known = np.isfinite(stretch).any(axis=1, keepdims=True)
    return np.where(is_known, np.nan_to_num(stretch), np.nan)


def _principal_axes(residuals: Floats) -> Floats:
    """Return the principal axes of residuals, (F, F), so that drawn channels have their correlation."""
    known = np.nan_to_num(residuals[np.isfinite(residuals).any(axis=1)])
    return np.asarray(np.linalg.eigh(known.T @ known)[1])


def yule_walker(stretches: Sequence[Floats]) -> tuple[Floats, float]:
    """Return the coefficients, (P,), and the variance of the innovations of one channel, by Levinson's recursion.

    Autocovariances are means over the pairs of known steps; the
    recursion ends before an order at which no process has them, so that the process is stable.
    """
    filled, masks = [np.nan_to_num(each) for each in stretches], [np.isfinite(each).astype(float) for each in stretches]
    known = int(sum(mask.sum() for mask in masks))
    most = min(MOST_LAGS, known // 10)
    covariance = np.zeros(most + 1)
    for lag in range(most + 1):
        sums, pairs = (
            sum(float(part[lag:] @ part[: max(len(part) - lag, 0)]) for part in side) for side in (filled, masks)
        )
        covariance[lag] = sums / pairs if pairs else 0.0
    variance, coefficients = float(covariance[0]), np.zeros(0)
    if variance <= 1e-18:
        return coefficients, 0.0
    best = (known * np.log(variance), coefficients, variance)
    for order in range(1, most + 1):
        reflection = float(covariance[order] - coefficients @ covariance[order - 1 : 0 : -1]) / variance
        if abs(reflection) >= 1:
            break
        coefficients = np.append(coefficients - reflection * coefficients[::-1], reflection)
        variance *= 1 - reflection**2
        criterion = known * np.log(variance) + 2 * order
        if criterion < best[0]:
            best = (criterion, coefficients, variance)
    return best[1], best[2]


def _innovations(stretch: Floats, coefficients: Floats) -> Floats:
    """Return residuals less their prediction, (S, F); NaN where unknown; an unknown step before counts as 0."""
    past = np.concatenate([np.zeros((len(coefficients), stretch.shape[1])), np.nan_to_num(stretch)])
    found = stretch.copy()
    for lag, of_lag in enumerate(coefficients, start=1):
        begin = len(coefficients) - lag
        found -= of_lag * past[begin : begin + len(stretch)]
    return found
