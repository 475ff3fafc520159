"""Likelihoods: the output of a decoder as parameters of a distribution over one encoded row."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout, Port
from aepipe.models.layers.categorical import Categoricals
from aepipe.models.layers.preprocessing import NumberScaling, Row
from aepipe.models.losses import MIN_LOG_SIGMA, bernoulli_nll, gaussian_nll, optimal_log_sigma


class LikelihoodOptions(FrozenModel):
    """Keys of [model] that define the reconstruction loss; all families accept them."""

    sigma: Literal["optimal", "learned"] | Annotated[float, Field(gt=0)] = Field(
        "optimal",
        description="standard deviation of the Gaussian: optimal (closed form, one for all features), learned (one per "
        "feature or channel), or a number, in standard deviations of the column or in shares of the greatest pixel",
    )
    pixels: Literal["gaussian", "bernoulli"] = Field(
        "gaussian", description="distribution of a pixel; bernoulli suits nearly binary images"
    )
    word_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        exclude_if=lambda value: value is None,
        description="share of the tokens of a text that its decoder does not see in training, so that it has to use "
        "the latents; default: 0.2",
    )


class Residual(NamedTuple):
    """Summed squared residuals of Gaussian features and their counts: one number each, or (F,) each."""

    squares: Tensor
    counts: Tensor


class Likelihood(nn.Module, ABC):
    """Distribution over rows. F is `layout.features`: numbers, then categories; or pixels in C, H, W order; or steps.

    Subclasses are final. `width` is the number of parameters per row, `sigma` the scale of the Gaussians.
    """

    sigma: "Sigma"

    width: int
    linear: int
    """Number of parameters that are means; they come first."""
    noise: tuple[Port, ...]
    """Noise inputs of `draw`, in order."""

    @abstractmethod
    def nll(self, params: Tensor, row: Row) -> Tensor:
        """Return -log p of every feature, (B, F) in nats; for a missing number, only of its flag."""

    @abstractmethod
    def residual(self, params: Tensor, row: Row) -> Tensor:
        """Return value minus expected value, (B, F), in units of `Row.dense`; 1 - p(its value) for a category."""

    @abstractmethod
    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        """Return the likeliest row as the tensors of `layout.rebuilt_ports`, in source units; nothing is missing."""

    @abstractmethod
    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        """Draw a row with `noise`, in the form of `expected`; a drawn missing value is NaN or code 0."""

    def heard(self, row: Row, generator: torch.Generator) -> Row:
        """Return the target of a training step; texts lose some of the tokens that their decoder is given."""
        return row

    @abstractmethod
    def misfit(self, params: Tensor, row: Row) -> Residual:
        """Return the squared residuals that sigma is fitted to, summed over the rows, without gradients."""

    @abstractmethod
    def targets(self, row: Row) -> Tensor:
        """Return the row as one vector (B, width): numbers, missing flags and one-hot codes, or pixels."""

    @abstractmethod
    def params_of(self, targets: Tensor) -> Tensor:
        """Return parameters (B, width) whose mean is close to targets (B, width), such as the output of PCA."""


def make_likelihood(layout: Layout, options: LikelihoodOptions, *, state: int | None = None) -> Likelihood:
    """Make the likelihood for the rows of a layout; state: width of the decoder of texts, None for the default."""
    from aepipe.models.layers.items_likelihood import ItemsLikelihood  # imports this module
    from aepipe.models.layers.series_likelihood import SeriesLikelihood  # imports this module
    from aepipe.models.layers.text_likelihood import TextLikelihood  # imports this module

    if layout.kind == "items":
        return ItemsLikelihood(layout, options)
    if layout.texts:
        return TextLikelihood(layout, options, state=state)
    if layout.series is not None:
        return SeriesLikelihood(layout.series, options)
    if layout.rebuilt is not None:
        return ImageLikelihood(layout, options)
    return TableLikelihood(layout, options)


class Sigma(nn.Module):
    """Log sigma of Gaussian features: fixed, one closed-form optimum for all, or one learned per feature."""

    log_sigma: Tensor

    def __init__(self, sigma: float | str, features: int) -> None:
        super().__init__()
        self.is_optimal = sigma == "optimal" and features > 0
        self.is_learned = sigma == "learned"
        if self.is_learned:
            self.log_sigma = nn.Parameter(torch.zeros(features))
        else:
            self.register_buffer("log_sigma", torch.tensor(0.0 if isinstance(sigma, str) else math.log(sigma)))

    def forward(self) -> Tensor:
        if self.is_learned:
            return MIN_LOG_SIGMA + F.softplus(self.log_sigma - MIN_LOG_SIGMA)
        return self.log_sigma

    @torch.no_grad()
    def follow(self, misfit: Residual, share: float = 0.1) -> None:
        """Move an optimal sigma by this share towards the best one for these residuals; others do not change."""
        # Logarithms are averaged: one batch with an extreme row moves the sigma little.
        if self.is_optimal:
            best = optimal_log_sigma(misfit.squares.sum(), misfit.counts.sum())
            self.log_sigma.lerp_(best.to(self.log_sigma.dtype), share)

    @torch.no_grad()
    def settle(self, misfit: Residual) -> None:
        """Set sigma to the best one for these residuals, learned ones per feature; a fixed one does not change."""
        self.follow(misfit, 1.0)
        if self.is_learned:
            best = optimal_log_sigma(misfit.squares, misfit.counts)
            above = (best - MIN_LOG_SIGMA).clamp(min=1e-3)
            self.log_sigma.copy_(MIN_LOG_SIGMA + above + torch.log(-torch.expm1(-above)))

    @torch.no_grad()
    def regret(self, misfit: Residual) -> Tensor:
        """Return the summed nll of these residuals minus its optimum over sigma, in nats; 0 unless sigma is optimal."""
        if not self.is_optimal:
            return torch.zeros(())
        count = misfit.counts.sum()
        ahead = self.log_sigma - optimal_log_sigma(misfit.squares.sum(), count)
        return count * (ahead + 0.5 * torch.expm1(-2 * ahead))


class TableLikelihood(Likelihood):
    """Gaussian numbers, Bernoulli missing flags and categorical codes; params are laid out in this order."""

    may_be_missing: Tensor

    def __init__(self, layout: Layout, options: LikelihoodOptions) -> None:
        super().__init__()
        self.numbers = len(layout.numbers)
        self.scaling = NumberScaling(layout.numbers)
        may = [float(number.may_be_missing) for number in layout.numbers]
        self.flags = self.numbers if any(may) else 0
        self.register_buffer("may_be_missing", torch.tensor(may), persistent=False)
        self.sigma = Sigma(options.sigma, self.numbers)
        known = layout.categories
        self.categories = Categoricals([each.size for each in known], [each.absent for each in known])
        self.width = self.numbers + self.flags + self.categories.width
        self.linear = self.numbers
        uniforms = self.flags + self.categories.uniforms
        eps = (Port("eps", "float32", (self.numbers,), "normal"),) if self.numbers else ()
        u = (Port("u", "float32", (uniforms,), "uniform"),) if uniforms else ()
        self.noise = eps + u

    def nll(self, params: Tensor, row: Row) -> Tensor:
        mean, flags, logits = self._split(params)
        nll = gaussian_nll(row.dense - mean, self.sigma())
        if self.flags:
            nll = nll * row.observed + bernoulli_nll(flags, 1 - row.observed) * self.may_be_missing
        if not self.categories.sizes:
            return nll
        return torch.cat([nll, self.categories.nll(logits, row.codes)], 1)

    def residual(self, params: Tensor, row: Row) -> Tensor:
        mean, _, logits = self._split(params)
        residual = (row.dense - mean) * row.observed if self.flags else row.dense - mean
        if not self.categories.sizes:
            return residual
        return torch.cat([residual, -torch.expm1(-self.categories.nll(logits, row.codes))], 1)

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        mean, _, logits = self._split(params)
        num = (self.scaling.restore(mean).float(),) if self.numbers else ()
        cat = (self.categories.guess(logits),) if self.categories.sizes else ()
        return num + cat

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        mean, flags, logits = self._split(params)
        if not self.numbers:
            return (self.categories.draw(logits, noise[0]),)
        num = self.scaling.restore(mean + self.sigma().exp() * noise[0]).float()
        if self.flags:
            missing = noise[1][:, : self.flags] < torch.sigmoid(flags) * self.may_be_missing
            num = torch.where(missing, torch.full_like(num, math.nan), num)
        if not self.categories.sizes:
            return (num,)
        return num, self.categories.draw(logits, noise[1][:, self.flags :])

    @torch.no_grad()
    def misfit(self, params: Tensor, row: Row) -> Residual:
        mean, _, _ = self._split(params)
        squares = (row.dense - mean).square()
        if self.flags:
            return Residual((squares * row.observed).sum(0), row.observed.sum(0))
        return Residual(squares.sum(0), torch.full_like(self.may_be_missing, len(mean)))

    def targets(self, row: Row) -> Tensor:
        flags = (1 - row.observed) * self.may_be_missing if self.flags else row.dense[:, :0]
        hot = self.categories.one_hot(row.codes) if self.categories.sizes else row.dense[:, :0]
        return torch.cat([row.dense, flags, hot], 1)

    def params_of(self, targets: Tensor) -> Tensor:
        mean, flags, hot = self._split(targets)
        return torch.cat([mean, torch.logit(flags, eps=0.01), self.categories.logits_of(hot)], 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split parameters into means (B, N), logits of missing (B, N or 0) and logits of codes."""
        params = params.to(self.may_be_missing.dtype)  # autocast ends here
        first, second = self.numbers, self.numbers + self.flags
        return params[:, :first], params[:, first:second], params[:, second:]


