"""Distribution of a table's labels given the encoded row: drawn for synthetic rows, never part of a score."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from aepipe.layout import LABELS, Category, Layout, Port
from aepipe.models.base import Part
from aepipe.models.layers.autoregressive_columns import AutoregressiveColumns
from aepipe.models.layers.column_conditioning import CodeSum
from aepipe.models.layers.preprocessing import Preprocessing

_DROPPED = 0.1


class LabelSampler(nn.Module):
    """Classifier of the encoded row, from which the labels are drawn one given the others."""

    def __init__(self, layout: Layout, labels: tuple[Category, ...], *, width: int = 128) -> None:
        super().__init__()
        self.layout = layout
        self.preprocessing = Preprocessing(layout)
        categories = layout.categories
        self.codes = CodeSum(categories, width, spread=len(categories) ** -0.5) if categories else None
        self.dense = nn.Linear(2 * len(layout.numbers) + len(categories) + layout.given, width)
        self.body = nn.Sequential(
            nn.ReLU(), nn.Dropout(_DROPPED), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.register_buffer("last_code", torch.tensor([max(category.size - 1, 1) for category in categories]), False)
        self.chain = AutoregressiveColumns([label.size for label in labels], width, range(len(labels)))

    last_code: Tensor

    def nll(self, rows: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """-log p(labels | row), (B,) in nats. labels: codes (B, L) int64."""
        return self.chain.nll(self._start(rows), labels).sum(1)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Draw the labels, (B, L) int32, of row tensors in the order of the ports; the last one is uniform noise."""
        *row, uniform = tensors
        ports = self._ports
        return self.chain.draw(self._start(dict(zip((port.name for port in ports), row, strict=True))), uniform)

    def part(self) -> Part:
        """Return the module as a part of a bundle."""
        noise = Port("u", "float32", (self.chain.uniforms,), "uniform")
        drawn = Port(LABELS, "int32", (len(self.chain.sizes),))
        return Part(LABELS, self, (*self._ports, noise), (drawn,), chained=(LABELS,))

    @property
    def _ports(self) -> tuple[Port, ...]:
        return (*self.layout.seen_ports, *self.layout.given_ports)

    def _start(self, rows: Mapping[str, Tensor]) -> Tensor:
        row = self.preprocessing(rows)
        ranks = row.codes / self.last_code  # bins of a number are in order: most of what a label needs of it
        start = self.dense(torch.cat([row.dense, row.observed, ranks.to(row.dense.dtype), row.given], 1))
        if self.codes is not None:
            start = start + self.codes(row.codes)
        answer: Tensor = self.body(start)
        return answer


def fit_label_sampler(
    layout: Layout,
    labels: tuple[Category, ...],
    train: tuple[Mapping[str, np.ndarray], np.ndarray],
    dev: tuple[Mapping[str, np.ndarray], np.ndarray],
    *,
    seed: int,
) -> LabelSampler:
    """Fit by maximum likelihood and keep the weights of the epoch with the lowest loss of the dev rows.

    Args:
        layout: Layout of the rows, a table.
        labels: Categories of the labels.
        train: Row tensors by port, and codes (B, L) of the labels.
        dev: The same of dev rows; without any, the training rows.
        seed: Seed of weights, order and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LabelSampler(layout, labels)
        rows, codes = _tensors(*train)
        dev_rows, dev_codes = _tensors(*dev) if len(dev[1]) else (rows, codes)
        model.chain.init_from_counts(codes)
        _train(model, rows, codes, dev_rows, dev_codes)
    return model.eval()


_ROWS_TO_SEE, _FEWEST_EPOCHS, _MOST_EPOCHS, _PATIENCE = 200_000, 10, 40, 8
_BATCH_ROWS, _LEARNING_RATE, _WEIGHT_DECAY = 256, 2e-3, 1e-4


def _train(
    model: LabelSampler, rows: Mapping[str, Tensor], codes: Tensor, dev_rows: Mapping[str, Tensor], dev_codes: Tensor
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, _ROWS_TO_SEE // len(codes)))
    best, kept, since = float("inf"), _copied(model), 0
    for epoch in range(epochs):
        model.train()
        for group in optimizer.param_groups:  # half a cosine: probabilities of the last epochs are less noisy
            group["lr"] = _LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs))
        for chosen in torch.split(torch.randperm(len(codes)), _BATCH_ROWS):
            optimizer.zero_grad()
            loss = model.nll({name: tensor[chosen] for name, tensor in rows.items()}, codes[chosen]).mean()
            torch.autograd.backward([loss])
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss_of_dev = sum(
                float(model.nll({name: tensor[chosen] for name, tensor in dev_rows.items()}, dev_codes[chosen]).sum())
                for chosen in torch.split(torch.arange(len(dev_codes)), 16 * _BATCH_ROWS)
            )
        since = 0 if loss_of_dev < best else since + 1
        if loss_of_dev < best:
            best, kept = loss_of_dev, _copied(model)
        if since >= _PATIENCE:
            break
    model.load_state_dict(kept)


def _copied(model: LabelSampler) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _tensors(rows: Mapping[str, np.ndarray], codes: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    return {name: torch.from_numpy(array) for name, array in rows.items()}, torch.from_numpy(codes).long()
