"""Which columns of a table made a row strange: faults are planted in training rows, and their traces looked for.

A fault in one column leaves a trace in many numbers: the row itself, and what the network expected of every column.
Columns are therefore not ranked by what each number says by itself, but by how well the trace of a fault in them
explains all numbers together (reconstruction-based contribution: Alcala & Qin 2009, Automatica 45(7); here traces are
measured, since networks are not linear).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.distance_space import FLOOR, Matrix
from aepipe.heads.model_outputs import ModelOutputs, ModelProbe, chosen_rows, run_model
from aepipe.heads.whitening import shrunk_covariance, whitening_projection
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN, Layout
from aepipe.models.layers.loss_pooling import RESIDUAL_WIDTH

FAULT = 8.0
"""Robust standard deviations by which numbers are wrong, to either side.

Twice the faults, of 2 and of 16, make the first reason right less often (-.5 points in the mean of nine tables of
ADBench, +1.4 to -4.0) and cost 1.5 us a row of 64 columns in place of .9.
"""

OPPOSITE = -0.9
"""Cosine, of whitened clues, below which the traces of a fault to either side count as one."""

PLANTED_ROWS = 128
"""Training rows that every fault is planted in."""

LIMIT = 10.0
"""Robust standard deviations from the median at which what is known of numbers is cut off before covariances are taken.

