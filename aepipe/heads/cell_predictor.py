"""Prediction of each cell of a row from its other cells, by one small network.

A cell is unusual if it differs from what the other cells of its row predict. An autoencoder does not tell: its
reconstruction of a cell has seen the cell. A network per column does, at a cost that grows with the square of the
columns. Here the columns share one hidden layer, from which the contribution of the predicted cell is subtracted.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.tokens import rest_places

HIDDEN_VALUES = 1_024
"""Hidden units of all numbers together, within `FEWEST_UNITS` and `MOST_UNITS` per number: 1 us per row."""
FEWEST_UNITS, MOST_UNITS = 8, 32

MOST_CODES, MOST_CODES_TOGETHER = 64, 320
"""Codes of a category, and of all categories, that take part: a larger category has too few rows per code, and the cost
per row grows with the square of all codes."""

LIMIT = 10.0
"""Standard deviations at which numbers are clipped as predictors, so that one gross error does not change them all."""

PASSES, FEWEST_STEPS, MOST_STEPS = 60, 150, 600
"""Passes over the training rows, within these numbers of optimiser steps: half a second on one core."""
BATCH, RATE = 256, 1e-2

_DECAY = 1e-4
_RIDGE = 1e-3  # of the linear start, in variances of a column
_HUBER = 1.0  # standard deviations: errors beyond it count linearly, so that anomalous training rows weigh less
_LOOK_EVERY = 50
_LEAST_LOSS = 1e-7  # of an error of .0004 standard deviations: smaller ones are rounding


class CellRows(NamedTuple):
    """Rows as the predictor sees them: numbers (B, N), 1 where they are observed (B, N), and codes (B, K)."""

    dense: Tensor
    observed: Tensor
    codes: Tensor

    @classmethod
    def of(cls, row: Row) -> "CellRows":
        """Take the fields of preprocessed rows, on the CPU."""
        return cls(row.dense.cpu(), row.observed.cpu(), row.codes.cpu())


class CellPredictor(nn.Module):
    """Errors of the prediction of each cell from the other cells of its row, (B, N + K), not negative.

    First the numbers, |x - prediction| in standard deviations, then the categories of `predicted_categories`,
    -log p(code) in nats. With x the numbers and c_k the codes of a row, number j is predicted as

        b_j + sum_{i != j} A_ji x_i + sum_k S_kj + sum_h V_jh relu(d_h + sum_{i != j} W_hi x_i + sum_k T_kh)

    where S_k and T_k are the rows of tables that belong to code c_k. The logits of the codes of a category are computed
    alike, without the terms of its own code.
    """

    offsets: Tensor
    used: Tensor
    owner: Tensor
    places: Tensor
    linear_mask: Tensor
    code_mask: Tensor

    def __init__(self, layout: Layout, *, seed: int) -> None:
        """Draw the hidden layer; all predictions are 0 at first."""
        super().__init__()
        self.used_categories = predicted_categories(layout)
        numbers, sizes = len(layout.numbers), [layout.categories[index].size for index in self.used_categories]
        self.numbers, self.sizes, self.codes = numbers, sizes, sum(sizes)
        units = min(MOST_UNITS, max(FEWEST_UNITS, HIDDEN_VALUES // max(1, numbers)))
        generator = torch.Generator().manual_seed(seed)
        owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
        self.register_buffer("used", torch.tensor(self.used_categories, dtype=torch.int64))
        self.register_buffer("offsets", torch.tensor(sizes, dtype=torch.int64).cumsum(0) - torch.tensor(sizes).long())
        self.register_buffer("owner", owner)
        self.register_buffer("places", torch.arange(self.codes))
        self.register_buffer("linear_mask", torch.cat([1 - torch.eye(numbers), torch.ones(self.codes, numbers)]))
        same = (owner.unsqueeze(1) == owner.unsqueeze(0)).float()
        of_numbers, of_hidden = torch.ones(self.codes, numbers), torch.ones(self.codes, units)
        self.register_buffer("code_mask", torch.cat([of_numbers, 1 - same, of_hidden], 1))
        self.linear = nn.Parameter(torch.zeros(numbers + self.codes, numbers))
        self.bias = nn.Parameter(torch.zeros(numbers + self.codes))
        self.hidden = nn.Parameter(1.5 * torch.randn(units, numbers, generator=generator) / max(1, numbers) ** 0.5)
        self.hidden_bias = nn.Parameter(0.7 * torch.randn(units, generator=generator))
        self.output = nn.Parameter(torch.zeros(numbers + self.codes, units))
        self.of_codes = nn.Parameter(torch.zeros(self.codes, numbers + self.codes + units))

    def forward(self, dense: Tensor, codes: Tensor) -> Tensor:
        x, ends = dense.clamp(-LIMIT, LIMIT), self.numbers + self.codes
        linear = F.linear(x, self.linear * self.linear_mask, self.bias)
        hidden = F.linear(x, self.hidden, self.hidden_bias)
        if self.codes:
            at = codes.index_select(1, self.used) + self.offsets
            table = self.of_codes * self.code_mask
            added = (at.index_select(1, self.owner) == self.places).to(x.dtype) @ table
            linear, hidden = linear + added[:, :ends], hidden + added[:, ends:]
        errors = []
        if self.numbers:
            predicted = linear[:, : self.numbers] + self._of_units(x, hidden)
            errors.append((dense - predicted).abs())
        end = self.numbers
        for index, size in enumerate(self.sizes):
            begin, end = end, end + size
            own = F.embedding(at[:, index], table[:, ends:])
            logits = linear[:, begin:end] + F.linear(F.relu(hidden - own), self.output[begin:end])
            code = codes[:, self.used_categories[index]].unsqueeze(1)
            errors.append(logits.logsumexp(1, keepdim=True) - logits.gather(1, code))
        return torch.cat(errors, 1) if errors else dense[:, :0]  # rows of texts alone

    def _of_units(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return what the hidden units add to each number without the number itself, (B, N).

        x: (B, N); hidden: (B, H), before the activation, of all numbers.
        """
        output = self.output[: self.numbers]
        if self.numbers <= 2 * len(self.hidden):
            without_own = F.relu(hidden.unsqueeze(0) - x.T.unsqueeze(2) * self.hidden.T.unsqueeze(1))
            found: Tensor = (without_own @ output.unsqueeze(2)).squeeze(2).T
            return found
        # the longest axis last: onnxruntime broadcasts and sums it faster
        without_own = F.relu(hidden.unsqueeze(2) - x.unsqueeze(1) * self.hidden)
        return (without_own * output.T).sum(1)


