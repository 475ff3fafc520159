"""Rows that satisfy a constraint keep the shares of all rows."""

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from aepipe.jobs.sample.share_correction import ShareCorrection

ROWS = 40_000


def drawn(seed: int) -> tuple[pa.RecordBatch, NDArray[np.bool_]]:
    """Return flights, and whether each lands after its start, which hardly any of two carriers' draws do."""
    rng = np.random.default_rng(seed)
    carrier, month = rng.choice(6, ROWS, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01]), rng.integers(1, 13, ROWS)
    delay = rng.lognormal(2 + carrier / 4, 1)
    holds = rng.random(ROWS) < np.array([0.95, 0.9, 0.5, 0.2, 0.9, 0.5])[carrier] * np.where(month > 6, 1, 0.6)
    names = pa.array([None if code == 5 else f"carrier {code}" for code in carrier.tolist()])
    return pa.record_batch({"carrier": names, "month": month, "delay": delay}), holds


def variation(first: pa.Array, second: pa.Array) -> float:
    """Return the total variation of two columns."""
    counts = [
        dict(zip(*map(pa.Array.to_pylist, each.value_counts().flatten()), strict=True)) for each in (first, second)
    ]
    values = set(counts[0]) | set(counts[1])
    return sum(abs(counts[0].get(one, 0) / len(first) - counts[1].get(one, 0) / len(second)) for one in values) / 2


def test_shares_of_rows_that_are_kept_are_those_of_all_draws() -> None:
    pilot, holds = drawn(0)
    fresh, of_fresh = drawn(1)

    correction = ShareCorrection([pilot], [holds])
    kept = correction.kept(fresh, np.random.default_rng(2).random(ROWS)) & of_fresh

    rejected, found = fresh.filter(pa.array(of_fresh)), fresh.filter(pa.array(kept))
    for name in ("carrier", "month"):
        assert variation(rejected[name], fresh[name]) > 0.1
        assert variation(found[name], fresh[name]) < 0.02
    means = [np.log(np.asarray(each["delay"])).mean() for each in (fresh, rejected, found)]
    assert abs(means[2] - means[0]) < abs(means[1] - means[0]) / 4
    assert kept.mean() > of_fresh.mean() / 5


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_rows_are_kept_as_they_are_where_all_or_few_satisfy_the_constraints(share: float) -> None:
    pilot, _ = drawn(0)
    holds = np.arange(ROWS) < share * ROWS

    assert ShareCorrection([pilot], [holds]).kept(pilot, np.full(ROWS, 0.999)).all()


def test_one_uniform_decides_on_a_row_whatever_the_batch() -> None:
    pilot, holds = drawn(0)
    correction, uniform = ShareCorrection([pilot], [holds]), np.random.default_rng(2).random(ROWS)

    whole = correction.kept(pilot, uniform)

    parts = [
        correction.kept(pilot.slice(begin, 7_000), uniform[begin : begin + 7_000]) for begin in range(0, ROWS, 7_000)
    ]
    assert np.array_equal(whole, np.concatenate(parts))
