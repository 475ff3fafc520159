"""Quality of synthetic rows in numbers: the measures of the product's quality checks, and a downstream learner."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from aepipe.quality.alignment import Columns, Rows, align
from aepipe.quality.classifier_two_sample import two_sample
from aepipe.quality.column_pair_trends import pair_trends
from aepipe.quality.column_shapes import column_shapes
from aepipe.quality.distance_to_closest import closeness
from aepipe.quality.exact_copies import copies
from benchmarks.store import Values


def measured(train: pa.Table, held_out: pa.Table, synthetic: pa.Table, *, predict: str, seed: int) -> Values:
    """Return shapes and trends against held-out rows, two-sample tests, and the AUROC of learning `predict`."""
    columns, (learned, kept, made) = align([train, held_out, synthetic])
    apart = two_sample(columns, kept, made, seed=seed)
    near, copied = closeness(learned, kept, made, seed=seed), copies(train, held_out, synthetic)
    return {
        "shapes": column_shapes(columns, kept, made).score,
        "trends": pair_trends(columns, kept, made).score,
        "auroc": downstream(columns, made, kept, predict=predict, seed=seed),
        "trees": apart.trees.value,
        "logistic": apart.logistic.value,
        "closer": near.share,
        "copies": copied.share,
        "copies_bound": copied.bound,
    }


def of_class(held_out: pa.Table, synthetic: pa.Table, *, seed: int) -> Values:
    """How well trees tell rows of one class that were asked for from held-out ones of it."""
    columns, (kept, made) = align([held_out, synthetic])
    return {"class_trees": two_sample(columns, kept, made, seed=seed).trees.value, "class_rows": len(kept)}


def downstream(columns: Columns, made: Rows, kept: Rows, *, predict: str, seed: int) -> float:
    """AUROC on held-out rows of LightGBM's trees that learned the rarer value of a column from synthetic ones."""
    import lightgbm

    at = len(columns.numbers) + columns.categories.index(predict)
    (fit_rows, fit_truth), (test_rows, test_truth) = (_task(columns, rows, at) for rows in (made, kept))
    values, counts = np.unique(test_truth, return_counts=True)
    rarer = values[counts.argmin()]
    categorical = [column - (column > at) for column in range(len(columns.numbers), len(columns.names)) if column != at]
    model = lightgbm.LGBMClassifier(n_estimators=200, learning_rate=0.05, n_jobs=1, random_state=seed, verbose=-1)
    model.fit(fit_rows, fit_truth == rarer, categorical_feature=categorical)
    return float(roc_auc_score(test_truth == rarer, model.predict_proba(test_rows)[:, 1]))


def _task(columns: Columns, rows: Rows, at: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    matrix = np.column_stack([rows.numbers, rows.codes])
    return np.delete(matrix, at, axis=1), rows.codes[:, at - len(columns.numbers)].astype(np.int64)
