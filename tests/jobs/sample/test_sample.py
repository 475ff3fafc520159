"""Synthetic rows on disk."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.errors import ArgumentInvalid, JobInvalid
from aepipe.jobs.sample.nightly_set import partition_seed, sample_nightly, today
from aepipe.jobs.sample.sample import new_keys, sample

PLACE = "dt=2026-02-01"


def test_samples_have_source_columns_types_and_ranges(cells: Path) -> None:
    result = sample(cells, rows=300, seed=1, partition=PLACE)

    drawn = pq.read_table(result.path, partitioning=None)
    source = pq.read_table(cells.parent / "dt=2026-01-01" / "part-0.parquet", partitioning=None)
    learned = [
        pq.read_table(cells.parent / f"dt=2026-01-{day:02d}" / "part-0.parquet", partitioning=None)
        for day in range(1, 5)
    ]
    assert drawn.num_rows == 300
    assert drawn.column_names == [*source.column_names, "seed", "model_version"]
    for name in source.column_names:
        assert drawn.schema.field(name).type == source.schema.field(name).type, name
    assert drawn["diagnosis"].null_count == 300
    assert pc.count_distinct(drawn["case_id"]).as_py() == 300
    for name in ("mean_radius", "worst_area"):
        values = np.concatenate([table[name].to_numpy() for table in learned])
        assert drawn[name].to_numpy().min() >= values.min()
        assert drawn[name].to_numpy().max() <= values.max()
        assert abs(drawn[name].to_numpy().mean() - values.mean()) < values.std() / 2
        assert 0.5 < drawn[name].to_numpy().std() / values.std() < 1.5


def test_same_seed_gives_same_rows_and_other_seed_other_rows(cells: Path) -> None:
    first = pq.read_table(sample(cells, rows=50, seed=1, partition="a").path, partitioning=None)
    same = pq.read_table(sample(cells, rows=80, seed=1, partition="b").path, partitioning=None)
    other = pq.read_table(sample(cells, rows=50, seed=2, partition="c").path, partitioning=None)

    assert same.slice(0, 50).equals(first)
    assert not other["mean_radius"].equals(first["mean_radius"])


def test_repeated_call_writes_nothing(cells: Path) -> None:
    first = sample(cells, rows=50, seed=1, partition=PLACE)
    before = first.path.stat().st_mtime_ns

    second = sample(cells, rows=50, seed=1, partition=PLACE)

    assert first.created
    assert not second.created
    assert second.path.stat().st_mtime_ns == before


def test_python_draws_the_same_rows(cells: Path) -> None:
    written = pq.read_table(sample(cells, rows=40, seed=5, partition=PLACE).path, partitioning=None).to_pandas()

    drawn = aepipe.load(cells.parent / "exported" / "cells").sample(40, seed=5)

    np.testing.assert_allclose(drawn["worst_area"], written["worst_area"])


@pytest.mark.parametrize("rows", [0, -5, 2.5, True, "7"])
def test_other_numbers_than_one_or_more_whole_rows_are_refused_and_the_set_stays(cells: Path, rows: object) -> None:
    before = sample(cells, rows=5, partition="b")

    with pytest.raises(ArgumentInvalid, match="rows: expected a whole number of at least 1, got"):
        sample(cells, rows=rows, partition="b")  # type: ignore[arg-type]

    assert pq.read_metadata(before.path).num_rows == 5


def test_named_set_has_a_folder_and_rows_of_its_own(cells: Path) -> None:
    first, second = sample(cells, rows=5, name="trial"), sample(cells, rows=5, name="other-trial")

    assert first.path.parent.name == "trial"
    assert first.seed != second.seed
    assert not sample(cells, rows=5, name="trial").created
    for name in ("dt=2026-01-01", "a/b", "", ".hidden"):
        with pytest.raises(ArgumentInvalid, match="name: expected up to 64 letters, digits, - and _, got"):
            sample(cells, rows=5, name=name)
    with pytest.raises(ArgumentInvalid, match="name: expected a name or a partition, got 'x' and 'y'"):
        sample(cells, rows=5, name="x", partition="y")


def test_nightly_set_never_replaces_a_set_made_on_request(cells: Path) -> None:
    asked = sample(cells, rows=7)

    nightly = sample_nightly(cells)

    assert nightly is not None
    assert nightly.path.parent.name == f"nightly-{today().removeprefix('dt=')}"
    assert pq.read_metadata(asked.path).num_rows == 7
    assert sample_nightly(cells) is None


def test_nightly_set_is_written_to_the_partition_of_the_day(cells: Path) -> None:
    nightly = sample_nightly(cells)

    assert nightly is not None
    assert nightly.path.parent.name == today()
    assert sample_nightly(cells) is None
    assert not sample(cells).created


def test_images_have_the_format_of_the_source(digits: Path) -> None:
    result = sample(digits, rows=20, seed=1, partition=PLACE)

    scans = pq.read_table(result.path, partitioning=None)["scan"].to_pylist()
    assert {len(scan) for scan in scans} == {64}
    assert max(max(scan) for scan in scans) <= 16
    assert len(set(scans)) == 20


def test_unknown_prior_is_rejected(cells: Path) -> None:
    with pytest.raises(JobInvalid, match="mixture or normal, got 'mixtrue'"):
        sample(cells, prior="mixtrue")


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.string(), pa.large_string()])
def test_new_keys_are_unique_within_and_across_sets_and_reproducible(kind: pa.DataType) -> None:
    def keys(seed: int) -> list[object]:
        halves = [np.arange(500), np.arange(500, 1_000)]
        return [key for rows in halves for key in new_keys(kind, rows, seed=seed, total=1_000).to_pylist()]

    sets = [keys(partition_seed(0, f"dt=2026-01-{day:02d}")) for day in range(1, 31)]

    assert len({key for each in sets for key in each}) == 30_000
    assert keys(7) == keys(7)
    assert all(not isinstance(key, int) or key < 0 for each in sets for key in each)
