"""The running mean of weights, judged and kept in their place: Polyak & Juditsky 1992, of steps that fade."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The mean of parameters over their steps, of which each step keeps `kept`; the first ones count for less."""

    def __init__(self, parameters: Sequence[nn.Parameter], kept: float) -> None:
        self.parameters = tuple(parameters)
        self.kept = kept
        self.steps = 0
        self.means = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def follow(self) -> None:
        """Count the weights as they are now."""
        self.steps += 1
        share = 1 - min(self.kept, (1 + self.steps) / (10 + self.steps))
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, share)

    @torch.no_grad()
    def swap(self) -> None:
        """The mean takes the weights' place, and they its own."""
        for at, parameter in enumerate(self.parameters):
            weights = parameter.detach().clone()
            parameter.copy_(self.means[at])
            self.means[at] = weights

    def content(self) -> dict[str, Any]:
        """Plain numbers and tensors, for a checkpoint."""
        return {"steps": self.steps, "means": self.means}

    def restore(self, content: dict[str, Any]) -> None:
        """The inverse of `content`."""
        self.steps, self.means = content["steps"], list[Tensor](content["means"])


@contextmanager
def in_place(averages: Sequence[Average]) -> Iterator[None]:
    """Within, every mean stands in the place of its weights."""
    with ExitStack() as stack:
        for average in averages:
            average.swap()
            stack.callback(average.swap)
        yield
