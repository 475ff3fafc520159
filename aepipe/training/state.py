"""State of the training loop between epochs."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from aepipe.training.history import Epoch

_RATES = 4  # learning rates tried within one patience, each half of the one before


@dataclass
class TrainingState:
    """State of the loop; `epoch` counts within a phase, `curve` spans all phases."""

    phase: int = -1
    epoch: int = 0
    best_dev: float = math.inf
    best_epoch: int = 0
    epochs_since_best: int = 0
    lr_factor: float = 1.0
    seconds: float = 0.0
    rows: int = 0
    """rows trained on, summed over epochs"""
    curve: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    kept: Tensor | None = None
    """index of the training rows that the last choice kept, if it lasts some epochs"""

    def enter(self, phase: int) -> None:
        """Start a phase and reset the best dev loss; do nothing if the phase is already running."""
        if phase != self.phase:
            self.phase, self.epoch, self.best_dev, self.epochs_since_best, self.lr_factor = phase, 0, math.inf, 0, 1.0

    def record_epoch(self, epoch: Epoch, weights: dict[str, Tensor], patience: int, *, warmed_up: bool = True) -> None:
        """Record an epoch: keep the best weights, and halve `lr_factor` if the best epoch is long ago.

        Worse epochs do not count until the objective is `warmed_up`.
        """
        self.epoch += 1
        self.curve.append(epoch)
        if epoch.dev < self.best_dev:
            self.best_dev, self.best_epoch, self.epochs_since_best = epoch.dev, epoch.epoch, 0
            self.best = {name: tensor.clone() for name, tensor in weights.items()}
            return
        if not warmed_up:
            return
        self.epochs_since_best += 1
        if self.epochs_since_best % max(1, patience // _RATES) == 0:
            self.lr_factor /= 2

    def content(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "curve": [epoch.model_dump() for epoch in self.curve]}

    @classmethod
    def of(cls, content: dict[str, Any]) -> "TrainingState":
        """Restore a state from its `content`."""
        return cls(**{**content, "curve": [Epoch(**epoch) for epoch in content["curve"]]})
