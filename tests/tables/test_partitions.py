import re
from pathlib import Path
from typing import Any

import pytest

from aepipe.config.job import Job, parse_job
from aepipe.errors import DataUnreadable
from aepipe.tables.partitions import Partition, discover, select
from aepipe.tables.partitions import named as find_named


def make_job(folder: Path, path: str = ".", **data: Any) -> Job:
    return parse_job({"name": "test", "data": {"path": path, **data}}, source=folder / "job.toml")


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def names(folder: Path, **job: Any) -> list[str]:
    return [partition.name for partition in discover(make_job(folder, **job))]


def named(*partitions: str) -> list[Partition]:
    return [Partition(name, ()) for name in partitions]


def selected(partitions: list[Partition], first: str | None = None, last: str | None = None) -> list[str]:
    return [partition.name for partition in select(partitions, first, last)]


def test_each_key_value_folder_is_a_partition_with_its_files_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "dt=2026-01-02/b.parquet", "dt=2026-01-02/a.parquet", "dt=2026-01-01/part-0.parquet")

    first, second = discover(make_job(tmp_path))

    assert first == Partition("dt=2026-01-01", (tmp_path / "dt=2026-01-01/part-0.parquet",))
    assert second == Partition(
        "dt=2026-01-02", (tmp_path / "dt=2026-01-02/a.parquet", tmp_path / "dt=2026-01-02/b.parquet")
    )


def test_folders_may_be_nested_and_numbers_sort_as_numbers(tmp_path: Path) -> None:
    hours = [f"dt=2026-01-01/hour={hour}" for hour in range(24)]
    touch(tmp_path, *(f"{hour}/x.parquet" for hour in sorted(hours)), "dt=2025-12-31/hour=23/x.parquet")

    assert names(tmp_path) == ["dt=2025-12-31/hour=23", *hours]


def test_without_such_folders_every_file_is_a_partition(tmp_path: Path) -> None:
    touch(tmp_path, "week-10.parquet", "week-9.parquet", "readme.txt", "other.csv")

    assert names(tmp_path) == ["week-9", "week-10"]


def test_one_file_is_one_partition(tmp_path: Path) -> None:
    touch(tmp_path, "sales.parquet", "costs.parquet")

    assert discover(make_job(tmp_path, "sales.parquet")) == (Partition("sales", (tmp_path / "sales.parquet",)),)


def test_outputs_bundles_and_hidden_names_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "dt=1/x.parquet", "dt=1/.x.parquet", "dt=1/_x.parquet", "dt=1/x.parquet.tmp", "dt=1/_SUCCESS")
    touch(tmp_path, "out/scores/dt=9/part-0.parquet", "out/.aepipe/staging/dt=9/y.parquet")
    touch(tmp_path, "exported/test/v1/golden.parquet", "_temporary/dt=7/x.parquet", ".hidden/dt=8/x.parquet")

    (partition,) = discover(make_job(tmp_path))

    assert partition == Partition("dt=1", (tmp_path / "dt=1/x.parquet",))


def test_an_underscore_may_begin_a_key(tmp_path: Path) -> None:
    touch(tmp_path, "_day=1/x.parquet")

    assert names(tmp_path) == ["_day=1"]


def test_an_absolute_path_does_as_well(tmp_path: Path) -> None:
    touch(tmp_path, "rows/a.parquet")

    assert names(tmp_path / "jobs", path=str(tmp_path / "rows")) == ["a"]


def test_data_that_are_not_there_are_named_with_the_job_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable) as caught:
        discover(make_job(tmp_path, "rows"))

    assert str(caught.value) == (
        f"{tmp_path}/rows does not exist."
        f" Set data.path in {tmp_path}/job.toml to a folder of Parquet files, or one file."
    )


def test_a_folder_without_parquet_files_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "rows/readme.txt")

    with pytest.raises(
        DataUnreadable, match=r"rows holds no \.parquet file\. Set data\.path to the folder that holds them\.$"
    ):
        discover(make_job(tmp_path, "rows"))


def test_files_deeper_down_in_plain_folders_are_pointed_out(tmp_path: Path) -> None:
    touch(tmp_path, "rows/2026/01/a.parquet")

    with pytest.raises(
        DataUnreadable, match=r"rows/2026/01 holds some\. Name that folder, or rename folders to key=value\.$"
    ):
        discover(make_job(tmp_path, "rows"))


def test_partitions_of_two_kinds_are_refused_with_an_example_of_each(tmp_path: Path) -> None:
    touch(tmp_path, "rows/dt=1/a.parquet", "rows/loose.parquet")

    with pytest.raises(DataUnreadable) as caught:
        discover(make_job(tmp_path, "rows"))

    assert "partitions with different keys, such as 'dt=1/a.parquet' and 'loose.parquet'" in str(caught.value)


def test_the_jobs_partition_key_has_to_be_one_of_the_folders_keys(tmp_path: Path) -> None:
    touch(tmp_path, "dt=1/hour=2/a.parquet")

    assert names(tmp_path, partition="hour") == ["dt=1/hour=2"]
    with pytest.raises(DataUnreadable, match=r"is not partitioned by 'day': the folders' keys are dt, hour. Change"):
        discover(make_job(tmp_path, partition="day"))


