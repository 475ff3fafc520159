"""Preprocessing inside the graph: raw row tensors to network inputs, and back.

Scaling, logarithms and imputation are part of every exported graph, so that serving cannot differ from training.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Image, Layout, Number

TAIL = 10.0
"""Standard deviations beyond which a number grows only as its fourth root."""

GIVEN_SCALE = 4.0
"""Factor of conditions, which would otherwise be a few inputs among many."""

_GREATEST = 1e24  # its fourth root is 1e6, whose squares stay far below the float32 maximum
_LARGEST_POWER = 80.0  # exp(80) is 5.5e34, exp(89) overflows float32


class Row(NamedTuple):
    """Preprocessed rows, the input of networks."""

    dense: Tensor
    """(B, N) standardised numbers, missing ones 0; or (B, C, H, W) pixels in [0, 1]; or (B, T, F) steps of numbers"""
    observed: Tensor
    """the shape of `dense`: 1 where there is a value, 0 where it is missing or beyond the end of a window"""
    codes: Tensor
    """(B, K) int64, K = 0 without categories; for windows (B, 1), the index of the last step"""
    given: Tensor
    """(B, G) conditions, times GIVEN_SCALE: standardised numbers, missing flags, one-hot codes; G = 0 without"""


class Preprocessing(nn.Module):
    """Preprocessing of raw row tensors, named as in `Layout.ports`, into a `Row`."""

    last_code: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.numbers = NumberScaling(layout.numbers if layout.series is None else layout.series.numbers)
        self.given = Given(layout)
        last_code = torch.tensor([category.size - 1 for category in layout.categories], dtype=torch.int64)
        self.register_buffer("last_code", last_code, persistent=False)

    def forward(self, inputs: Mapping[str, Tensor]) -> Row:
        given = self.given(inputs) if self.layout.given else self._no_given(inputs)
        if self.layout.image is not None:
            return self._image_row(inputs["image"], self.layout.image, given)
        if self.layout.series is not None:
            return self._series_row(inputs["steps"], inputs["length"], given)
        if self.layout.categories:
            codes = torch.minimum(inputs["cat"].long().clamp(min=0), self.last_code)
        else:
            codes = _no_codes(inputs["num"])
        if not self.layout.numbers:
            nothing = codes[:, :0].to(self.numbers.mean.dtype)
            return Row(nothing, nothing, codes, given)
        dense, observed = self.numbers(inputs["num"])
        return Row(dense, observed, codes, given)

    def wanted(self, inputs: Mapping[str, Tensor], row: Row) -> Row:
        """Return the reconstruction target of a row: the target image, or the row itself."""
        target = self.layout.target
        return row if target is None else self._image_row(inputs["target"], target, row.given)

    def _image_row(self, image: Tensor, shape: Image, given: Tensor) -> Row:
        pixels = image.to(self.numbers.mean.dtype) / shape.top
        return Row(pixels, torch.ones_like(pixels), _no_codes(pixels), given)

    def _series_row(self, steps: Tensor, length: Tensor, given: Tensor) -> Row:
        last = (length.long().clamp(1, steps.shape[1]) - 1).unsqueeze(1)
        within = torch.arange(steps.shape[1], device=steps.device) <= last
        present = within.unsqueeze(2) & ~torch.isnan(steps)
        dense, _ = self.numbers(torch.where(present, steps, self.numbers.mean))
        observed = present.to(dense.dtype)
        return Row(dense * observed, observed, last, given)

    def _no_given(self, inputs: Mapping[str, Tensor]) -> Tensor:
        first = inputs[self.layout.seen_ports[0].name]
        return self.numbers.mean.new_zeros((first.shape[0], 0))

    def straight(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Standardise the L log-transformed numbers of a table without their logarithm, missing ones 0, (B, L).

        A logarithm compresses large values, which may be the anomaly of a row. L = 0 without such numbers.
        """
        if not self.layout.straight:
            return self._no_given(inputs)
        return self.numbers.straight(inputs["num"])

    def restore(self, dense: Tensor) -> Tensor:
        """Convert standardised numbers (..., N) to source units, with the host's offset still subtracted."""
        return self.numbers.restore(dense)


