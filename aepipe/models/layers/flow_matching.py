"""Prior by flow matching: a learned velocity carries draws of a Gaussian mixture to the latents of training rows.

Lipman, Chen, Ben-Hamu, Nickel & Le 2023; the source need not be Gaussian, and pairs of optimal transport within a
batch keep paths short and nearly straight (Tong et al. 2024), so that few Euler steps suffice. The graph repeats one.
"""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.layout import Port
from aepipe.models.layers.prior import Latents, MixturePrior, Prior
from aepipe.models.layers.scan import State, unroll

LEAST_ROWS = 500
"""Training rows below which a velocity would repeat the rows rather than learn their distribution."""

_FREQUENCIES = 8
_WIDTH, _BLOCKS = 128, 3
_BATCH_ROWS, _MOST_STEPS, _MOST_PASSES = 256, 4_000, 200
_LEARNING_RATE, _AVERAGED = 1e-3, 0.995
_CHECK_EVERY, _CHECKED_DRAWS = 200, 4
_DEV_SHARE, _MOST_DEV_ROWS = 0.1, 1_000


class Velocity(nn.Module):
    """Velocity (B, Z) of points (B, Z) at a time, whose features are (F,) or (B, F); zero before training."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.point = nn.Linear(latents, _WIDTH)
        self.time = nn.Linear(2 * _FREQUENCIES, _WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH))
            for _ in range(_BLOCKS)
        )
        self.head = nn.Sequential(nn.LayerNorm(_WIDTH), nn.SiLU(), nn.Linear(_WIDTH, latents))
        for parameter in self.head[-1].parameters():  # training starts at the draws of the mixture
            nn.init.zeros_(parameter)

    def forward(self, point: Tensor, time: Tensor) -> Tensor:
        hidden = self.point(point) + self.time(time)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        velocity: Tensor = self.head(hidden)
        return velocity


def time_features(time: Tensor) -> Tensor:
    """Return sines and cosines of times (...) in [0, 1], (..., F)."""
    angles = time.unsqueeze(-1) * (math.pi / 8 * 2.0 ** torch.arange(_FREQUENCIES, device=time.device))
    return torch.cat([angles.sin(), angles.cos()], -1)


class FlowMatchingPrior(Prior):
    """Noise of a mixture to z (B, Z): a draw of the mixture, then Euler steps of equal length along a velocity.

    Args:
        source: Mixture of Gaussians.
        velocity: Velocity of standardised latents.
        mean: Means of the latents, (Z,).
        std: Standard deviations of the latents, (Z,).
        steps: Number of Euler steps.
    """

    mean: Tensor
    std: Tensor
    times: Tensor

    def __init__(self, source: MixturePrior, velocity: nn.Module, mean: Latents, std: Latents, *, steps: int) -> None:
        super().__init__()
        self.source, self.velocity = source, velocity
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.register_buffer("times", time_features(torch.arange(steps) / steps))

    @property
    def noise(self) -> tuple[Port, ...]:
        return self.source.noise

    def forward(self, eps: Tensor, u: Tensor) -> Tensor:
        length = 1 / len(self.times)

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            after = state[0] + length * self.velocity(state[0], inputs[0])
            return (after,), (after[:, :1].clone(),)

        start = (self.source(eps, u) - self.mean) / self.std
        (z,), _ = unroll(step, (start,), (self.times,))
        return self.mean + self.std * z


def fit_flow(latents: Latents, source: MixturePrior, *, steps: int, seed: int) -> FlowMatchingPrior:
    """Fit a velocity from a mixture to latents; the weights with the lowest loss of held-out rows are kept.

    Args:
        latents: Several draws of the latents of each training row, (D, B, Z).
        source: Mixture fitted to them.
        steps: Euler steps of the prior.
        seed: Seed of weights, order and noise.
    """
    draws = np.asarray(latents, dtype=np.float64)
    mean, std = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1)) + 1e-6
    rows = np.random.default_rng(seed).permutation((draws - mean) / std, axis=1)
    dev = min(_MOST_DEV_ROWS, int(_DEV_SHARE * rows.shape[1]))
    learned, held_out = (torch.from_numpy(part).float() for part in (rows[:, dev:], rows[:, :dev]))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        prior = FlowMatchingPrior(source, Velocity(rows.shape[2]), mean, std, steps=steps)
        prior.velocity = _train(prior, learned, held_out.flatten(0, 1)).eval().requires_grad_(False)
    return prior


def _train(prior: FlowMatchingPrior, draws: Tensor, held_out: Tensor) -> nn.Module:
    """Return the averaged velocity with the lowest loss of held-out latents (B, Z)."""
    velocity, rows = prior.velocity, draws.shape[1]
    steps = max(_CHECK_EVERY, min(_MOST_STEPS, _MOST_PASSES * rows // _BATCH_ROWS))
    optimizer = torch.optim.AdamW(velocity.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = copy.deepcopy(velocity).requires_grad_(False)
    checked = [_path(prior, part) for part in torch.split(held_out, _BATCH_ROWS)]
    best, kept = float("inf"), velocity
    for step in range(steps + 1):
        if step % _CHECK_EVERY == 0:
            with torch.no_grad():
                found = sum(float(_loss(average, *path)) * len(path[0]) for path in checked)
            if found < best:
                best, kept = found, copy.deepcopy(average)
        optimizer.zero_grad()
        end = draws[torch.randint(len(draws), (_BATCH_ROWS,)), torch.randint(rows, (_BATCH_ROWS,))]
        torch.autograd.backward([_loss(velocity, *_path(prior, end))])
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), velocity.parameters(), strict=True):
                mean.lerp_(parameter, 1 - _AVERAGED)
    return kept


def _loss(velocity: nn.Module, start: Tensor, end: Tensor, time: Tensor) -> Tensor:
    """Compute the mean squared error of the velocity on straight paths; equation 23 of Lipman et al. 2023."""
    at = time.unsqueeze(1)
    found: Tensor = velocity((1 - at) * start + at * end, time_features(time))
    return (found - (end - start)).square().mean()


@torch.no_grad()
def _path(prior: FlowMatchingPrior, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw starts of the mixture for ends (B, Z), and times (B,)."""
    start = (prior.source(torch.randn_like(end), torch.rand(len(end), 1)) - prior.mean) / prior.std
    return start, shortest_pairs(start, end), torch.rand(len(end))


def shortest_pairs(start: Tensor, end: Tensor) -> Tensor:
    """Reorder the ends (B, Z) of paths so that the sum of their squared lengths is least."""
    from scipy.optimize import linear_sum_assignment  # takes time to import, and scoring does not need it

    products: NDArray[np.float64] = (start @ end.T).double().numpy()
    _, order = linear_sum_assignment(products, maximize=True)
    return end[torch.from_numpy(order)]
