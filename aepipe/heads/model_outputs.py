"""Forward pass of a trained model over a dataset, as input of the heads."""

import copy
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.base import ScoringInputs
from aepipe.heads.category_rarity import CategoryRarity, fit_category_rarity
from aepipe.heads.given_adjustment import GivenAdjustment
from aepipe.models.base import Model, Posterior
from aepipe.models.export_parts import metric_latents, named
from aepipe.models.layers.loss_pooling import reason_pooling, residual_pooling, row_pooling
from aepipe.models.layers.loss_summary import LossSummary
from aepipe.models.layers.preprocessing import Preprocessing, Row

ROWS_A_CALL = 4_096


class ModelOutputs(NamedTuple):
    """Posterior, inputs of the heads, the row after preprocessing, and the loss of each feature, (B, F) in nats."""

    posterior: Posterior
    evidence: ScoringInputs
    row: Row
    nll: Tensor


class ModelProbe(nn.Module):
    """Module from row tensors, in the order of `Layout.ports`, to `ModelOutputs`.

    With `adjustment`, the numbers of `ModelOutputs.row` and of `ScoringInputs.row` are relative to the conditions.
    Without `rarity`, categories have none.
    """

    def __init__(
        self, model: Model, adjustment: GivenAdjustment | None = None, rarity: CategoryRarity | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.adjustment = adjustment
        self.rarity = rarity
        self.of_reasons = reason_pooling(model.layout)
        self.of_residuals = residual_pooling(model.layout)
        self.of_rows = row_pooling(model.layout)
        self.loss_summary = LossSummary(model.layout)

    def forward(self, *rows: Tensor) -> ModelOutputs:
        model = self.model
        inputs = named(model.layout, rows)
        row = model.preprocessing(inputs)
        wanted = model.preprocessing.wanted(inputs, row)
        posterior, params = model.reconstruct(row)
        nll = model.likelihood.nll(params, wanted)
        residual = model.likelihood.residual(params, wanted)
        numbers = torch.cat([row.dense.flatten(1), model.preprocessing.straight(inputs)], 1)
        if self.adjustment is not None:
            numbers = self.adjustment(numbers, _observed(model.preprocessing, row), row.given)
            row = row._replace(dense=numbers[:, : row.dense.shape[1]])
        evidence = ScoringInputs(
            losses=self.of_reasons(nll),
            residual=self.of_residuals(residual),
            z=metric_latents(posterior),
            kl=posterior.kl.sum(1),
            total=nll.sum(1),
            row=self.of_rows(numbers),
            summary=self.loss_summary(nll, wanted),
            rarity=nll[:, :0] if self.rarity is None else self.rarity(row.codes),
        )
        return ModelOutputs(posterior, evidence, row, nll)


def fit_probe(model: Model, train: Mapping[str, NDArray[np.generic]], *, most: int, seed: int) -> ModelProbe:
    """Return the probe of a trained model in eval mode; tables with conditions are adjusted to them.

    The adjustment, and the rarity of categories, are fitted to at most `most` training rows.
    """
    layout = model.layout
    if not layout.has_cells:
        return ModelProbe(model).eval()
    rows = chosen_rows(train, most, seed)
    rarity = fit_category_rarity(layout, rows)
    device = next(iter(model.state_dict().values())).device
    if layout.kind != "table" or not (layout.given and layout.numbers):
        return ModelProbe(model, rarity=rarity).to(device).eval()
    with torch.no_grad():
        tensors = (torch.from_numpy(rows[port.name]) for port in layout.ports)
        preprocessing = copy.deepcopy(model.preprocessing).cpu()
        inputs = named(layout, tuple(tensors))
        row = preprocessing(inputs)
        numbers = torch.cat([row.dense, preprocessing.straight(inputs)], 1)
        adjustment = GivenAdjustment(numbers, _observed(preprocessing, row), row.given)
    return ModelProbe(model, adjustment, rarity).to(device).eval()


@torch.no_grad()
def collect_outputs(
    probe: ModelProbe, arrays: Mapping[str, NDArray[np.generic]], *, most: int, seed: int
) -> ScoringInputs:
    """Return the scoring inputs of at most `most` rows, chosen by seed, on the CPU."""
    outputs = run_model(probe, chosen_rows(arrays, most, seed))
    calls = [ScoringInputs(*(answer.cpu() for answer in model_outputs.evidence)) for model_outputs in outputs]
    return ScoringInputs(*(torch.cat(answers) for answers in zip(*calls, strict=True)))


def _observed(preprocessing: Preprocessing, row: Row) -> Tensor:
    """Return 1 where the numbers of a table, and the linear values of its log-transformed ones, are observed."""
    if not preprocessing.layout.straight:
        return row.observed
    logged = preprocessing.numbers.is_log.nonzero().squeeze(1)
    return torch.cat([row.observed, row.observed.index_select(1, logged)], 1)


def chosen_rows(arrays: Mapping[str, NDArray[np.generic]], most: int, seed: int) -> Mapping[str, NDArray[np.generic]]:
    """Return at most `most` rows, chosen by seed, in their order."""
    rows = len(next(iter(arrays.values())))
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    return {name: array[chosen] for name, array in arrays.items()}


def run_model(probe: ModelProbe, arrays: Mapping[str, NDArray[np.generic]]) -> Iterator[ModelOutputs]:
    """Yield the model outputs of the rows in batches of bounded size."""
    names = [port.name for port in probe.model.layout.ports]
    device = next(iter(probe.model.state_dict().values())).device
    for begin in range(0, len(arrays[names[0]]), ROWS_A_CALL):
        yield probe(*(torch.from_numpy(arrays[name][begin : begin + ROWS_A_CALL]).to(device) for name in names))
