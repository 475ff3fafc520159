"""Out-of-fold scores of cells: each training row is scored as a new row by what the other folds taught."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from aepipe.config.job import Model
from aepipe.heads.attribution import Attribution, fit_attribution
from aepipe.heads.cell_predictor import CellRows
from aepipe.heads.cell_scores import fit_cell_scores
from aepipe.heads.impossible_cells import IMPOSSIBLE_SCORE
from aepipe.heads.model_outputs import ModelProbe
from aepipe.heads.out_of_fold_cells import out_of_fold_cells, scores_without_model
from aepipe.layout import FIRST_VALUE, RARE, UNSEEN, Category, Layout, Number
from aepipe.models import families
from tests.support.head_models import Rows
from tests.support.layouts import LAYOUTS

LAYOUT = Layout(
    columns=("a", "b", "sum", "kind"),
    numbers=tuple(Number(name=name, column=at) for at, name in enumerate(("a", "b", "sum"))),
    categories=(Category(name="kind", column=3, size=FIRST_VALUE + 4),),
)


def _rows(rows: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, rows))
    total = a + b + 0.05 * generator.normal(size=rows)
    return {
        "num": np.stack([a, b, total / np.sqrt(2)], 1).astype(np.float32),
        "cat": (generator.integers(0, 3, (rows, 1)) + FIRST_VALUE).astype(np.int32),
    }


def _model(train: Rows, dev: Rows) -> tuple[ModelProbe, Attribution]:
    probe = ModelProbe(families.build(LAYOUT, Model(family="pca"), seed=0)).eval()
    return probe, fit_attribution(probe, train, dev, most=1_000, seed=0)


@torch.no_grad()
def _fresh(train: Rows, dev: Rows, new: Rows) -> np.ndarray:
    """Return the greatest cell scores of new rows by a fit on training rows."""
    probe, attribution = _model(train, dev)
    scores = fit_cell_scores(probe, attribution, train, dev, most=1_000, seed=0, alpha=0.01)
    outputs = probe(torch.from_numpy(new["num"]), torch.from_numpy(new["cat"]))
    rows = CellRows.of(outputs.row)
    return np.asarray(scores(rows, attribution(outputs), scores.ruled_out(rows)).score[:, 0].double())


def test_a_row_has_the_score_that_a_fit_on_the_other_folds_gives_it() -> None:
    train, dev, folds = _rows(400, 0), _rows(80, 1), np.arange(400) % 4
    train["cat"][folds == 1] = np.where(
        train["cat"][folds == 1] == FIRST_VALUE, FIRST_VALUE + 3, train["cat"][folds == 1]
    )
    probe, attribution = _model(train, dev)

    found = out_of_fold_cells(probe, attribution, train, dev, folds, most=1_000, seed=0, alpha=0.01)

    expected = []
    for fold in range(4):
        inside = {name: array[folds == fold] for name, array in train.items()}
        if fold == 1:  # only its rows have the fourth kind
            inside["cat"] = np.where(inside["cat"] == FIRST_VALUE + 3, np.int32(UNSEEN), inside["cat"])
        expected.append(_fresh({name: array[folds != fold] for name, array in train.items()}, dev, inside))
    assert found.shape == (400,)
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-4, atol=1e-5)
    assert (found > IMPOSSIBLE_SCORE).sum() == (train["cat"] == FIRST_VALUE + 3).sum() > 10


def test_a_rare_value_is_new_to_the_other_folds() -> None:
    train, dev = _rows(400, 0), _rows(80, 1)
    train["cat"][0] = RARE
    probe, attribution = _model(train, dev)

    found = out_of_fold_cells(probe, attribution, train, dev, np.arange(400) % 4, most=1_000, seed=0, alpha=0.01)

    assert found[0] > IMPOSSIBLE_SCORE > found[1:].max()


@pytest.mark.slow
def test_training_rows_score_as_new_rows_do_out_of_fold_and_lower_otherwise() -> None:
    train, dev, new = _rows(500, 0), _rows(100, 1), _rows(3_000, 2)
    probe, attribution = _model(train, dev)

    found = out_of_fold_cells(probe, attribution, train, dev, np.arange(500) % 10, most=1_000, seed=0, alpha=0.01)

    assert ks_2samp(found, _fresh(train, dev, new)).pvalue > 0.01


def test_at_most_the_given_number_of_rows_is_scored() -> None:
    train, dev = _rows(400, 0), _rows(80, 1)
    probe, attribution = _model(train, dev)

    assert (
        len(out_of_fold_cells(probe, attribution, train, dev, np.arange(400) % 4, most=150, seed=0, alpha=0.01)) == 150
    )


@pytest.mark.parametrize(("layout", "expected"), [(LAYOUT, True), (LAYOUTS["text"], False)])
def test_texts_are_scored_by_the_autoencoder(layout: Layout, *, expected: bool) -> None:
    assert scores_without_model(layout) is expected


def test_a_category_with_very_many_values_is_scored_by_the_autoencoder() -> None:
    layout = Layout(columns=("a",), categories=(Category(name="a", column=0, size=5_000),))

    assert not scores_without_model(layout)
