"""Shared parts of the zoo's experiments: scales, rows, and the image classifier."""

import functools
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import fashion
from benchmarks.fashion import Fashion, ImageClassifier
from benchmarks.store import key_of


class Scale(NamedTuple):
    """Number of rows for training and for measurements."""

    name: str
    train_rows: int
    held_out_rows: int
    classifier_rows: int
    samples: int
    """images per Frechet distance"""
    draws: int
    """draws per total correlation"""
    epochs: float
    """share of the epochs that an experiment asks for"""


FULL = Scale("full", 10_000, 2_000, 20_000, 5_000, 2_000, 1.0)
SMALL = Scale("small", 3_000, 2_000, 8_000, 2_000, 1_000, 0.6)
"""CPU seconds per model: enough to compare families with each other, but not with the full scale."""
QUICK = Scale("quick", 2_000, 500, 4_000, 1_000, 300, 0.06)


class World(NamedTuple):
    """Images and classifier of a scale."""

    scale: Scale
    fashion: Fashion
    classifier: ImageClassifier

    def epochs(self, asked: int) -> int:
        """Return the share of these epochs that the scale allows, at least two."""
        return max(2, round(asked * self.scale.epochs))


@functools.cache
def world(scale: Scale, data: Path, folder: Path) -> World:
    """Load the rows once per process; the classifier is trained once per folder of results."""
    torch.set_num_threads(1)
    parts = fashion.load(
        data, train_rows=scale.train_rows, held_out_rows=scale.held_out_rows, classifier_rows=scale.classifier_rows
    )
    key = key_of(
        {
            "rows": scale.classifier_rows,
            "epochs": fashion.CLASSIFIER_EPOCHS,
            "train_rows": scale.train_rows,
            "data": fashion.digest(data),
        }
    )
    return World(scale, parts, fashion.classifier(parts.for_classifier, folder, key))
