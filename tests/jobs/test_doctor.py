"""Checks of a job's folders."""

import errno
from pathlib import Path

import pytest

from aepipe.jobs.doctor import Check, doctor
from aepipe.storage import atomic_files


def check_of(job: Path, what: str) -> Check:
    (found,) = [check for check in doctor(job).checks if check.what == what]
    return found


def test_a_folder_that_can_be_written_is_ok_and_stays_as_it_is(cells: Path) -> None:
    before = sorted(cells.parent.rglob("*"))

    assert check_of(cells, "outputs can be written").ok
    assert check_of(cells, "bundles can be written").ok
    assert sorted(cells.parent.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_not_ok(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(atomic_files, "sync", full)  # root may write to any folder, so permissions show nothing

    found = check_of(cells, "outputs can be written")
    assert not found.ok
    assert "No space left on device. Free space" in found.found


def test_an_output_path_below_a_file_is_not_ok(cells: Path) -> None:
    (cells.parent / "taken").write_text("")
    cells.write_text(cells.read_text().replace('path = "out"', 'path = "taken/out"'))

    assert not check_of(cells, "outputs can be written").ok
