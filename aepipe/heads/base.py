"""What a head is to the rest: a score made of what a model knows of a row. Nothing here knows one head from another."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class ScoringInputs(NamedTuple):
    """What a model says of rows, without noise.

    losses: (B, R) negative log-likelihood of each reason (a source column, or a region of an image), in nats.
    residual: (B, P) distance from what was expected, in the units of `Row.dense`: signed, or of many features the mean
    magnitude of blocks (`residual_pooling`).
    z: (B, Z) latents. kl: (B,) nats. total: (B,) negative log-likelihood of the row, in nats.
    row: (B, W) the numbers of the row as the network sees them, then those that it sees as logarithms as they are, of
    many fewer than there are (`row_pooling`).
    summary: (B, 3) mean, 99.5 % quantile and mean of the greatest hundredth of its features' losses (`LossSummary`).
    """

    losses: Tensor
    residual: Tensor
    z: Tensor
    kl: Tensor
    total: Tensor
    row: Tensor
    summary: Tensor


class HeadStats(NamedTuple):
    """What a head is fitted on: rows that the network learned from, rows that it did not, and a seed for choices."""

    train: ScoringInputs
    dev: ScoringInputs
    seed: int = 0


class Head(nn.Module, ABC):
    """Evidence to one score a row, (B,): the greater, the stranger. Subclasses are final."""

    @abstractmethod
    def forward(self, evidence: ScoringInputs) -> Tensor:
        """The scores, (B,), each of its own row alone."""

    def among_others(self, evidence: ScoringInputs) -> Tensor:
        """The scores, (B,), that rows which a head holds others against would have if it did not hold them."""
        scores: Tensor = self(evidence)
        return scores


def all_rows(stats: HeadStats) -> ScoringInputs:
    """Training rows, then dev rows; training rows once where they stand for dev rows."""
    if stats.dev is stats.train:
        return stats.train
    return ScoringInputs(*map(torch.cat, zip(stats.train, stats.dev, strict=True)))


def select_rows(evidence: ScoringInputs, index: Tensor) -> ScoringInputs:
    """The rows of this index, in its order."""
    return ScoringInputs(*(part[index] for part in evidence))


class HeadSpec(NamedTuple):
    """A file of aepipe/heads."""

    name: str
    summary: str
    fit: Callable[[HeadStats], Head]
