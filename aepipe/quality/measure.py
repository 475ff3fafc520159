"""All measures of a set: of a table by its columns, of images and windows by the features that a model has of them."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows, align
from aepipe.quality.checks import Measures, RealBaseline
from aepipe.quality.classifier_two_sample import two_sample
from aepipe.quality.column_pair_trends import pair_trends
from aepipe.quality.column_shapes import column_shapes
from aepipe.quality.coverage import coverage
from aepipe.quality.distance_to_closest import closeness
from aepipe.quality.exact_copies import copies
from aepipe.quality.frechet import frechet_distance
from aepipe.quality.tstr import downstream

FEWEST_ROWS = 50
"""Of synthetic and of held-out rows each, for measures that learn or compare whole distributions."""
MOST_ROWS = 20_000
"""Of a side, for measures of columns."""


class Sides(NamedTuple):
    """The same columns of rows that were learned from, of rows that were not, and of synthetic ones."""

    train: pa.Table
    held_out: pa.Table
    synthetic: pa.Table


def measure_table(
    sides: Sides,
    *,
    categories: Collection[str],
    predict: str | None,
    seed: int,
    is_exchangeable: bool = True,
    is_comparable: bool = True,
) -> Measures:
    """Of a table. categories: the columns that are such, though their type is a number's. predict: for learners.

    is_alike: real rows are of the kind of the synthetic ones; where not, distributions are not compared.
    Raises EvaluationInvalid where `predict` cannot be foretold.
    """
    columns, rows = align(sides, categories)
    memory = _memory(sides, rows, seed=seed, is_exchangeable=is_exchangeable, why=_why(sides, is_comparable))
    if _too_few(sides) or not is_comparable or not columns.names:
        return memory
    learned, held_out, drawn = (_some(side, seed) for side in rows)
    as_many = learned.take(slice(0, len(drawn)))
    real = RealBaseline(
        shapes=column_shapes(columns, held_out, as_many).score,
        trends=pair_trends(columns, held_out, as_many, seed=seed).score,
    )
    return memory._replace(
        shapes=column_shapes(columns, held_out, drawn),
        trends=pair_trends(columns, held_out, drawn, seed=seed),
        two_sample=two_sample(columns, held_out, drawn, seed=seed),
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
    is_exchangeable: bool = True,
    is_comparable: bool = True,
) -> Measures:
    """Of rows that are points of a space, (B, Z) of each side; copies are equal in the source's own values.

    is_alike: as for tables.
    """
    rows = [Rows(np.asarray(side, np.float64), np.zeros((len(side), 0), np.int32)) for side in points]
    memory = _memory(sides, rows, seed=seed, is_exchangeable=is_exchangeable, why=_why(sides, is_comparable))
    if _too_few(sides) or not is_comparable:
        return memory
    learned, held_out, drawn = (_some(side, seed) for side in rows)
    columns = Columns(tuple(f"z_{at:03d}" for at in range(points[0].shape[1])), (), ())
    return memory._replace(
        two_sample=two_sample(columns, held_out, drawn, seed=seed),
        coverage=coverage(columns, train=learned, held_out=held_out, synthetic=drawn, seed=seed),
        frechet=frechet_distance(held_out.numbers, drawn.numbers),
        real_baseline=RealBaseline(
            frechet=frechet_distance(held_out.numbers, learned.take(slice(0, len(drawn))).numbers)
        ),
    )


def _memory(sides: Sides, rows: Sequence[Rows], *, seed: int, is_exchangeable: bool, why: str) -> Measures:
    """What is measured of every set, however small."""
    return Measures(copies(*sides), closeness(*rows, seed=seed), is_exchangeable=is_exchangeable, why=why)


def _some(rows: Rows, seed: int) -> Rows:
    """At most 20,000 of the rows, in random order."""
    return rows.take(np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS])


def _too_few(sides: Sides) -> bool:
    return bool(min(sides.held_out.num_rows, sides.synthetic.num_rows) < FEWEST_ROWS)


def _why(sides: Sides, is_comparable: bool) -> str:
    if not is_comparable:
        return f"fewer than {FEWEST_ROWS} held-out rows are of the kind that was asked for"
    drawn, held_out = sides.synthetic.num_rows, sides.held_out.num_rows
    return f"there are {drawn:,} synthetic and {held_out:,} held-out rows, {FEWEST_ROWS} of each are needed"