class Given(nn.Module):
    """Preprocessing of condition tensors, named as in `Layout.given_ports`, into one vector (B, G)."""

    last_code: Tensor
    flagged: Tensor
    known: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.numbers = NumberScaling(layout.given_numbers)
        self.sizes = tuple(category.size for category in layout.given_categories)
        flagged = [j for j, number in enumerate(layout.given_numbers) if number.may_be_missing]
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64), persistent=False)
        last_code = torch.tensor([size - 1 for size in self.sizes], dtype=torch.int64)
        self.register_buffer("last_code", last_code, persistent=False)
        # No weight is learned for a code that training rows never had: it adds nothing.
        absent = [category.absent for category in layout.given_categories]
        known = [float(code not in absent[j]) for j, size in enumerate(self.sizes) for code in range(size)]
        self.register_buffer("known", torch.tensor(known), persistent=False)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        parts = []
        if "given_num" in inputs:
            dense, observed = self.numbers(inputs["given_num"])
            parts += [dense, 1 - observed.index_select(1, self.flagged)]
        if "given_cat" in inputs:
            codes = torch.minimum(inputs["given_cat"].long().clamp(min=0), self.last_code)
            dtype = self.numbers.mean.dtype
            hot = [F.one_hot(codes[:, j], size).to(dtype) for j, size in enumerate(self.sizes)]
            parts.append(torch.cat(hot, 1) * self.known)
        return GIVEN_SCALE * torch.cat(parts, 1)


class NumberScaling(nn.Module):
    """Standardisation of numbers with softened tails, and its inverse.

    Linear up to `TAIL` standard deviations, a fourth root beyond: an extreme value stays extreme and finite, but does
    not dominate the activations of a network or the loss of a batch.
    """

    mean: Tensor
    gain: Tensor
    log_mean: Tensor
    log_gain: Tensor
    is_log: Tensor

    def __init__(self, numbers: tuple[Number, ...]) -> None:
        super().__init__()
        self.has_log = any(number.transform == "log" for number in numbers)
        self.has_missing = any(number.may_be_missing for number in numbers)
        steps = torch.tensor(
            [
                # Mean and gain before the logarithm, then after it; a linear number uses only the first two.
                (number.center, 1 / number.scale, number.mean, 1 / number.std)
                if number.transform == "log"
                else (number.center + number.mean * number.scale, 1 / (number.scale * number.std), 0.0, 1.0)
                for number in numbers
            ]
        ).reshape(-1, 4)
        for name, values in zip(("mean", "gain", "log_mean", "log_gain"), steps.T.contiguous(), strict=True):
            self.register_buffer(name, values, persistent=False)
        is_log = torch.tensor([number.transform == "log" for number in numbers], dtype=torch.bool)
        self.register_buffer("is_log", is_log, persistent=False)

    def forward(self, num: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise numbers (..., N), NaN where missing.

        Returns:
            Standardised numbers, 0 where missing, and a mask of the same shape, 1 where observed.
        """
        value = (num - self.mean) * self.gain
        if self.has_log:
            logged = value.sign() * torch.log1p(value.abs())
            value = torch.where(self.is_log, (logged - self.log_mean) * self.log_gain, value)
        value = soften(value)
        # No search for NaN where no column may be missing: the host's encoding rejects such rows.
        if not self.has_missing:
            return value, torch.ones_like(value)
        missing = torch.isnan(num)
        return torch.where(missing, torch.zeros_like(value), value), (~missing).to(value.dtype)

    def straight(self, num: Tensor) -> Tensor:
        """Standardise and soften the log-transformed ones of the numbers (B, N) without their logarithm, (B, L)."""
        logged = self.is_log.nonzero().squeeze(1)
        value = ((num - self.mean) * self.gain).index_select(1, logged)
        return soften(torch.where(torch.isnan(value), torch.zeros_like(value), value))

    def restore(self, dense: Tensor) -> Tensor:
        """Invert `forward`: standardised numbers to numbers."""
        value = harden(dense)
        if self.has_log:
            logged = value / self.log_gain + self.log_mean
            grown = logged.sign() * torch.expm1(logged.abs().clamp(max=_LARGEST_POWER))
            value = torch.where(self.is_log, grown, value)
        return value / self.gain + self.mean


def soften(value: Tensor) -> Tensor:
    """Soften values beyond `TAIL`: the excess becomes 4 ((1 + excess)^(1/4) - 1), with its sign.

    >>> soften(torch.tensor([-2.0, 10.0, 10.0 + 255.0]))
    tensor([-2., 10., 22.])
    """
    # Avoids a sign and a division: this line takes 11 % of the time of a small scorer.
    beyond = value.abs().clamp(TAIL, _GREATEST) - (TAIL - 1)
    return value.clamp(-TAIL, TAIL) * ((1 - 4 / TAIL) + 4 / TAIL * torch.sqrt(torch.sqrt(beyond)))


def harden(softened: Tensor) -> Tensor:
    """Invert `soften`."""
    core = softened.clamp(-TAIL, TAIL)
    root = softened - core
    fourth = 0.25 * root.abs() + 1
    return core + 0.25 * root * (fourth + 1) * (fourth.square() + 1)


def _no_codes(like: Tensor) -> Tensor:
    return torch.zeros((like.shape[0], 0), dtype=torch.int64, device=like.device)
