"""Cell scores of training rows by predictors and rules that did not learn from them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.cell_predictor import CellRows, predicted_categories
from aepipe.heads.cell_scores import Arrays, CellInputs, cell_inputs, fit_on_inputs
from aepipe.heads.model_outputs import ModelProbe, chosen_rows
from aepipe.layout import FIRST_VALUE, RARE, UNSEEN, Layout
from aepipe.models.layers.tokens import rest_places

_FOLD = "\0fold"


def scores_without_model(layout: Layout) -> bool:
    """Return True if no cell but a missing number is scored by the autoencoder, which learned from training rows."""
    return not layout.texts and predicted_categories(layout) == tuple(range(len(layout.categories)))


@torch.no_grad()
def out_of_fold_cells(
    probe: ModelProbe,
    attribution: nn.Module,
    train: Arrays,
    dev: Arrays,
    folds: NDArray[np.integer],
    *,
    most: int,
    seed: int,
    alpha: float,
) -> NDArray[np.float64]:
    """Return the score of the most unusual cell of training rows, in the order of their folds, (B,).

    The autoencoder is not trained again: cells are predicted from the other cells by a network of their own. For each
    fold, this network, its units and the cells that are ruled out are fitted on the rows of the other folds. A category
    that only the fold has counts as new.

    Args:
        probe: Probe of the trained model.
        attribution: Attribution of the scorer.
        train: Training rows by port.
        dev: Dev rows by port, which all folds share; may be empty.
        folds: Fold of each training row, (B,).
        most: Greatest number of training rows and of dev rows, as for the scorer.
        seed: Seed of the scorer.
        alpha: Alpha of the units of cells, as for the scorer.
    """
    layout = probe.model.layout
    kept = chosen_rows({**train, _FOLD: folds}, most, seed)
    inputs = cell_inputs(probe, attribution, kept)
    fresh = cell_inputs(probe, attribution, chosen_rows(dev, most, seed))
    assert inputs is not None
    fold_of, found = torch.from_numpy(np.asarray(kept[_FOLD], np.int64)), [np.zeros(0)]
    for fold in np.unique(folds).tolist():
        inside = fold_of == fold
        if inside.any() and not inside.all():
            found.append(_score_fold(layout, inputs.at(~inside), inputs.at(inside), fresh, seed=seed, alpha=alpha))
    return np.concatenate(found)


def _score_fold(
    layout: Layout, others: CellInputs, fold: CellInputs, dev: CellInputs | None, *, seed: int, alpha: float
) -> NDArray[np.float64]:
    scores = fit_on_inputs(layout, others, dev, seed=seed, alpha=alpha)
    codes = _new_to(layout, others.rows.codes, fold.rows.codes)
    as_new = CellInputs(CellRows(fold.rows.dense, fold.rows.observed, codes), fold.attributions)
    found = [scores(each.rows, each.attributions, scores.ruled_out(each.rows)).score for each in as_new.batches()]
    return torch.cat(found)[:, 0].double().numpy()


def _new_to(layout: Layout, known: Tensor, codes: Tensor) -> Tensor:
    """Return codes (B, K) with UNSEEN for the values that the known rows lack; a rare value occurs in one row alone."""
    found = codes.clone()
    for index in rest_places(layout):
        counts = torch.bincount(known[:, index], minlength=layout.categories[index].size)
        is_value = codes[:, index] >= FIRST_VALUE
        is_new = is_value & (counts[codes[:, index]] == 0) | (codes[:, index] == RARE)
        found[is_new, index] = UNSEEN
    return found