class ImageLikelihood(Likelihood):
    """Gaussian or Bernoulli pixels, in shares of the greatest pixel value."""

    def __init__(self, layout: Layout, options: LikelihoodOptions) -> None:
        super().__init__()
        assert layout.rebuilt is not None
        self.image = layout.rebuilt
        self.width = layout.rebuilt.pixels
        self.noise = ()
        self.is_gaussian = options.pixels == "gaussian"
        self.linear = self.width if self.is_gaussian else 0
        self.sigma = Sigma(options.sigma if self.is_gaussian else 1.0, self.width)

    def nll(self, params: Tensor, row: Row) -> Tensor:
        if self.is_gaussian:
            return gaussian_nll(self.residual(params, row), self.sigma())
        return bernoulli_nll(self._wide(params), row.dense.flatten(1))

    def residual(self, params: Tensor, row: Row) -> Tensor:
        return row.dense.flatten(1) - self._mean(params)

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        levels = self._mean(params).clamp(0, 1) * self.image.top
        shape = (self.image.channels, self.image.height, self.image.width)
        return (torch.floor(levels + 0.5).to(torch.uint8).reshape(-1, *shape),)

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        """Return the expected image."""
        return self.expected(params)  # independent noise per pixel is grain, which no image of the source has

    @torch.no_grad()
    def misfit(self, params: Tensor, row: Row) -> Residual:
        squares = self.residual(params, row).square()
        return Residual(squares.sum(0), torch.full_like(squares[0], len(squares)))

    def targets(self, row: Row) -> Tensor:
        return row.dense.flatten(1)

    def params_of(self, targets: Tensor) -> Tensor:
        return targets if self.is_gaussian else torch.logit(targets, eps=0.01)

    def _mean(self, params: Tensor) -> Tensor:
        return self._wide(params) if self.is_gaussian else torch.sigmoid(self._wide(params))

    def _wide(self, params: Tensor) -> Tensor:
        return params.to(self.sigma.log_sigma.dtype)  # autocast ends here
