"""One alarm rate for two alarms: exact on exchangeable rows, whatever the dependence of the two scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from aepipe.calibration.conformal import Calibration
from aepipe.calibration.shared_alpha import count_union, share_alpha, share_unequal

Doubles = NDArray[np.float64]


def _pairs(kind: str, generator: np.random.Generator, rows: int) -> tuple[Doubles, Doubles]:
    first = generator.normal(size=rows)
    second = {
        "independent": generator.normal(size=rows),
        "equal": first,
        "opposite": -first,
        "correlated": first + generator.normal(size=rows),
        "ties": np.round(generator.normal(size=rows), 1),
    }[kind]
    return first, second


@pytest.mark.parametrize("kind", ["independent", "equal", "opposite", "correlated", "ties"])
@pytest.mark.parametrize(("rows", "alpha"), [(199, 0.01), (250, 0.02), (99, 0.05)])
def test_of_n_plus_1_exchangeable_rows_at_most_the_share_alpha_is_flagged_by_either_alarm(
    kind: str, rows: int, alpha: float
) -> None:
    """Each row in turn is the new one: the mean over the n + 1 choices is the alarm rate, without sampling error."""
    first, second = _pairs(kind, np.random.default_rng(rows), rows + 1)

    flags = [_is_flagged(first, second, new=new, alpha=alpha) for new in range(rows + 1)]

    assert np.mean(flags) <= alpha + 1e-12


@pytest.mark.parametrize("kind", ["independent", "equal", "opposite", "correlated", "ties"])
@pytest.mark.parametrize(("rows", "cells", "alpha"), [(203, 900, 0.01), (99, 500, 0.02), (60, 61, 0.05)])
def test_further_rows_that_calibrate_the_cells_alone_keep_the_share_of_flagged_rows_at_alpha(
    kind: str, rows: int, cells: int, alpha: float
) -> None:
    generator, flagged, trials = np.random.default_rng(rows), 0, 3_000

    shares = share_unequal(rows=rows, cells=cells, alpha=alpha)
    for _ in range(trials):
        first, second = _pairs(kind, generator, cells + 1)  # the last row is the new one
        by_row = (first[:rows] >= first[-1]).sum() < shares.first
        flagged += by_row or (second[:-1] >= second[-1]).sum() < shares.second

    assert shares.first / (rows + 1) + shares.second / (cells + 1) <= alpha + 1e-12
    assert flagged <= binom(trials, alpha).ppf(0.999)


def test_a_calibration_with_further_rows_for_the_cells_flags_by_both_ranks_and_survives_its_file() -> None:
    generator = np.random.default_rng(0)
    scores, cells = generator.normal(size=203), generator.normal(size=900)

    calibration = Calibration.fit(scores, alpha=0.01, cell_scores=cells)

    assert calibration.row_alpha == pytest.approx(1 / 204)
    assert calibration.cell_alpha == pytest.approx(4 / 901)
    assert Calibration.model_validate_json(calibration.to_json()) == calibration
    assert not calibration.union
    with pytest.raises(ValueError, match="202 rows calibrate the cells: expected n = 203, or more without `union`"):
        Calibration(**dict(calibration) | {"cells": Calibration.fit(cells[:202], alpha=0.01)})


def test_equal_scores_lose_at_most_one_rank_and_opposite_scores_one_half() -> None:
    first, opposite = (_pairs(kind, np.random.default_rng(0), 999) for kind in ("equal", "opposite"))

    assert share_alpha(count_union(*first), rows=999, alpha=0.02) == (19, 19)
    assert share_alpha(count_union(*opposite), rows=999, alpha=0.02) == (10, 10)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=400))
def test_the_union_is_counted_as_by_definition(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, float).T

    for rank, count in count_union(first, second):
        among = [(first >= a).sum() <= rank or (second >= b).sum() <= rank for a, b in pairs]
        assert count == sum(among)


def test_few_rows_leave_all_of_alpha_to_the_score() -> None:
    first, second = _pairs("independent", np.random.default_rng(0), 150)

    calibration = Calibration.fit(first, alpha=0.01, cell_scores=second)

    assert (calibration.row_alpha, calibration.cell_alpha) == (0.01, 0.0)


def test_a_calibration_with_cells_survives_its_file_and_one_without_keeps_its_bytes() -> None:
    first, second = _pairs("correlated", np.random.default_rng(0), 400)
    calibration = Calibration.fit(first, alpha=0.05, cell_scores=second)

    read = Calibration.model_validate_json(calibration.to_json())

    assert read == calibration and read.cell_alpha == calibration.cell_alpha > 0
    assert read.without_cells().to_json() == Calibration.fit(first, alpha=0.05).to_json()
    assert b"cells" not in Calibration.fit(first, alpha=0.05).to_json()
    assert calibration.with_alpha(0.2).cell_alpha > calibration.cell_alpha


def test_a_score_is_flagged_above_the_threshold_of_its_share() -> None:
    first, second = _pairs("opposite", np.random.default_rng(3), 999)
    calibration = Calibration.fit(first, alpha=0.02, cell_scores=second)
    scores = np.linspace(-4, 4, 2_001)

    flagged = calibration.is_anomaly(calibration.p_values(scores))

    assert flagged.tolist() == (scores > calibration.threshold).tolist()
    assert (first > calibration.threshold).sum() == 9  # the highest nine of 999 have p <= 10 / 1,000


def _is_flagged(first: Doubles, second: Doubles, *, new: int, alpha: float) -> bool:
    others = np.delete(np.arange(len(first)), new)
    calibration = Calibration.fit(first[others], alpha=alpha, cell_scores=second[others])
    assert calibration.cells is not None
    by_row = calibration.is_anomaly(calibration.p_values(first[new : new + 1]))
    by_cell = calibration.is_cell_anomaly(calibration.cells.p_values(second[new : new + 1]))
    return bool(by_row[0] or by_cell[0])
