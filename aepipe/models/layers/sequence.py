"""Rows as sequences: the steps of a window, or the rows of an image from top to bottom. The step axis comes first."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.layers.preprocessing import Row


class Sequence(NamedTuple):
    """Batch of B rows as sequences of T steps."""

    steps: Tensor
    """(T, B, W): numbers and their missing flags, 0 beyond the end of a window; or pixels in [-1, 1]"""
    valid: Tensor
    """(T, B, 1): 1 up to the last step of a row, 0 beyond"""


class Reading(nn.Module):
    """Conversion of a `Row` into a `Sequence` of `steps` (T) steps of `width` (W) values."""

    flagged: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.image, self.series = layout.image, layout.series
        numbers = layout.series.numbers if layout.series is not None else ()
        flagged = [channel for channel, number in enumerate(numbers) if number.may_be_missing]
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64), persistent=False)
        self.steps = steps_of(layout)
        if layout.image is not None:
            self.width = layout.image.channels * layout.image.width
        else:
            self.width = len(numbers) + len(flagged)

    def forward(self, row: Row) -> Sequence:
        if self.series is None:
            steps = 2 * row.dense.permute(2, 0, 1, 3).flatten(2) - 1
            return Sequence(steps, torch.ones_like(steps[:, :, :1]))
        within = torch.arange(self.steps, device=row.codes.device).unsqueeze(1) <= row.codes[:, 0]
        steps, valid = row.dense.transpose(0, 1), within.unsqueeze(2).to(row.dense.dtype)
        if len(self.flagged):
            gaps = (1 - row.observed.transpose(0, 1).index_select(2, self.flagged)) * valid
            steps = torch.cat([steps, gaps], 2)
        return Sequence(steps, valid)

    def again(self, means: Tensor) -> Tensor:
        """Convert the means of one step (B, V), in units of `Row.dense`, to an input step (B, W)."""
        if self.series is None:
            return 2 * means - 1
        nothing = means.new_zeros((means.shape[0], len(self.flagged)))
        return torch.cat([means, nothing], 1) if len(self.flagged) else means


def steps_of(layout: Layout) -> int:
    """Return T, the number of steps of a window or of rows of an image."""
    if layout.series is not None:
        return layout.series.steps
    assert layout.image is not None, "a table has no steps"
    return layout.image.height


def step_width(layout: Layout) -> int:
    """Return V, the values per step: channels of a window, or pixels of one row of the reconstruction."""
    if layout.series is not None:
        return layout.series.channels
    assert layout.rebuilt is not None, "a table has no steps"
    return layout.rebuilt.channels * layout.rebuilt.width


def laid_out(layout: Layout, steps: Tensor) -> Tensor:
    """Reorder values of steps (T, B, V) into the order of the parameters of a likelihood, (B, T * V)."""
    if layout.rebuilt is None:
        return steps.transpose(0, 1).flatten(1)
    of_channels = steps.reshape(*steps.shape[:2], layout.rebuilt.channels, layout.rebuilt.width)
    return of_channels.permute(1, 2, 0, 3).flatten(1)


def in_steps(layout: Layout, values: Tensor) -> Tensor:
    """Reorder features of rows (B, T * V) by step, (T, B, V); the inverse of `laid_out`."""
    if layout.rebuilt is None:
        return values.reshape(-1, steps_of(layout), step_width(layout)).transpose(0, 1)
    image = layout.rebuilt
    return values.reshape(-1, image.channels, image.height, image.width).permute(2, 0, 1, 3).flatten(2)


def last_of(states: Tensor, valid: Tensor) -> Tensor:
    """Select the state (B, S) after the last valid step of each row, from states (T, B, S) and valid (T, B, 1)."""
    is_last = valid - torch.cat([valid[1:], torch.zeros_like(valid[:1])])
    return (states * is_last).sum(0)


def mean_of(states: Tensor, valid: Tensor) -> Tensor:
    """Average the states (T, B, S) over the valid steps of each row, (B, S)."""
    return (states * valid).sum(0) / valid.sum(0)
