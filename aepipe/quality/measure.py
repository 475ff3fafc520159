"""All measures of a sample set: of tables by column, of images and series by the features of the model."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows, align
from aepipe.quality.checks import Measures, RealBaseline
from aepipe.quality.classifier_two_sample import TwoSample, two_sample
from aepipe.quality.column_moments import column_moments
from aepipe.quality.column_pair_trends import pair_trends
from aepipe.quality.column_shapes import column_shapes
from aepipe.quality.coverage import coverage
from aepipe.quality.design_matrix import stacked
from aepipe.quality.distance_to_closest import closeness
from aepipe.quality.exact_copies import copies
from aepipe.quality.frechet import frechet_distance
from aepipe.quality.membership import membership
from aepipe.quality.near_copies import near_copies
from aepipe.quality.tstr import downstream

FEWEST_ROWS = 50
"""Minimum of synthetic and of held-out rows, for measures that train learners or compare distributions."""
MOST_ROWS = 20_000
"""Maximum per side, for measures of columns."""


class Sides(NamedTuple):
    """The same columns of training rows, held-out rows and synthetic rows."""

    train: pa.Table
    held_out: pa.Table
    synthetic: pa.Table


def measure_table(
    sides: Sides,
    *,
    categories: Collection[str],
    predict: str | None,
    seed: int,
    rows_per_entity: float = 1.0,
    is_exchangeable: bool = True,
    is_comparable: bool = True,
) -> Measures:
    """Measure a sample set of a table.

    Args:
        sides: Rows of all sides.
        categories: Columns that are categories although their type is a number.
        predict: Column that learners predict; None: none.
        seed: Random seed.
        rows_per_entity: Mean number of rows of an entity, which are alike, if rows come in sequences.
        is_exchangeable: Training and held-out rows come from the same period.
        is_comparable: Real rows match the request for the synthetic ones; if not, distributions are not compared.

    Raises:
        EvaluationInvalid: `predict` cannot be predicted.
    """
    columns, rows = align(sides, categories)
    memorization = _memorization(
        sides, rows, seed=seed, is_exchangeable=is_exchangeable, why=_why(sides, is_comparable)
    )
    if columns.names and len(sides.synthetic):
        memorization = memorization._replace(near_copies=near_copies(*rows, seed=seed))
    if _too_few(sides) or not is_comparable or not columns.names:
        return memorization
    learned, held_out, drawn = (_shuffled(side, seed) for side in rows)
    baseline = learned.take(slice(0, len(drawn)))
    pairs = pair_trends(columns, held_out, baseline, seed=seed)
    real = RealBaseline(
        shapes=column_shapes(columns, held_out, baseline).score,
        trends=pairs.score,
        pairs=pairs,
        # rows of one period are exchangeable: no classifier tells them apart
        trees=0.5 if is_exchangeable else two_sample(columns, held_out, learned, seed=seed).trees.value,
        rows=max(int(min(len(held_out), len(drawn)) / rows_per_entity), 1),
    )
    return memorization._replace(
        shapes=column_shapes(columns, held_out, drawn),
        moments=column_moments(columns, held_out, drawn, both=stacked((learned, held_out))),
        trends=pair_trends(columns, held_out, drawn, seed=seed),
        membership=membership(columns, *rows, seed=seed),
        two_sample=_unshuffled(two_sample(columns, held_out, drawn, seed=seed), sides.synthetic.num_rows, seed),
        coverage=coverage(columns, train=learned, held_out=held_out, synthetic=drawn, seed=seed),
        downstream=None
        if predict is None
        else downstream(columns, predict, train=learned, held_out=held_out, synthetic=drawn, seed=seed),
        real_baseline=real,
    )


def measure_points(
    sides: Sides,
    points: tuple[NDArray[np.floating], ...],
    *,
    seed: int,
    fixed: tuple[NDArray[np.floating], ...] | None = None,
    is_exchangeable: bool = True,
    is_comparable: bool = True,
) -> Measures:
    """Measure a sample set of images or series by their features; exact copies are equal in the source's values.

    Args:
        sides: Rows of all sides.
        points: Features of the rows of each side by the model, (B, Z).
        fixed: Features of each side for the Frechet distance, (B, F), the same for all models; None: `points`.
        seed: Random seed.
        is_exchangeable: Training and held-out rows come from the same period.
        is_comparable: Real rows match the request for the synthetic ones; if not, distributions are not compared.
    """
    rows = [Rows(np.asarray(side, np.float64), np.zeros((len(side), 0), np.int32)) for side in points]
    memorization = _memorization(
        sides, rows, seed=seed, is_exchangeable=is_exchangeable, why=_why(sides, is_comparable)
    )
    if _too_few(sides) or not is_comparable:
        return memorization
    learned, held_out, drawn = (_shuffled(side, seed) for side in rows)
    of_training, of_held_out, of_drawn = points if fixed is None else fixed
    columns = Columns(tuple(f"z_{index:03d}" for index in range(points[0].shape[1])), (), ())
    return memorization._replace(
        membership=membership(columns, *rows, seed=seed),
        two_sample=two_sample(columns, held_out, drawn, seed=seed),
        coverage=coverage(columns, train=learned, held_out=held_out, synthetic=drawn, seed=seed),
        frechet=frechet_distance(of_held_out, of_drawn),
        real_baseline=RealBaseline(frechet=frechet_distance(of_held_out, of_training[: len(of_drawn)])),
    )


def _memorization(sides: Sides, rows: Sequence[Rows], *, seed: int, is_exchangeable: bool, why: str) -> Measures:
    """Measure memorization, which needs no minimum of rows."""
    return Measures(copies(*sides), closeness(*rows, seed=seed), is_exchangeable=is_exchangeable, why=why)


def _shuffled(rows: Rows, seed: int) -> Rows:
    """Shuffle rows and keep at most 20,000."""
    return rows.take(_order(len(rows), seed))


def _order(rows: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(rows)[:MOST_ROWS]


def _unshuffled(found: TwoSample, rows: int, seed: int) -> TwoSample:
    """Name the least plausible rows by their index in the set."""
    order = _order(rows, seed)
    return found._replace(
        least_plausible=tuple(each._replace(row=int(order[each.row])) for each in found.least_plausible)
    )


def _too_few(sides: Sides) -> bool:
    return bool(min(sides.held_out.num_rows, sides.synthetic.num_rows) < FEWEST_ROWS)


def _why(sides: Sides, is_comparable: bool) -> str:
    if not is_comparable:
        return f"fewer than {FEWEST_ROWS} held-out rows match the request"
    drawn, held_out = sides.synthetic.num_rows, sides.held_out.num_rows
    return f"too few rows: {drawn:,} synthetic and {held_out:,} held-out, expected {FEWEST_ROWS} of each"
