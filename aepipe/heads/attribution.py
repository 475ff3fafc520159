"""Perturbation-based attribution of an anomaly score to the columns of a table.

A fault in one column leaves a trace in many features: the row itself and the residual of every column. Columns are
therefore not ranked feature by feature, but by how well the trace of a fault in a column explains all features together
(reconstruction-based contribution: Alcala & Qin 2009, Automatica 45(7)). Networks are not linear, so traces are
measured by perturbing training rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.distance_space import FLOOR, Matrix
from aepipe.heads.model_outputs import ModelOutputs, ModelProbe, chosen_rows, run_model
from aepipe.heads.robust_spread import IQR_OF_NORMAL, spread_of_known
from aepipe.heads.whitening import shrunk_covariance, whitening_projection
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN, Layout
from aepipe.models.layers.loss_pooling import RESIDUAL_WIDTH

FAULT = 8.0
"""Size of a perturbation of a number in robust standard deviations, applied in both directions.

Perturbing by both 2 and 16 instead makes the first reason right less often (-.5 points on average over nine tables of
ADBench, from +1.4 to -4.0) and costs 1.5 us instead of .9 us per row of 64 columns.
"""

OPPOSITE = -0.9
"""Cosine in the whitened feature space below which the traces of both directions are merged into one."""

PLANTED_ROWS = 128
"""Number of training rows that each perturbation is applied to."""

LIMIT = 10.0
"""Distance from the median, in robust standard deviations, at which features are clipped before covariances are taken.