def predicted_categories(layout: Layout) -> tuple[int, ...]:
    """Return the indices of the categories that are predicted, the smallest first as far as the codes reach.

    Tokens of texts are not: a position of a text has no meaning of its own.
    """
    found, codes = [], 0
    for index in sorted(rest_places(layout), key=lambda at: layout.categories[at].size):
        category = layout.categories[index]
        codes += category.size
        if category.size <= MOST_CODES and codes <= MOST_CODES_TOGETHER:
            found.append(index)
    return tuple(sorted(found))


def fit_predictor(layout: Layout, train: CellRows, dev: CellRows, *, seed: int) -> CellPredictor:
    """Fit the predictor on training rows and keep the weights with the least loss on dev rows.

    Weights are compared by the mean logarithm of the losses of the cells. A cell that others determine counts as much
    as any then. In the sum of the losses it would count nothing, and its error would depend on the learning rate at the
    step that suits the other cells best.
    """
    predictor = CellPredictor(layout, seed=seed)
    if not predictor.numbers + predictor.codes:
        return predictor.requires_grad_(False).eval()
    with torch.no_grad():
        predictor.linear[: predictor.numbers] = _regression(train.dense.clamp(-LIMIT, LIMIT))
        predictor.bias[predictor.numbers :] = _log_shares(predictor, train.codes)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(predictor.parameters(), lr=RATE, weight_decay=_DECAY)
    rows = len(train.dense)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, PASSES * rows // BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    least, best = float("inf"), {name: value.clone() for name, value in predictor.state_dict().items()}
    for step in range(1, steps + 1):
        drawn = torch.randint(0, rows, (min(BATCH, rows),), generator=generator)
        optimiser.zero_grad()
        with torch.enable_grad():
            _loss(predictor, CellRows(*(part[drawn] for part in train))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % _LOOK_EVERY == 0 or step == steps:
            with torch.no_grad():
                loss = float(_losses(predictor, dev).clamp(min=_LEAST_LOSS).log().mean())
            if loss < least:
                least, best = loss, {name: value.clone() for name, value in predictor.state_dict().items()}
    predictor.load_state_dict(best)
    predictor.requires_grad_(False)
    return predictor.eval()


def _loss(predictor: CellPredictor, rows: CellRows) -> Tensor:
    """Return the mean Huber loss of the observed numbers, plus the mean loss of the categories in nats."""
    errors = predictor(rows.dense, rows.codes)
    numbers, nats = errors[:, : predictor.numbers], errors[:, predictor.numbers :]
    losses = _huber(numbers) * rows.observed
    loss: Tensor = losses.sum() / rows.observed.sum().clamp(min=1) + (nats.mean() if nats.shape[1] else 0.0)
    return loss


def _losses(predictor: CellPredictor, rows: CellRows) -> Tensor:
    """Return the mean loss of each predicted cell, (N + K): Huber loss of observed numbers, nats of categories."""
    errors = predictor(rows.dense, rows.codes)
    numbers, nats = errors[:, : predictor.numbers], errors[:, predictor.numbers :]
    losses = (_huber(numbers) * rows.observed).sum(0) / rows.observed.sum(0).clamp(min=1)
    return torch.cat([losses, nats.mean(0)])


def _huber(errors: Tensor) -> Tensor:
    return F.smooth_l1_loss(errors, torch.zeros_like(errors), beta=_HUBER, reduction="none")


def _log_shares(predictor: CellPredictor, codes: Tensor) -> Tensor:
    """Return the logarithm of the share of each code among rows, with add-one smoothing, (codes,)."""
    shares = []
    for index, size in zip(predictor.used_categories, predictor.sizes, strict=True):
        counts = torch.bincount(codes[:, index], minlength=size) + 1.0
        shares.append((counts / counts.sum()).log())
    return torch.cat([*shares, torch.zeros(0)])


def _regression(x: Tensor) -> Tensor:
    """Return the coefficients of each column's ridge regression on the others, (N, N), by the inverse covariance."""
    centred = (x - x.mean(0)).double()
    covariance = centred.T @ centred / len(x) + _RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    precision = torch.linalg.inv(covariance)
    coefficients: Tensor = -precision / precision.diagonal().unsqueeze(1)
    return coefficients.float()
