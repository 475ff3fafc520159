"""A bad file or folder affects its own partition only, in every command that reads the source."""

import os
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aepipe.config.job import Job, read_job
from aepipe.jobs.doctor import doctor
from aepipe.jobs.explain import explain
from aepipe.jobs.inspect import inspect
from aepipe.jobs.nightly import night
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import Outputs
from aepipe.tables.partitions import Partition, discover, select, well_placed


class Stopped(Exception):
    """Exception that ends a training before it begins."""


BAD, GOOD = "dt=2026-01-08", "dt=2026-01-07"
PART = "part-0.parquet"


def fifo(folder: Path) -> None:
    os.mkfifo(folder / PART)


def a_socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(PART)
    finally:
        os.chdir(here)


def link_to_itself(folder: Path) -> None:
    (folder / PART).symlink_to(PART)


def link_to_the_table(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to(folder.parent)


def link_to_its_folder(folder: Path) -> None:
    (folder / "hour=1").symlink_to(folder)


def corrupt(folder: Path) -> None:
    (folder / PART).write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")


def empty(folder: Path) -> None:
    (folder / PART).touch()


def name_that_is_not_utf_8(folder: Path) -> None:
    shutil.copy(folder.parent / GOOD / PART, os.fsencode(folder) + b"/part-\xff.parquet")


def damaged_footer(folder: Path) -> None:
    data = (folder.parent / GOOD / PART).read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    (folder / PART).write_bytes(data[:begin] + bytes([data[begin] ^ 0x55]) + data[begin + 1 :])


def column_name_that_is_not_utf_8(folder: Path) -> None:
    good = pq.read_table(folder.parent / GOOD / PART, partitioning=None)
    pq.write_table(good, folder / PART, store_schema=False)
    (folder / PART).write_bytes((folder / PART).read_bytes().replace(b"case_id", b"case\xffid"))


ENTRIES: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        fifo,
        a_socket,
        link_to_itself,
        link_to_the_table,
        link_to_its_folder,
        corrupt,
        empty,
        name_that_is_not_utf_8,
        damaged_footer,
        column_name_that_is_not_utf_8,
    )
}


def spoil(job: Path) -> list[str]:
    """Add a partition with a bad entry of each kind, and return their names."""
    names = [f"dt=2026-01-{day:02d}" for day, _ in enumerate(ENTRIES, 8)]
    for name, add in zip(names, ENTRIES.values(), strict=True):
        folder = job.parent / name
        folder.mkdir()
        add(folder)
    return names


def test_bad_entries_cost_their_own_partitions_in_every_command(
    scored_cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = scored_cells.read_text().replace("[evaluate]\nanomaly = \"diagnosis = 'malignant'\"\n", "")
    scored_cells.write_text(text)
    names = spoil(scored_cells)

    result = night(scored_cells)
    seen, health, found = inspect(scored_cells), doctor(scored_cells), explain(scored_cells, ["case-000"])

    bad = {each.partition.split("/")[0]: each for each in result.score.nights if each.status == "quarantined"}
    assert sorted(bad) == names
    assert all(name in each.reason for name, each in bad.items())
    assert sum(each.status == "already done" for each in result.score.nights) == len(result.score.nights) - len(names)
    result.model_dump_json()
    assert result.report is not None
    page = result.report.path.read_text()
    assert all(name in page for name in names)
    assert all(any(note.startswith(name) for note in seen.notes) for name in names)
    assert any(all(name in check.found for name in names) for check in health.checks if not check.ok)
    assert found
    assert "not searched" in caplog.text


def test_a_folder_without_rights_costs_its_partition_alone(scored_cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scored_cells.parent / BAD
    shutil.copytree(scored_cells.parent / GOOD, folder)
    real = os.access  # root may list any folder
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))

    scored = score(scored_cells)

    (bad,) = [each for each in scored.nights if each.status == "quarantined"]
    assert bad.partition == BAD
    assert "cannot be listed" in bad.reason
    assert "Grant read permission" in bad.reason


def test_a_folder_whose_name_is_not_utf_8_costs_its_partition_alone(scored_cells: Path) -> None:
    shutil.copytree(scored_cells.parent / GOOD, os.fsdecode(os.fsencode(scored_cells.parent) + b"/dt=\xff"))

    scored = score(scored_cells)

    (bad,) = [each for each in scored.nights if each.status == "quarantined"]
    assert bad.partition == "dt=\\xff"
    assert "Rename" in bad.reason
    scored.model_dump_json()


@pytest.mark.parametrize("note", [b"", b"[]", b"\xff", b'{"partition": 3}', b"[" * 100_000])
def test_a_broken_note_is_named_and_stops_nothing(scored_cells: Path, note: bytes) -> None:
    path = scored_cells.parent / "out" / ".aepipe" / "quarantine" / f"{GOOD}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(note)

    assert str(path) in Outputs(scored_cells.parent / "out").quarantined()[GOOD]
    assert not score(scored_cells).failed


@pytest.mark.parametrize("place", ["stray.parquet", "region=3/part-0.parquet", "dt=2026-01-07/hour=1/part-0.parquet"])
def test_a_misplaced_file_costs_no_other_partition(scored_cells: Path, place: str) -> None:
    stray = scored_cells.parent / place
    stray.parent.mkdir(exist_ok=True)
    shutil.copy(scored_cells.parent / GOOD / PART, stray)

    scored, seen = score(scored_cells), inspect(scored_cells)

    (bad,) = [each for each in scored.nights if each.status == "quarantined"]
    assert "is misplaced: expected a folder dt=..." in bad.reason
    assert str(stray) in bad.reason
    assert all(each.status == "already done" for each in scored.nights if each is not bad)
    assert any(bad.reason in note for note in seen.notes)
    learned_from: list[str] = []

    def refuse(job: Job, partitions: Sequence[Partition], *_: object, **__: object) -> None:
        learned_from.extend(partition.name for partition in partitions)
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("aepipe.jobs.train.train._train", refuse)
        train(scored_cells, force=True)
    assert learned_from
    assert bad.partition not in learned_from


def test_a_misplaced_file_does_not_change_what_a_range_of_dates_selects(scored_cells: Path) -> None:
    shutil.copy(scored_cells.parent / GOOD / PART, scored_cells.parent / "stray.parquet")

    chosen = select(discover(read_job(scored_cells)), "2026-01-03", "2026-01-04")

    assert [partition.name for partition in well_placed(chosen)] == ["dt=2026-01-03", "dt=2026-01-04"]
