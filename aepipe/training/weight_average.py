"""Exponential moving average of weights (Polyak & Juditsky 1992), evaluated and kept in their place."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of parameters with decay `kept`, which is smaller in the first steps."""

    def __init__(self, parameters: Sequence[nn.Parameter], kept: float) -> None:
        self.parameters = tuple(parameters)
        self.kept = kept
        self.steps = 0
        self.means = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def follow(self) -> None:
        """Update the average with the current weights."""
        self.steps += 1
        share = 1 - min(self.kept, (1 + self.steps) / (10 + self.steps))
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Swap the average and the weights."""
        for at, parameter in enumerate(self.parameters):
            weights = parameter.detach().clone()
            parameter.copy_(self.means[at])
            self.means[at] = weights

    def content(self) -> dict[str, Any]:
        """Return plain numbers and tensors for a checkpoint."""
        return {"steps": self.steps, "means": self.means}

    def restore(self, content: dict[str, Any]) -> None:
        """Restore the average from its `content`."""
        self.steps, self.means = content["steps"], list[Tensor](content["means"])


@contextmanager
def in_place(averages: Sequence[Average]) -> Iterator[None]:
    """Replace the weights by their averages within this context."""
    with ExitStack() as stack:
        for average in averages:
            average.swap()
            stack.callback(average.swap)
        yield