def test_a_range_holds_both_its_ends_and_needs_no_key() -> None:
    nights = named(*(f"dt=2026-01-{day:02}" for day in range(1, 8)))

    assert selected(nights, "2026-01-02", "dt=2026-01-04") == ["dt=2026-01-02", "dt=2026-01-03", "dt=2026-01-04"]
    assert selected(nights, "2026-01-06") == ["dt=2026-01-06", "dt=2026-01-07"]
    assert selected(nights, last="2026-01-01") == ["dt=2026-01-01"]
    assert len(selected(nights)) == 7


def test_the_ends_of_a_range_need_not_exist() -> None:
    nights = named("dt=2026-01-03", "dt=2026-01-09")

    assert selected(nights, "2026-01-01", "2026-01-05") == ["dt=2026-01-03"]


def test_a_bound_that_is_cut_short_covers_what_goes_on_from_it() -> None:
    hours = named("dt=2026-01-31/hour=23", "dt=2026-02-01/hour=0", "dt=2026-02-01/hour=1", "dt=2026-03-01/hour=0")

    assert selected(hours, "2026-02-01", "2026-02-01") == ["dt=2026-02-01/hour=0", "dt=2026-02-01/hour=1"]
    assert selected(hours, last="2026-01") == ["dt=2026-01-31/hour=23"]
    assert selected(hours, "2026-02", "2026-02") == ["dt=2026-02-01/hour=0", "dt=2026-02-01/hour=1"]
    assert selected(hours, "dt=2026-02-01/hour=1") == ["dt=2026-02-01/hour=1", "dt=2026-03-01/hour=0"]


def test_a_bound_that_is_a_partition_covers_that_one_alone() -> None:
    files = named("part-1", "part-1-late", "part-2")

    assert selected(files, last="part-1") == ["part-1"]


def test_a_range_without_partitions_says_what_there_is() -> None:
    nights = named("dt=2026-01-03", "dt=2026-01-09")

    with pytest.raises(DataUnreadable) as caught:
        select(nights, "2026-02-01", None)

    assert str(caught.value) == (
        "no partition lies from '2026-02-01' to 'dt=2026-01-09': there are 2, from 'dt=2026-01-03' to 'dt=2026-01-09'."
        " Change the first or the last partition."
    )


def test_reversed_bounds_are_named() -> None:
    with pytest.raises(DataUnreadable, match="Exchange the first and the last"):
        select(named("dt=2026-01-03", "dt=2026-01-09"), "2026-01-09", "2026-01-03")


@pytest.mark.parametrize(
    ("partitions", "bound", "message"),
    [
        (["dt=1"], "day=1", "'day=1' is not a partition: partitions are named dt=..., such as 'dt=1'"),
        (["a", "b"], "dt=1", "'dt=1' is not a partition: partitions are files, such as 'a'"),
    ],
)
def test_a_bound_with_another_key_is_refused(partitions: list[str], bound: str, message: str) -> None:
    with pytest.raises(DataUnreadable, match=message.replace(".", r"\.")):
        select(named(*partitions), bound, None)


LAYOUTS = {
    "dt": "dt={0:04d}-{1:02d}-{2:02d}",
    "year/month/day": "year={0:04d}/month={1:02d}/day={2:02d}",
    "year/month/day without zeros": "year={0}/month={1}/day={2}",
    "dt/hour": "dt={0:04d}-{1:02d}-{2:02d}/hour=7",
    "a file per day": "events-{0:04d}-{1:02d}-{2:02d}",
    "a file per day, no dashes": "{0:04d}{1:02d}{2:02d}_events",
}
DAYS = [(2025, 12, 31), *((2026, month, day) for month in (1, 2, 10) for day in (1, 9, 10, 16))]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2026-02-09", "2026-02-10"),
        ("2026-02-09", None),
        (None, "2026-02-09"),
        ("2026-02", "2026-02"),
        ("2026", None),
        (None, "2025"),
        ("20260209", "2026-10"),
    ],
)
def test_a_date_means_the_same_in_every_layout(layout: str, first: str | None, last: str | None) -> None:
    def is_inside(day: tuple[int, ...]) -> bool:
        low, high = ((int(part) for part in re.findall(r"^\d{4}|\d{2}", bound or "")) for bound in (first, last))
        low, high = tuple(low), tuple(high)
        return day[: len(low)] >= low and (not high or day[: len(high)] <= high)

    partitions = named(*(LAYOUTS[layout].format(*day) for day in DAYS))

    found = selected(partitions, first, last)

    assert found == [LAYOUTS[layout].format(*day) for day in DAYS if is_inside(day)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_partition_is_found_by_its_date(layout: str) -> None:
    partitions = named(*(LAYOUTS[layout].format(*day) for day in DAYS))

    found = find_named(partitions, "2026-02-16")

    assert found is not None
    assert found.name == LAYOUTS[layout].format(2026, 2, 16)
    assert find_named(partitions, "2026-02-17") is None
    assert find_named(partitions, "2026-02") is None
