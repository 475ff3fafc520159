"""Distribution of windows of a time series: Gaussian steps, and a categorical length where lengths vary."""

import torch
import torch.nn.functional as F
from torch import Tensor

from aepipe.layout import Port, Series
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, Residual, Sigma
from aepipe.models.layers.preprocessing import NumberScaling, Row
from aepipe.models.losses import categorical_nll, gaussian_nll

_LEAST_SHARE = 0.01


class SeriesLikelihood(Likelihood):
    """Likelihood with the parameters: T x F means, step by step, then T logits of the length where lengths vary.

    Values that are missing or beyond the end of a window add nothing to the loss. A learned sigma is per channel, so
    that late steps, which few windows have, share it with the others.
    """

    def __init__(self, series: Series, options: LikelihoodOptions) -> None:
        super().__init__()
        self.series = series
        self.scaling = NumberScaling(series.numbers)
        self.sigma = Sigma(options.sigma, series.channels)
        self.linear = series.values
        self.width = series.values + (series.steps if series.is_uneven else 0)
        eps = Port("eps", "float32", (series.steps, series.channels), "normal")
        self.noise = (eps, Port("u", "float32", (1,), "uniform")) if series.is_uneven else (eps,)

    def nll(self, params: Tensor, row: Row) -> Tensor:
        mean, logits = self._split(params)
        nll = gaussian_nll(row.dense - mean, self.sigma()) * row.observed
        return self._joined(nll, self._length_nll(logits, row))

    def residual(self, params: Tensor, row: Row) -> Tensor:
        mean, logits = self._split(params)
        return self._joined((row.dense - mean) * row.observed, -torch.expm1(-self._length_nll(logits, row)))

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        mean, logits = self._split(params)
        return self._window(mean, logits.argmax(1) + 1 if self.series.is_uneven else self._usual_length(mean))

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        mean, logits = self._split(params)
        drawn = mean + self.sigma().exp() * noise[0]
        if not self.series.is_uneven:
            return self._window(drawn, self._usual_length(mean))
        below = (noise[1] > logits.softmax(1).cumsum(1)).to(torch.int64).sum(1)
        return self._window(drawn, below.clamp(max=self.series.steps - 1) + 1)

    @torch.no_grad()
    def misfit(self, params: Tensor, row: Row) -> Residual:
        mean, _ = self._split(params)
        squares = (row.dense - mean).square() * row.observed
        return Residual(squares.sum((0, 1)), row.observed.sum((0, 1)))

    def targets(self, row: Row) -> Tensor:
        steps = row.dense.flatten(1)
        if not self.series.is_uneven:
            return steps
        return torch.cat([steps, F.one_hot(row.codes[:, 0], self.series.steps).to(steps.dtype)], 1)

    def params_of(self, targets: Tensor) -> Tensor:
        means, shares = targets[:, : self.linear], targets[:, self.linear :]
        return torch.cat([means, shares.clamp(min=_LEAST_SHARE).log()], 1)

    def _length_nll(self, logits: Tensor, row: Row) -> Tensor:
        """Compute -log p of the length, (B, 1); (B, 0) where all windows have the same length."""
        if not self.series.is_uneven:
            return logits
        return categorical_nll(logits.log_softmax(1), row.codes[:, 0]).unsqueeze(1)

    def _window(self, steps: Tensor, length: Tensor) -> tuple[Tensor, ...]:
        return self.scaling.restore(steps).float(), length.to(torch.int32)

    def _usual_length(self, like: Tensor) -> Tensor:
        return torch.full_like(like[:, 0, 0], self.series.longest)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Split parameters into means (B, T, F) and logits of the length (B, T), or (B, 0) without."""
        params = params.to(self.scaling.mean.dtype)  # autocast ends here
        means = params[:, : self.linear].reshape(-1, self.series.steps, self.series.channels)
        return means, params[:, self.linear :]

    @staticmethod
    def _joined(steps: Tensor, length: Tensor) -> Tensor:
        return torch.cat([steps.flatten(1), length], 1)
