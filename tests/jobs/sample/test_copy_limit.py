"""Draws are copies of training rows no more often than held-out rows are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.sample.copy_limit import PILOT_ROWS, CopyLimit, fit_copy_limit
from aepipe.jobs.sample.reference_data import Reference
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train
from aepipe.quality.exact_copies import copies

JOB = """
name = "parts"
[data]
path = "rows"
[columns]
length = "number"
width = "number"
height = "number"
[model]
family = "tabular_vae"
[train]
epochs = 20
[run]
device = "cpu"
"""


def grid(cells: np.ndarray) -> pa.Table:
    return pa.table({"length": cells // 400, "width": cells // 20 % 20, "height": cells % 20})


def test_rows_of_a_table_without_duplicates_are_never_copied() -> None:
    rng = np.random.default_rng(0)
    cells = rng.permutation(8_000)
    reference = Reference(grid(cells[:1_500]), grid(cells[1_500:2_000]))
    pilot, fresh = (grid(rng.integers(0, 8_000, PILOT_ROWS)) for _ in range(2))

    limit = fit_copy_limit(reference, pilot, seed=1)

    assert copies(*reference.sides, pilot).share == pytest.approx(1_500 / 8_000, abs=0.02)
    assert limit is not None
    assert copies(*reference.sides, kept(limit, fresh)).share == 0


def test_copies_are_kept_in_the_share_of_the_held_out_rows() -> None:
    rng = np.random.default_rng(0)
    real, more = (grid(rng.integers(0, 8_000, size)) for size in (1_500, 5_000))
    drawn = [grid(np.where(rng.random(PILOT_ROWS) < 0.4, 400 * 20, rng.integers(0, 8_000, PILOT_ROWS))) for _ in "ab"]
    first = pa.concat_tables([real, grid(np.array([8_000]))])  # the row that 40 % of the draws repeat

    limit = fit_copy_limit(Reference(first, more), drawn[0], seed=1)

    assert limit is not None
    wanted = copies(first, more, drawn[1]).held_out
    assert copies(first, more, kept(limit, drawn[1])).share == pytest.approx(wanted, abs=0.02)


def test_draws_that_repeat_rows_as_real_rows_do_have_no_limit() -> None:
    rng = np.random.default_rng(0)
    real, more, pilot = (grid(rng.integers(0, 8_000, size)) for size in (1_500, 5_000, PILOT_ROWS))

    assert fit_copy_limit(Reference(real, more), pilot, seed=1) is None


def kept(limit: CopyLimit, rows: pa.Table) -> pa.Table:
    (batch,) = rows.combine_chunks().to_batches()
    return rows.filter(pa.array(limit.holds(batch, np.ones(rows.num_rows, np.bool_))))


@pytest.mark.slow
def test_a_set_of_a_table_without_duplicates_is_published_without_copies(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).permutation(8_000)[:2_000]
    (tmp_path / "rows").mkdir()
    pq.write_table(grid(cells), tmp_path / "rows" / "part.parquet")
    job = tmp_path / "job.toml"
    job.write_text(JOB)

    train(job)
    found = sample(job, rows=3_000, seed=1)
    again = sample(job, rows=2_000, seed=1, name="fewer")

    made = [pq.read_table(each.path) for each in (found, again)]
    assert not found.missed
    assert found.quality["copies"] == 0
    assert found.rejected[CopyLimit.title] > 0.1 * 3_000
    assert made[0].num_rows == 3_000
    assert (
        made[0]
        .slice(0, 2_000)
        .select(["length", "width", "height"])
        .equals(made[1].select(["length", "width", "height"]))
    )
    for name in ("length", "width", "height"):
        assert made[0][name].to_numpy().mean() == pytest.approx(grid(cells)[name].to_numpy().mean(), abs=0.4)
