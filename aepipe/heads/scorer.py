"""Scorer graph of a bundle: latents, score, reasons, clusters and classes of each row."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads import scores as heads
from aepipe.heads.attribution import Attribution, fit_attribution, supports_perturbation
from aepipe.heads.base import Head, HeadStats, ScoringInputs
from aepipe.heads.cell_predictor import CellRows
from aepipe.heads.cell_scores import CELLS, CellScores, fit_cell_scores
from aepipe.heads.class_discriminant import CLASS_PORTS, Classes, points
from aepipe.heads.clusters import CLUSTER_PORTS, Clusters
from aepipe.heads.model_outputs import ModelOutputs, ModelProbe, collect_outputs, fit_probe
from aepipe.heads.robust_spread import IQR_OF_NORMAL
from aepipe.heads.token_losses import TokenLosses
from aepipe.latent_math import Mixture
from aepipe.layout import Port
from aepipe.models.base import Model, Part
from aepipe.models.export_parts import feature_ports, latent_tensors
from aepipe.models.layers.loss_pooling import reason_names

FITTED_ROWS = 20_000
"""Heads are fitted on at most this many training rows, and as many dev rows."""

FIRST = 100.0
"""Factor of what a cell that training rows rule out adds to its attribution, so that it is among the first reasons."""

_LEAST_SPREAD = 1e-3  # nats: below it, losses differ by rounding


class LossScale(nn.Module):
    """Losses of reasons (B, R), centred and scaled so that regions and steps are comparable.

    The scale is the interquartile range, averaged with the mean over all reasons: with its own range alone, a reason
    that is always reconstructed well would be charged for the effect of other faults on the latents. Columns of a table
    use `Attribution` instead.
    """

    center: Tensor
    gain: Tensor

    def __init__(self, losses: Tensor) -> None:
        super().__init__()
        low, center, high = np.quantile(losses.double().numpy(), [0.25, 0.5, 0.75], axis=0)
        spread = (high - low) / IQR_OF_NORMAL
        scale = (spread + max(float(spread.mean()), _LEAST_SPREAD)) / 2
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32))
        self.register_buffer("gain", torch.tensor(1 / scale, dtype=torch.float32))

    def forward(self, losses: Tensor) -> Tensor:
        return (losses - self.center) * self.gain


class LossAttribution(nn.Module):
    """Attribution by the scaled losses of the reasons, (B, R)."""

    def __init__(self, scale: LossScale) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, model_outputs: ModelOutputs) -> Tensor:
        scaled: Tensor = self.scale(model_outputs.evidence.losses)
        return scaled


class _OutputGroup(NamedTuple):
    """Ports of the scorer and the function that computes their tensors, in the same order."""

    ports: tuple[Port, ...]
    compute: Callable[[ModelOutputs], tuple[Tensor, ...]]


class Scorer(nn.Module):
    """Module from row tensors, in the order of `Layout.ports`, to all outputs of a row.

    Outputs, in order:
        z (B, Z), pooled (B, P): features of the model, each only if the model has it.
        score (B,): anomaly score.
        reason (B, k) int32, reason_z (B, k): indices into `reason_names(layout)`, strongest first, and their
            attributions; with `cells`, columns whose value training rows rule out come before all others, whatever
            their attribution. Absent if k is 0.
        cell (B, c) int32, cell_z (B, c): the same for the `CELLS` most unusual cells; only with `cells` and reasons.
        token (B, t) int32, token_z (B, t): the least likely tokens of texts, as indices into the categories of the
            layout, and their losses in nats; only of rows with texts, and with reasons.
        cluster (B, 1) int32, cluster_distance (B, 1): only with clusters.
        class (B, 1) int32, class_confidence (B, 1): only with classes.
    """

    def __init__(
        self,
        probe: ModelProbe,
        head: Head,
        attribution: Attribution | LossAttribution,
        *,
        reasons: int,
        cells: CellScores | None = None,
        clusters: Clusters | None = None,
        classes: Classes | None = None,
    ) -> None:
        super().__init__()
        self.probe = probe
        self.head = head
        self.attribution = attribution
        self.reasons = min(reasons, len(reason_names(probe.model.layout)))
        self.cells = cells
        self.clusters = clusters
        self.classes = classes
        self.tokens = TokenLosses(probe.model.layout) if probe.model.layout.texts else None

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        model_outputs: ModelOutputs = self.probe(*rows)
        return tuple(tensor for group in self._output_groups() for tensor in group.compute(model_outputs))

    @property
    def has_cells(self) -> bool:
        """True if single cells have scores: reasons are columns, not regions or steps."""
        return self.reasons > 0 and self.cells is not None

    def part(self) -> Part:
        """Return the scorer as one part of the bundle."""
        outputs = tuple(port for group in self._output_groups() for port in group.ports)
        # Scores are nats or typical distances, attributions standard deviations: .003 of one is rounding in any table.
        scales = {"score": (30.0,), "reason_z": (30.0,) * self.reasons}
        if self.tokens is not None:  # nats: losses of tokens that are certain are rounding
            scales["token_z"] = (1.0,) * self.tokens.count
        scales |= {"cell_z": (30.0,) * min(CELLS, len(self.probe.model.layout.columns))} if self.has_cells else {}
        # Rows far from all others: a residual there is the rounding of two large numbers, up to 2e-4 of the score.
        return Part("scorer", self, self.probe.model.layout.ports, outputs, rtol=3e-4, scales=scales)

    def _output_groups(self) -> list[_OutputGroup]:
        """List the outputs in order: the only place that names them, both for the graph and for its ports."""
        model, features = self.probe.model, feature_ports(self.probe.model)
        groups = [
            _OutputGroup(features, lambda outputs: latent_tensors(model, outputs.posterior)[-len(features) :]),
            _OutputGroup((Port("score", "float32", ()),), lambda outputs: (self.head(outputs.evidence),)),
        ]
        if self.reasons:
            cells_of = self.cells
            width = (self.reasons,)
            ports: tuple[Port, ...] = (Port("reason", "int32", width), Port("reason_z", "float32", width))
            if self.has_cells:
                few = (min(CELLS, len(model.layout.columns)),)
                ports += (Port("cell", "int32", few), Port("cell_z", "float32", few))

            def strongest(outputs: ModelOutputs) -> tuple[Tensor, ...]:
                attributions = self.attribution(outputs)
                if cells_of is None:
                    top = torch.topk(attributions, self.reasons, dim=1)
                    return top.indices.to(torch.int32), top.values
                rows = CellRows(outputs.row.dense, outputs.row.observed, outputs.row.codes)
                ruled_out = cells_of.ruled_out(rows)
                first = torch.topk(attributions + FIRST * ruled_out, self.reasons, dim=1).indices
                cells = cells_of(rows, attributions, ruled_out)
                return first.to(torch.int32), attributions.gather(1, first), *cells

            groups.append(_OutputGroup(ports, strongest))
            if self.tokens is not None:
                groups.append(_OutputGroup(self.tokens.ports, self.tokens))
        if (clusters := self.clusters) is not None:
            groups.append(_OutputGroup(CLUSTER_PORTS, lambda outputs: clusters(outputs.posterior.mean)))
        if (classes := self.classes) is not None:
            groups.append(
                _OutputGroup(CLASS_PORTS, lambda outputs: classes(points(outputs.evidence.z, outputs.evidence.total)))
            )
        return groups


def collect_training_outputs(
    probe: ModelProbe, train: Mapping[str, NDArray[np.generic]], *, seed: int
) -> ScoringInputs:
    """Return the outputs of the training rows that heads are fitted on."""
    return collect_outputs(probe, train, most=FITTED_ROWS, seed=seed)


def fit_scorer(
    model: Model,
    train: Mapping[str, NDArray[np.generic]],
    dev: Mapping[str, NDArray[np.generic]],
    *,
    head: str,
    reasons: int,
    has_cells: bool = False,
    alpha: float = 0.01,
    seed: int = 0,
    mixture: Mixture | None = None,
    classes: Classes | None = None,
    learned: ScoringInputs | None = None,
) -> Scorer:
    """Fit the scorer of a trained model and put it into eval mode.

    Args:
        model: Trained model.
        train: Training rows by port.
        dev: Dev rows by port; if empty, training rows are used.
        head: Name from `heads.names()`.
        reasons: Number of reasons per row.
        has_cells: Score the most unusual cells too, if reasons are columns.
        alpha: Share of normal rows that may be flagged, which the units of cells depend on.
        seed: Seed for the choice of rows.
        mixture: Mixture model of the latents whose components become clusters.
        classes: Fitted classifier of the latents.
        learned: Outputs of training rows from `collect_training_outputs` with the same seed; None: computed here.

    Raises:
        OptionInvalid: If there is no such head.
    """
    spec = heads.find(head)
    probe = fit_probe(model, train, most=FITTED_ROWS, seed=seed)
    learned = collect_training_outputs(probe, train, seed=seed) if learned is None else learned
    fresh = collect_outputs(probe, dev, most=FITTED_ROWS, seed=seed) if len(next(iter(dev.values()))) else learned
    fitted = spec.fit(HeadStats(learned, fresh, seed))
    attribution: Attribution | LossAttribution
    cells = None
    if reasons and supports_perturbation(model.layout):
        attribution = fit_attribution(probe, train, dev, most=FITTED_ROWS, seed=seed)
    else:
        attribution = LossAttribution(LossScale(torch.cat([learned.losses, fresh.losses])))
    if has_cells and reasons and (supports_perturbation(model.layout) or model.layout.texts):
        cells = fit_cell_scores(probe, attribution, train, dev, most=FITTED_ROWS, seed=seed, alpha=alpha)
    clusters = None if mixture is None else Clusters(mixture)
    scorer = Scorer(probe, fitted, attribution, reasons=reasons, cells=cells, clusters=clusters, classes=classes)
    return scorer.to(next(iter(model.state_dict().values())).device).eval()
