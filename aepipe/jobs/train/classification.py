"""Classes of a job's label: fitted on model outputs of training rows, validated on held-out rows."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from aepipe.calibration.open_set import UNKNOWN, OpenSet, cheapest_confidence, usual_confidence
from aepipe.config.job import Job
from aepipe.errors import EvaluationInvalid
from aepipe.heads.class_discriminant import FEWEST, Classes, fit_classes, points
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.jobs.train.training_data import TrainingData
from aepipe.jobs.train.training_rows import MOST_LABELLED
from aepipe.models.base import Model

log = logging.getLogger(__name__)

MOST_CLASSES = 200
MOST_ROWS = 100_000
_NO_CLASS = -1


class FoundClasses(NamedTuple):
    """Classifier of the scorer, its open-set rule, and its metrics on held-out rows."""

    classes: Classes
    open_set: OpenSet
    facts: Mapping[str, float]


class _Kept(NamedTuple):
    """Held-out rows: predicted class, confidence and true class, (B,) each; -1 for an unknown class."""

    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    truth: NDArray[np.int64]

    @property
    def known(self) -> NDArray[np.bool_]:
        return np.asarray(self.truth != _NO_CLASS)

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.predicted == self.truth)


def class_names(job: Job, learning: TrainingData) -> tuple[str, ...]:
    """Return the names of classes with enough rows; empty without `[score] classes`.

    Raises EvaluationInvalid where fewer than two have, more than `MOST_CLASSES`, or one is called unknown.
    """
    if learning.classed is None:
        return ()
    counted = pc.value_counts(texts(learning.classed.train).drop_null()).to_pylist()
    names = tuple(sorted(str(each["values"]) for each in counted if each["counts"] >= FEWEST))
    column = job.score.classes
    if UNKNOWN in names:
        raise EvaluationInvalid(
            f"[score] classes: '{column}' has a value '{UNKNOWN}', the answer for no class: rename it"
        )
    if not 2 <= len(names) <= MOST_CLASSES:
        raise EvaluationInvalid(
            f"[score] classes: '{column}' has {len(names)} values with {FEWEST} training rows or more, 2 to "
            f"{MOST_CLASSES} needed: name another label, or widen [train]"
        )
    return names


def find_classes(job: Job, learning: TrainingData, model: Model, names: tuple[str, ...]) -> FoundClasses | None:
    """Fit the class discriminant of a trained model for the classes of `class_names`; None if there are none."""
    if learning.classed is None or not names:
        return None
    probe, column, classed = ModelProbe(model.eval()), str(job.score.classes), learning.classed
    train, dev, others = (
        _points(probe, rows, codes(labels, names), seed=job.train.seed)
        for rows, labels in (
            (learning.train, classed.train),
            (learning.dev, classed.dev),
            (classed.others, classed.others_labels),
        )
    )
    learned, known = (tuple(part[at[1] != _NO_CLASS] for part in at) for at in (train, dev))
    fitted = fit_classes((learned[0], learned[1]), (known[0], known[1]), classes=len(names))
    kept = _classify(fitted, [dev, others])
    least, sentence = _least(job, kept)
    log.info("%s", sentence)
    open_set = OpenSet(column=column, names=names, least_confidence=least, sentence=sentence)
    return FoundClasses(fitted, open_set, _facts(kept, least))


def texts(labels: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return labels as class names, null if missing."""
    if isinstance(labels, pa.ChunkedArray):
        labels = labels.combine_chunks()
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    return labels.cast(pa.string())


def codes(labels: pa.Array | pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return indices into names, (B,); -1 for another value, -2 without a label."""
    named = texts(labels)
    found = pc.index_in(named, value_set=pa.array(names, pa.string())).fill_null(_NO_CLASS)
    return np.where(named.is_null().to_numpy(False), _NO_CLASS - 1, found.to_numpy(False)).astype(np.int64)


def _points(
    probe: ModelProbe, rows: Mapping[str, NDArray[np.generic]], labels: NDArray[np.int64], *, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points and class indices of the labelled rows, at most `MOST_ROWS`."""
    at = np.flatnonzero(labels >= _NO_CLASS)
    at = np.sort(np.random.default_rng(seed).permutation(at)[:MOST_ROWS])
    if not len(at):
        return np.zeros((0, 0)), labels[:0]
    chosen = collect_outputs(probe, {name: array[at] for name, array in rows.items()}, most=MOST_LABELLED, seed=seed)
    return points(chosen.z, chosen.total).double().numpy(), labels[at]


def _classify(fitted: Classes, kept: list[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> _Kept:
    """Classify the held-out rows of several parts."""
    parts = [part for part in kept if len(part[1])]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return _Kept(nothing, nothing.astype(np.float64), nothing)
    with torch.no_grad():
        predicted, confidence = fitted(torch.from_numpy(np.concatenate([points for points, _ in parts])).float())
    truth = np.concatenate([labels for _, labels in parts])
    return _Kept(predicted[:, 0].long().numpy(), confidence[:, 0].double().numpy(), truth)


def _least(job: Job, kept: _Kept) -> tuple[float, str]:
    """Return the confidence threshold and the reason for it."""
    costs = job.calibration.costs
    unknown = int((~kept.known).sum())
    rows = f"{len(kept.truth):,} rows kept from training, {unknown:,} of them of no known class"
    if costs is not None and kept.right.any():
        least = cheapest_confidence(kept.confidence, kept.right, kept.known, costs)
        return least, f"a class is reported from confidence {least:.3g} on, which costs least on {rows}"
    alpha = job.calibration.alpha
    least = usual_confidence(kept.confidence, kept.right, alpha=alpha)
    return (
        least,
        f"a class is reported from confidence {least:.3g} on, which {alpha:.3g} of the right answers lack, on {rows}",
    )


def _facts(kept: _Kept, least: float) -> dict[str, float]:
    """Return metrics for the model card; empty without rows of a known class."""
    if not kept.known.any():
        return {}
    reported = kept.confidence >= least
    facts = {
        "class_accuracy": float(kept.right[kept.known].mean()),
        "class_told_share": float(reported[kept.known].mean()),
        "class_accuracy_told": float(kept.right[kept.known & reported].mean())
        if (kept.known & reported).any()
        else 0.0,
    }
    if not kept.known.all():
        facts["unknown_found"] = float((~reported)[~kept.known].mean())
    return facts