Gross errors in a tenth of the training rows would otherwise mask new ones: with PCA, on six tables of ADBench whose
first three numbers were contaminated this way, clipping finds 8 to 20 % more of the faults, and equally many on clean
tables. Covariances of the closest 60, 75 or 90 % of the rows find fewer, both on normal rows and with the tables' own
anomalies.
"""


Arrays = Mapping[str, NDArray[np.generic]]


def supports_perturbation(layout: Layout) -> bool:
    """Return whether the layout is a table with few enough columns for one matrix product."""
    return layout.kind == "table" and layout.features <= RESIDUAL_WIDTH


class AttributionFeatures(nn.Module):
    """Features of a row for attribution: residuals, standardised numbers, missing flags, information content of codes.

    Each kind that the layout has is one tensor (B, n); the widths add up to D. They are not concatenated: the copy
    would take a third of the time of the matrix product.
    """

    flagged: Tensor
    information_content: Tensor
    offsets: Tensor

    def __init__(self, layout: Layout, codes: NDArray[np.integer]) -> None:
        """Count the categories of the training rows.

        Args:
            layout: Layout of the rows.
            codes: Categories of the training rows, (B, C).
        """
        super().__init__()
        flagged = [index for index, number in enumerate(layout.numbers) if number.may_be_missing]
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64))
        sizes = [category.size for category in layout.categories]
        nats = []  # -log of the share of each code among training rows, with add-one smoothing
        for index, size in enumerate(sizes):
            known = np.clip(codes[:, index], 0, size - 1).astype(np.int64)
            counts = np.bincount(known, minlength=size) + 1.0
            nats.append(-np.log(counts / counts.sum()))
        self.register_buffer(
            "information_content", torch.tensor(np.concatenate([*nats, np.zeros(0)]), dtype=torch.float32)
        )
        offsets = np.concatenate([[0], np.cumsum(sizes)])[: len(sizes)]
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.int64))

    def forward(self, model_outputs: ModelOutputs) -> list[Tensor]:
        row = model_outputs.row
        features = [model_outputs.evidence.residual, row.dense]
        if len(self.flagged):
            features.append(1 - row.observed.index_select(1, self.flagged))
        if len(self.offsets):
            features.append(F.embedding(row.codes + self.offsets, self.information_content.unsqueeze(1)).squeeze(2))
        return features


class Attribution(nn.Module):
    """Attribution of each column, (B, columns), from the outputs of the model.

    The attribution of a column is the greatest over its faults: the distance of the row from training rows along the
    trace of the fault, in standard deviations and given all other features. If a fault is large enough for its trace
    to stand out, the faulty column has the greatest attribution (by the Cauchy-Schwarz inequality).

    A trace that serves both directions is one product, taken by its magnitude. Further faults of a column are in
    `others`, round by round, and `place` maps their maximum to the column.
    """

    first: Tensor
    first_bias: Tensor
    is_sided: Tensor
    others: Tensor
    others_bias: Tensor
    place: Tensor

    def __init__(
        self,
        features: AttributionFeatures,
        *,
        center: Matrix,
        traces: Matrix,
        faults_by_column: Sequence[Sequence[int]],
    ) -> None:
        """Arrange the traces for two matrix products.

        Args:
            features: Module that computes the features of a row.
            center: Mean of the features of training rows, (D,).
            traces: Traces of the faults, (faults, D).
            faults_by_column: Indices into `traces` per column; a single fault serves both directions.
        """
        super().__init__()
        self.features = features
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
        features = self.features(model_outputs)
        along = _product(features, self.first, self.first_bias)
        if not self.sided:
            return along.abs()
        others = _product(features, self.others, self.others_bias).reshape(-1, self.rounds, self.sided).amax(1)
        if self.sided == self.columns:
            return torch.maximum(along, others)
        # Columns without further faults get 0 from the product, which never exceeds a magnitude.
        return torch.maximum(torch.where(self.is_sided, along, along.abs()), others @ self.place)

    def _keep(self, name: str, traces: Matrix, center: Matrix) -> None:
        self.register_buffer(name, torch.tensor(traces, dtype=torch.float32))
        self.register_buffer(f"{name}_bias", torch.tensor(-traces @ center, dtype=torch.float32))


def _product(features: Sequence[Tensor], traces: Tensor, bias: Tensor) -> Tensor:
    """Multiply all features with the traces, (B, traces)."""
    end = features[0].shape[1]
    product = F.linear(features[0], traces[:, :end], bias)
    for feature in features[1:]:
        begin, end = end, end + feature.shape[1]
        product = torch.addmm(product, feature, traces[:, begin:end].T)
    return product


def fit_attribution(probe: ModelProbe, train: Arrays, dev: Arrays, *, most: int, seed: int) -> Attribution:
    """Fit the attribution of a trained model from at most `most` rows of each split.

    The layout must pass `supports_perturbation`.
    """
    layout = probe.model.layout
    none = np.zeros((len(next(iter(train.values()))), 0), np.int32)
    device = next(iter(probe.model.state_dict().values())).device
    features = AttributionFeatures(layout, np.asarray(train.get("cat", none), np.int32)).to(device)
    known = [rows for rows in (train, dev) if len(next(iter(rows.values())))]
    typical = np.concatenate([_features(probe, features, chosen_rows(rows, most, seed)) for rows in known])
    typical = _limited(typical, of_numbers=len(layout.numbers), of_all=layout.features)
    center, spread = typical.mean(axis=0), typical.std(axis=0)
    scale = np.maximum(spread, FLOOR * (float(np.sqrt(np.mean(spread**2))) or 1.0))
    _, covariance = shrunk_covariance((typical - center) / scale)
    whitening = whitening_projection(covariance)
    precision = whitening @ whitening.T

    some = chosen_rows(train, PLANTED_ROWS, seed)
    before = _features(probe, features, some)
    traces_by_column: list[list[Matrix]] = [[] for _ in layout.columns]
    for column, rows in perturbed(layout, train, some):
        traces_by_column[column].append((_features(probe, features, rows) - before).mean(axis=0) / scale)
    traces: list[Matrix] = []
    faults_by_column: list[list[int]] = []
    for ways in traces_by_column:
        kept = _merged(ways, precision)
        faults_by_column.append(list(range(len(traces), len(traces) + len(kept))))
        for way in kept:
            explained = way @ precision
            # Unit variance over typical rows, then in units of the trace.
            traces.append(explained / np.sqrt(max(float(explained @ way), 1e-12)) / scale)
    return Attribution(features, center=center, traces=np.stack(traces), faults_by_column=faults_by_column)


def _merged(ways: Sequence[Matrix], precision: Matrix) -> Sequence[Matrix]:
    """Merge the two traces of a column into one if they point in opposite directions."""
    if len(ways) != 2:
        return ways
    down, up = ways
    cosine = (down @ precision @ up) / np.sqrt(max(float((down @ precision @ down) * (up @ precision @ up)), 1e-24))
    return [(up - down) / 2] if cosine < OPPOSITE else ways


def perturbed(layout: Layout, train: Arrays, rows: Arrays) -> list[tuple[int, Arrays]]:
    """Return the rows once per fault of each column: numbers shifted both ways or missing, and rare categories."""
    found: list[tuple[int, Arrays]] = []
    for index, number in enumerate(layout.numbers):
        spread = spread_of_known(np.asarray(train["num"][:, index], np.float64)) or number.std * number.scale
        right = np.asarray(rows["num"][:, index], np.float32)
        values = [right + np.float32(sign * FAULT * spread) for sign in (-1.0, 1.0)]
        if number.may_be_missing:
            values.append(np.full_like(right, np.nan))
        found += [(number.column, _with(rows, "num", index, value)) for value in values]
    for index, category in enumerate(layout.categories):
        counts = np.bincount(np.asarray(train["cat"][:, index]).astype(np.int64), minlength=category.size)
        known = np.arange(FIRST_VALUE, category.size)
        rarest = known[np.argmin(counts[known], keepdims=True)] if len(known) else known
        codes = (UNSEEN, RARE, *rarest.tolist(), *((MISSING,) if counts[MISSING] else ()))
        found += [(category.column, _with(rows, "cat", index, np.int32(code))) for code in codes]
    return found


def _with(rows: Arrays, name: str, index: int, values: NDArray[np.generic] | np.generic) -> Arrays:
    changed = np.array(rows[name])
    changed[:, index] = values
    return {**rows, name: changed}


@torch.no_grad()
def _features(probe: ModelProbe, features: AttributionFeatures, rows: Arrays) -> Matrix:
    return np.concatenate(
        [torch.cat(features(model_outputs), 1).double().cpu().numpy() for model_outputs in run_model(probe, rows)]
    )


def _limited(typical: Matrix, *, of_numbers: int, of_all: int) -> Matrix:
    """Clip the residuals and values of numbers at `LIMIT`, except where the interquartile range is 0."""
    numbers = np.r_[:of_numbers, of_all : of_all + of_numbers]
    low, center, high = np.quantile(typical[:, numbers], [0.25, 0.5, 0.75], axis=0)
    reach = np.where(high > low, LIMIT * (high - low) / IQR_OF_NORMAL, np.inf)
    limited = typical.copy()
    limited[:, numbers] = np.clip(typical[:, numbers], center - reach, center + reach)
    return limited
