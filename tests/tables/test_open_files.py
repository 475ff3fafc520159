"""A command opens each Parquet file once, and notices a file that was replaced in between."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.jobs.evaluate.compare import compare
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.inspect import inspect
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import put_parquet
from aepipe.tables.open_files import FooterContent, files_opened_once, of_file
from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.partitions import discover
from tests.support.two_models import write_job


def rows_of(path: Path) -> list[int]:
    return pa.Table.from_batches(slices([path], None, rows=10))["x"].to_pylist()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often pyarrow opens each path."""
    counts: Counter[str] = Counter()
    original = pq.ParquetFile.__init__

    def count(self: pq.ParquetFile, source: Any, *arguments: Any, **options: Any) -> None:
        if isinstance(source, Path):
            counts[str(source)] += 1
        original(self, source, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "__init__", count)
    return counts


def test_a_file_is_opened_once_in_a_block_and_again_if_it_was_replaced(tmp_path: Path, opened: Counter[str]) -> None:
    path = tmp_path / "a.parquet"
    put_parquet(path, pa.table({"x": [1, 2, 3]}))
    with files_opened_once():
        with files_opened_once():
            assert rows_of(path) == rows_of(path) == [1, 2, 3]
        assert read_footer(path).rows == 3
        assert opened[str(path)] == 1
        put_parquet(path, pa.table({"x": [4, 5]}))
        assert rows_of(path) == [4, 5]
        assert opened[str(path)] == 2
    assert rows_of(path) == [4, 5]
    assert opened[str(path)] == 3


def test_the_footer_of_a_plan_is_for_its_reader_once_and_only_while_the_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    put_parquet(path, pa.table({"x": [1, 2, 3]}))
    first, second = (read_footer(path, ["x"], keep=True).parsed for _ in range(2))
    assert first is not None
    assert second is not None

    rows = pa.Table.from_batches(slices([path], ["x"], rows=2, parsed=first))

    assert rows["x"].to_pylist() == [1, 2, 3]
    assert first.take() == FooterContent()
    put_parquet(path, pa.table({"x": range(1_000)}))
    assert pa.Table.from_batches(slices([path], ["x"], rows=2_000, parsed=second)).num_rows == 1_000


def test_scoring_reads_the_footer_of_a_partition_of_one_file_once(tmp_path: Path, monkeypatch: Any) -> None:
    known: list[bool] = []
    original = pq.ParquetFile.__init__

    def note(self: pq.ParquetFile, source: Any, *, metadata: Any = None, **options: Any) -> None:
        if isinstance(source, Path) and "rows" in source.parts:
            known.append(metadata is not None)
        original(self, source, metadata=metadata, **options)

    job = write_job(tmp_path)
    monkeypatch.setattr(pq.ParquetFile, "__init__", note)
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")

    score(job, partitions=["dt=2026-03-01"], workers=1)

    assert known == [False, True]


def test_two_readers_of_one_open_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    put_parquet(path, pa.table({"x": range(1_000)}))
    with files_opened_once():
        pairs = zip(slices([path], None, rows=7), slices([path], None, rows=7), strict=True)
        assert all(one.equals(other) for one, other in pairs)


def test_a_bounded_number_of_files_stays_open(tmp_path: Path) -> None:
    made = 0

    def make() -> int:
        nonlocal made
        made += 1
        return made

    paths = [tmp_path / str(number) for number in range(100)]
    for path in paths:
        path.touch()
    with files_opened_once():
        for path in paths:
            of_file(path, "x", make)
        assert of_file(paths[-1], "x", make) == 100
        assert of_file(paths[0], "x", make) == 101


@pytest.mark.slow
def test_each_command_opens_every_source_once(scored_cells: Path, opened: Counter[str]) -> None:
    sources = {str(file) for partition in discover(read_job(scored_cells)) for file in partition.files}

    for command in (
        lambda: train(scored_cells, force=True),
        *(
            lambda each=each: each(scored_cells)
            for each in (inspect, compare, evaluate, report)  # type: ignore[misc]
        ),
    ):
        opened.clear()
        command()
        assert {path: count for path, count in opened.items() if path in sources and count > 1} == {}
