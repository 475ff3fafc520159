"""Augmentation of a rare class where the correct conclusion is known."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.ranking import Interval
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.augmentation import SYNTHETIC, Augmentation, augmentation, recall_at_class_size

COLUMNS = Columns(("x", "y"), ("label",), (3,))


def rows(count: int, share: float, seed: int, *, wrong: bool = False) -> tuple[Rows, np.ndarray]:
    """Draw a rare class on a ring around the others; with `wrong`, both lie in one place."""
    rng = np.random.default_rng(seed)
    is_rare = rng.random(count) < share
    angle = rng.uniform(0, 6.3, count)
    radius = np.where(is_rare & (not wrong), 2.2, 1.0) + 0.5 * rng.standard_normal(count)
    points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return Rows(points, 1 + is_rare.astype(np.int32)[:, None]), is_rare


def compared(synthetic: Rows) -> Augmentation:
    (train, train_rare), (held_out, held_out_rare) = rows(1_500, 0.02, 0), rows(2_000, 0.1, 1)
    return augmentation(
        COLUMNS,
        column="label",
        is_rare=(train_rare, held_out_rare),
        train=train,
        held_out=held_out,
        synthetic=synthetic,
        seed=0,
    )


def test_correct_synthetic_rows_help_and_wrong_ones_hurt_compared_with_baselines() -> None:
    good, bad = compared(rows(600, 1.0, 2)[0]), compared(rows(600, 1.0, 2, wrong=True)[0])

    assert [arm.name for arm in good.arms] == [
        "real rows alone",
        "class weights",
        "copies of real rows",
        SYNTHETIC,
    ]
    assert good.gain.low > 0
    assert "Synthetic rows help: +" in good.sentence
    assert good.sentence.endswith("without them. Add them.")
    assert bad.gain.high < 0
    assert "Synthetic rows hurt: -" in bad.sentence
    assert bad.sentence.endswith("without them. Do not add them.")
    assert good.arms[0] == bad.arms[0]
    assert good.arms[2].rare == good.arms[3].rare == good.arms[0].rare + 600
    for arm in good.arms:
        for interval in (arm.average_precision, arm.auroc, arm.recall_of_as_many, arm.recall):
            assert interval.low <= interval.value <= interval.high


def test_no_difference_is_reported() -> None:
    found = replace(compared(rows(600, 1.0, 2)[0]), gain=Interval(0.01, -0.01, 0.02))

    assert "make no significant difference: +0.010 average precision (-0.010 to +0.020)" in found.sentence
    assert found.sentence.endswith(f"compared with {found.best_other}. Do not add them.")


def test_a_class_with_three_held_out_rows_gets_a_recommendation_and_wide_intervals() -> None:
    (train, train_rare), (held_out, _) = rows(1_500, 0.02, 0), rows(2_000, 0.1, 1)
    few = np.zeros(2_000, np.bool_)
    few[[5, 500, 1_500]] = True

    found = augmentation(
        COLUMNS,
        column="label",
        is_rare=(train_rare, few),
        train=train,
        held_out=held_out,
        synthetic=rows(60, 1.0, 2)[0],
        seed=0,
    )

    assert found.held_out_rare == 3
    assert found.sentence.endswith("add them.")


def test_recall_at_class_size_uses_highest_scores_and_splits_ties() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.random(300) < 0.2, rng.standard_normal(300)
    first = np.argsort(-scores)[: truth.sum()]
    assert recall_at_class_size(truth, scores) == pytest.approx(truth[first].mean())
    assert recall_at_class_size(truth, np.zeros(300)) == pytest.approx(truth.mean())


def test_measures_of_an_arm_equal_scikit_learn() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    (train, train_rare), (held_out, truth) = rows(1_500, 0.02, 0), rows(2_000, 0.1, 1)
    learner = HistGradientBoostingClassifier(early_stopping=False, random_state=0).fit(train.numbers, train_rare)
    scores = learner.decision_function(held_out.numbers)

    real = compared(rows(50, 1.0, 2)[0]).arms[0]

    assert real.average_precision.value == pytest.approx(average_precision_score(truth, scores))
    assert real.recall.value == pytest.approx(recall_score(truth, scores > 0))
    assert real.precision == pytest.approx(precision_score(truth, scores > 0))


def test_few_rows_of_a_class_are_rejected() -> None:
    (train, train_rare), (held_out, held_out_rare) = rows(300, 0.01, 0), rows(300, 0.5, 1)

    with pytest.raises(
        EvaluationInvalid,
        match="training rows are too few: expected 10 with this value of 'label' and 10 without, got 4 and",
    ):
        augmentation(
            COLUMNS,
            column="label",
            is_rare=(train_rare, held_out_rare),
            train=train,
            held_out=held_out,
            synthetic=held_out,
            seed=0,
        )