Gross errors in a tenth of the training rows would otherwise hide the next one: with PCA, on six tables of ADBench whose
first three numbers were polluted so, 8 to 20 faults in a hundred more are found, and as many as before where none were.
Covariances of the closest 60, 75 or 90 % of the rows find fewer, on normal rows and with the tables' own anomalies.
"""

_IQR_OF_NORMAL = 1.349

Arrays = Mapping[str, NDArray[np.generic]]


def supports_perturbation(layout: Layout) -> bool:
    """Whether rows have columns that faults can be planted in, and not too many of them for one matrix product."""
    return layout.kind == "table" and layout.features <= RESIDUAL_WIDTH


class AttributionFeatures(nn.Module):
    """What is known of a row to its clues: residuals, standardised numbers, missing flags, surprise at its codes.

    A tensor (B, n) of each kind that there is, D numbers in all: put side by side they would be copied first, which
    takes as long as a third of the product with them.
    """

    flagged: Tensor
    information_content: Tensor
    begins: Tensor

    def __init__(self, layout: Layout, codes: NDArray[np.integer]) -> None:
        """codes: (B, C) of training rows."""
        super().__init__()
        flagged = [index for index, number in enumerate(layout.numbers) if number.may_be_missing]
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64))
        sizes = [category.size for category in layout.categories]
        nats = [_information_content(codes[:, index], size) for index, size in enumerate(sizes)]
        self.register_buffer(
            "information_content", torch.tensor(np.concatenate([*nats, np.zeros(0)]), dtype=torch.float32)
        )
        begins = np.concatenate([[0], np.cumsum(sizes)])[: len(sizes)]
        self.register_buffer("begins", torch.tensor(begins, dtype=torch.int64))

    def forward(self, model_outputs: ModelOutputs) -> list[Tensor]:
        row = model_outputs.seen
        clues = [model_outputs.evidence.residual, row.dense]
        if len(self.flagged):
            clues.append(1 - row.observed.index_select(1, self.flagged))
        if len(self.begins):
            clues.append(F.embedding(row.codes + self.begins, self.information_content.unsqueeze(1)).squeeze(2))
        return clues


class Attribution(nn.Module):
    """What is known of a row to the blame of each column, (B, columns).

    A column's blame is that of its gravest fault: how far the row lies from the usual along the fault's trace, in
    standard deviations of training rows and given all other clues. Of a fault that is large enough for its trace to
    stand out, the blame of the right column is the greatest (by the Cauchy-Schwarz inequality).

    A trace to either side is one product, taken by its magnitude. Columns with further faults have theirs in `others`,
    round by round, and `place` lays the gravest of them where their columns are.
    """

    first: Tensor
    first_bias: Tensor
    is_sided: Tensor
    others: Tensor
    others_bias: Tensor
    place: Tensor

    def __init__(
        self, clues: AttributionFeatures, *, center: Matrix, traces: Matrix, faults_by_column: Sequence[Sequence[int]]
    ) -> None:
        """traces: (faults, D), each to be multiplied with clues. faults_by_column: the faults of each column.

        A column of one fault has a trace to either side.
        """
        super().__init__()
        self.clues = clues
        sided = [column for column, faults in enumerate(faults_by_column) if len(faults) > 1]
        self.sided, self.columns = len(sided), len(faults_by_column)
        self.rounds = max((len(faults) for faults in faults_by_column), default=1) - 1
        order = [
            faults[min(1 + nth, len(faults) - 1)]
            for nth in range(self.rounds)
            for faults in (faults_by_column[column] for column in sided)
        ]
        self._keep("first", traces[[faults[0] for faults in faults_by_column]], center)
        self._keep("others", traces[order].reshape(-1, traces.shape[1]), center)
        self.register_buffer("is_sided", torch.tensor([len(faults) > 1 for faults in faults_by_column]))
        self.register_buffer("place", F.one_hot(torch.tensor(sided, dtype=torch.int64), self.columns).float())

    def forward(self, model_outputs: ModelOutputs) -> Tensor:
        clues = self.clues(model_outputs)
        along = _product(clues, self.first, self.first_bias)
        if not self.sided:
            return along.abs()
        others = _product(clues, self.others, self.others_bias).reshape(-1, self.rounds, self.sided).amax(1)
        if self.sided == self.columns:
            return torch.maximum(along, others)
        # What is placed nowhere is 0, which is no more than a magnitude.
        return torch.maximum(torch.where(self.is_sided, along, along.abs()), others @ self.place)

    def _keep(self, name: str, traces: Matrix, center: Matrix) -> None:
        self.register_buffer(name, torch.tensor(traces, dtype=torch.float32))
        self.register_buffer(f"{name}_bias", torch.tensor(-traces @ center, dtype=torch.float32))


def _product(clues: Sequence[Tensor], traces: Tensor, bias: Tensor) -> Tensor:
    """All clues times the traces, (B, traces)."""
    end = clues[0].shape[1]
    product = F.linear(clues[0], traces[:, :end], bias)
    for clue in clues[1:]:
        begin, end = end, end + clue.shape[1]
        product = torch.addmm(product, clue, traces[:, begin:end].T)
    return product


def fit_attribution(probe: ModelProbe, train: Arrays, dev: Arrays, *, most: int, seed: int) -> Attribution:
    """Fit the attribution of a trained model from at most `most` rows of each split.

    The layout must pass `supports_perturbation`.
    """
    layout = probe.model.layout
    none = np.zeros((len(next(iter(train.values()))), 0), np.int32)
    clues = AttributionFeatures(layout, np.asarray(train.get("cat", none), np.int32)).to(_device(probe))
    known = [rows for rows in (train, dev) if len(next(iter(rows.values())))]
    typical = np.concatenate([_clues(probe, clues, chosen_rows(rows, most, seed)) for rows in known])
    typical = _limited(typical, of_numbers=len(layout.numbers), of_all=layout.features)
    center, spread = typical.mean(axis=0), typical.std(axis=0)
    scale = np.maximum(spread, FLOOR * (float(np.sqrt(np.mean(spread**2))) or 1.0))
    _, covariance = shrunk_covariance((typical - center) / scale)
    whitening = whitening_projection(covariance)
    precision = whitening @ whitening.T

    some = chosen_rows(train, PLANTED_ROWS, seed)
    before = _clues(probe, clues, some)
    moved: list[list[Matrix]] = [[] for _ in layout.columns]
    for column, rows in perturbed(layout, train, some):
        moved[column].append((_clues(probe, clues, rows) - before).mean(axis=0) / scale)
    traces: list[Matrix] = []
    faults_by_column: list[list[int]] = []
    for ways in moved:
        kept = _merged(ways, precision)
        faults_by_column.append(list(range(len(traces), len(traces) + len(kept))))
        traces += [_explaining(way, precision) / scale for way in kept]
    return Attribution(clues, center=center, traces=np.stack(traces), faults_by_column=faults_by_column)


def _merged(ways: Sequence[Matrix], precision: Matrix) -> Sequence[Matrix]:
    """How faults of a column move the clues; of two that move them to opposite sides, one that stands for both."""
    if len(ways) != 2:
        return ways
    down, up = ways
    cosine = (down @ precision @ up) / np.sqrt(max(float((down @ precision @ down) * (up @ precision @ up)), 1e-24))
    return [(up - down) / 2] if cosine < OPPOSITE else ways


def _explaining(way: Matrix, precision: Matrix) -> Matrix:
    """What clues are multiplied with: of usual rows the product has unit variance."""
    explained = way @ precision
    scaled: Matrix = explained / np.sqrt(max(float(explained @ way), 1e-12))
    return scaled


def perturbed(layout: Layout, train: Arrays, rows: Arrays) -> list[tuple[int, Arrays]]:
    """Column by column the same rows with a fault in it: numbers off to both sides or missing, rare categories."""
    found: list[tuple[int, Arrays]] = []
    for index, number in enumerate(layout.numbers):
        spread = _robust_spread(np.asarray(train["num"][:, index], np.float64)) or number.std * number.scale
        right = np.asarray(rows["num"][:, index], np.float32)
        values = [right + np.float32(sign * FAULT * spread) for sign in (-1.0, 1.0)]
        if number.may_be_missing:
            values.append(np.full_like(right, np.nan))
        found += [(number.column, _with(rows, "num", index, value)) for value in values]
    for index, category in enumerate(layout.categories):
        codes = _anomalous_codes(np.asarray(train["cat"][:, index]), category.size)
        found += [(category.column, _with(rows, "cat", index, np.int32(code))) for code in codes]
    return found


def _anomalous_codes(codes: NDArray[np.generic], size: int) -> tuple[int, ...]:
    """A value that training never saw, one too rare for a code of its own, the rarest of the others; and none at all,
    where some training rows lack one."""
    counts = np.bincount(codes.astype(np.int64), minlength=size)
    values = np.arange(FIRST_VALUE, size)
    rarest = values[np.argmin(counts[values], keepdims=True)] if len(values) else values
    return (UNSEEN, RARE, *rarest.tolist(), *((MISSING,) if counts[MISSING] else ()))


def _with(rows: Arrays, name: str, index: int, values: NDArray[np.generic] | np.generic) -> Arrays:
    changed = np.array(rows[name])
    changed[:, index] = values
    return {**rows, name: changed}


@torch.no_grad()
def _clues(probe: ModelProbe, clues: AttributionFeatures, rows: Arrays) -> Matrix:
    return np.concatenate(
        [torch.cat(clues(model_outputs), 1).double().cpu().numpy() for model_outputs in run_model(probe, rows)]
    )


def _limited(typical: Matrix, *, of_numbers: int, of_all: int) -> Matrix:
    """Clues with residuals of numbers and numbers themselves cut off at `LIMIT`, where half of the rows vary at all."""
    numbers = np.r_[:of_numbers, of_all : of_all + of_numbers]
    low, center, high = np.quantile(typical[:, numbers], [0.25, 0.5, 0.75], axis=0)
    reach = np.where(high > low, LIMIT * (high - low) / _IQR_OF_NORMAL, np.inf)
    limited = typical.copy()
    limited[:, numbers] = np.clip(typical[:, numbers], center - reach, center + reach)
    return limited


def _robust_spread(values: Matrix) -> float:
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    low, high = np.quantile(known, [0.25, 0.75])
    return float((high - low) / _IQR_OF_NORMAL) or float(known.std())


def _information_content(codes: NDArray[np.integer], size: int) -> Matrix:
    """-log of the share of training rows with each code, one row of each added, (size,)."""
    counts = np.bincount(np.clip(codes, 0, size - 1).astype(np.int64), minlength=size) + 1.0
    return np.asarray(-np.log(counts / counts.sum()))


def _device(probe: ModelProbe) -> torch.device:
    device: torch.device = next(iter(probe.model.state_dict().values())).device
    return device
