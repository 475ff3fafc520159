"""Interface of the heads that turn the outputs of a model into one score per row."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class ScoringInputs(NamedTuple):
    """Noise-free outputs of a model that heads score.

    Attributes:
        losses: Negative log-likelihood of each reason (a source column or an image region), (B, R) in nats.
        residual: Signed difference from the reconstruction in the units of `Row.dense`, (B, P); above a width, the
            mean magnitude of blocks (`residual_pooling`).
        z: Latents, (B, Z).
        kl: KL divergence to the prior, (B,) in nats.
        total: Negative log-likelihood of the row, (B,) in nats.
        row: Numbers as the network sees them, followed by the untransformed values of log-transformed numbers, (B, W);
            pooled above a width (`row_pooling`).
        summary: Mean, 99.5 % quantile and mean of the top hundredth of the losses of the features, (B, 3)
            (`LossSummary`).
        rarity: Negative log-likelihood of each category by its frequency, (B, C) in nats (`CategoryRarity`).
    """

    losses: Tensor
    residual: Tensor
    z: Tensor
    kl: Tensor
    total: Tensor
    row: Tensor
    summary: Tensor
    rarity: Tensor


class HeadStats(NamedTuple):
    """Training rows, dev rows and a seed for fitting a head."""

    train: ScoringInputs
    dev: ScoringInputs
    seed: int = 0


class Head(nn.Module, ABC):
    """Anomaly score per row, (B,); greater is more anomalous. Subclasses are final."""

    @abstractmethod
    def forward(self, evidence: ScoringInputs) -> Tensor:
        """Return the scores, (B,); the score of a row does not depend on the other rows."""

    def among_others(self, evidence: ScoringInputs) -> Tensor:
        """Return leave-one-out scores, (B,), of rows that the head was fitted on and compares others with."""
        scores: Tensor = self(evidence)
        return scores


def all_rows(stats: HeadStats) -> ScoringInputs:
    """Concatenate training rows and dev rows; return training rows once if they also serve as dev rows."""
    if stats.dev is stats.train:
        return stats.train
    return ScoringInputs(*map(torch.cat, zip(stats.train, stats.dev, strict=True)))


def select_rows(evidence: ScoringInputs, index: Tensor) -> ScoringInputs:
    """Select rows by index, in the order of the index."""
    return ScoringInputs(*(part[index] for part in evidence))


class HeadSpec(NamedTuple):
    """Name, summary and fitting function of a registered head."""

    name: str
    summary: str
    fit: Callable[[HeadStats], Head]
