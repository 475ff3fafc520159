"""One alarm rate for two alarms: exact on exchangeable rows, whatever the dependence of the two scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from aepipe.calibration.conformal import Calibration
from aepipe.calibration.shared_alpha import rank_cells, share_alpha, share_by_union

Doubles = NDArray[np.float64]


def _pairs(kind: str, generator: np.random.Generator, rows: int) -> tuple[Doubles, Doubles]:
    first = generator.normal(size=rows)
    second = {
        "independent": generator.normal(size=rows),
        "equal": first,
        "opposite": -first,
        "correlated": first + generator.normal(size=rows),
        "ties": np.round(generator.normal(size=rows), 1),
        "both tied": np.floor(np.abs(first)),
    }[kind]
    first = second if kind == "both tied" else first
    return first, second


@pytest.mark.parametrize("kind", ["independent", "equal", "opposite", "correlated", "ties", "both tied"])
@pytest.mark.parametrize(("rows", "alpha"), [(199, 0.01), (250, 0.02), (99, 0.05)])
def test_of_n_plus_1_exchangeable_rows_at_most_the_share_alpha_is_flagged_by_either_alarm(
    kind: str, rows: int, alpha: float
) -> None:
    """Each row in turn is the new one: the mean over the n + 1 choices is the alarm rate, without sampling error."""
    first, second = _pairs(kind, np.random.default_rng(rows), rows + 1)

    flags = [_is_flagged(first, second, new=new, alpha=alpha) for new in range(rows + 1)]

    assert np.mean(flags) <= alpha + 1e-12


@pytest.mark.parametrize("kind", ["independent", "equal", "opposite", "correlated", "ties", "both tied"])
@pytest.mark.parametrize(("rows", "cells", "alpha"), [(203, 900, 0.01), (99, 500, 0.02), (60, 61, 0.05)])
def test_further_rows_that_calibrate_the_cells_alone_keep_the_share_of_flagged_rows_at_alpha(
    kind: str, rows: int, cells: int, alpha: float
) -> None:
    generator, flagged, trials = np.random.default_rng(rows), 0, 3_000

    for _ in range(trials):
        first, second = _pairs(kind, generator, cells + 1)  # the last row is the new one
        shares = share_alpha(rank_cells(first[:rows], second[:-1]), rows=rows, cells=cells, alpha=alpha)
        by_row = (first[:rows] >= first[-1]).sum() < shares.first
        flagged += by_row or (second[:-1] >= second[-1]).sum() < shares.second

    assert flagged <= binom(trials, alpha).ppf(0.999)


def test_a_calibration_with_further_rows_for_the_cells_flags_by_both_ranks_and_survives_its_file() -> None:
    generator = np.random.default_rng(0)
    scores, cells = generator.normal(size=203), generator.normal(size=900)
    cells[np.argmax(scores)] = 9.0

    calibration = Calibration.fit(scores, alpha=0.01, cell_scores=cells)

    assert calibration.row_alpha == pytest.approx(2 / 204)  # the row with the highest score is flagged by its cell
    assert calibration.cell_alpha == pytest.approx(4 / 901)
    assert Calibration.model_validate_json(calibration.to_json()) == calibration
    with pytest.raises(ValueError, match="202 rows calibrate the cells: expected n = 203, or more without `union`"):
        Calibration(**dict(calibration) | {"cells": Calibration.fit(cells[:202], alpha=0.01)})


def test_a_row_that_is_high_in_both_takes_one_rank() -> None:
    shares = {}
    for kind in ("equal", "opposite"):
        first, second = _pairs(kind, np.random.default_rng(0), 999)
        shares[kind] = share_alpha(rank_cells(first, second), rows=999, cells=999, alpha=0.02)

    assert shares == {"equal": (20, 10), "opposite": (10, 10)}


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=10, max_size=100),
    st.integers(0, 50),
    st.sampled_from([0.05, 0.1, 0.3]),
)
def test_shares_are_the_greatest_at_which_the_score_alone_flags_its_half(
    pairs: list[tuple[int, int]], further: int, alpha: float
) -> None:
    first, second = np.array(pairs, float).T + np.linspace(0, 0.5, len(pairs))  # no ties
    cells = np.concatenate([second, np.linspace(0.1, 9.1, further)])
    n = len(first)

    shares = share_alpha(rank_cells(first, cells), rows=n, cells=len(cells), alpha=alpha)

    budget = int(alpha * (n + 1) + 1e-9)
    half = budget - budget // 2
    of_cells = set(np.argsort(-cells, kind="stable")[: shares.second].tolist())
    by_score = np.argsort(-first, kind="stable").tolist()
    alone = [1 + len(set(by_score[: rank - 1]) - of_cells) for rank in range(1, n + 1)]
    assert shares.second / (len(cells) + 1) + half / (n + 1) <= alpha + 1e-9
    assert shares.first == max((rank for rank in range(1, n + 1) if alone[rank - 1] <= half), default=half)


def test_a_file_with_a_union_keeps_its_shares() -> None:
    first, second = _pairs("opposite", np.random.default_rng(3), 999)
    calibration = Calibration.fit(first, alpha=0.02, cell_scores=second)

    earlier = Calibration(**dict(calibration) | {"cell_rows": (), "union": ((9, 17), (10, 19), (11, 21))})

    assert share_by_union(earlier.union, rows=999, alpha=0.02) == (10, 10)
    assert (earlier.row_alpha, earlier.cell_alpha) == (0.01, 0.01)
    assert b"cell_rows" not in earlier.to_json() and b"union" not in calibration.to_json()
    assert Calibration.model_validate_json(earlier.to_json()) == earlier


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
