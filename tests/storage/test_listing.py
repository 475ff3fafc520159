"""A folder that cannot be listed is an error, and never taken for an empty one."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aepipe.cli.interrupts import describe_os_error
from aepipe.cli.main import app
from aepipe.storage import SCORE, Outputs
from aepipe.storage.listing import entries, files_below
from aepipe.storage.quarantine import read_notes
from aepipe.storage.verify import find_faults, partitions_of


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, int], None]:
    """Fail the listing of a folder; rights would not, for the root user."""
    list_folder = os.scandir

    def deny(folder: Path, number: int) -> None:
        def scandir(path: Any = ".") -> Any:
            if os.fspath(path) == os.fspath(folder):
                raise OSError(number, os.strerror(number), str(path))
            return list_folder(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return deny


def test_files_are_found_at_every_depth_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("a.json", "b/c.json", "b/d/e.json", "b/f.txt"):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "here" / "b")

    assert set(files_below(tmp_path / "here", "*.json")) == set((tmp_path / "here").rglob("*.json"))
    assert list(files_below(tmp_path / "absent")) == []
    assert entries(tmp_path / "absent") == []
    assert list(files_below(tmp_path / "here" / "a.json")) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("folder", ["manifests/score", "quarantine", "forgotten"])
def test_a_denied_folder_of_the_outputs_is_an_error(
    tmp_path: Path, deny: Callable[[Path, int], None], folder: str, number: int
) -> None:
    hidden = tmp_path / ".aepipe"
    looks: dict[str, list[Callable[[], object]]] = {
        "manifests/score": [lambda: Outputs(tmp_path).manifests(SCORE), lambda: partitions_of(tmp_path, SCORE)],
        "quarantine": [lambda: read_notes(tmp_path)],
        "forgotten": [lambda: find_faults(tmp_path, wait_s=0)],
    }
    (hidden / folder).mkdir(parents=True)
    assert all(not look() for look in looks[folder])

    deny(hidden / folder, number)

    for look in looks[folder]:
        with pytest.raises(OSError, match=os.strerror(number)):
            look()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "evaluate", "drift", "alert --dry-run", "backfill --dry-run", "verify"])
def test_commands_name_the_folder_that_they_cannot_list(
    scored_cells: Path, deny: Callable[[Path, int], None], command: str
) -> None:
    folder = scored_cells.parent / "out" / ".aepipe" / "manifests" / "score"
    assert folder.is_dir()
    deny(folder, errno.EACCES)

    error = CliRunner().invoke(app, [*command.split(), str(scored_cells)]).exception

    assert isinstance(error, OSError)
    assert describe_os_error(error).startswith(f"{folder}: Permission denied. Grant ")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["top --once", "doctor"])
def test_overviews_list_the_folder_as_a_fault(
    scored_cells: Path, deny: Callable[[Path, int], None], command: str
) -> None:
    folder = scored_cells.parent / "out" / ".aepipe" / "manifests" / "score"
    deny(folder, errno.EACCES)

    printed = CliRunner().invoke(app, [*command.split(), str(scored_cells)]).output

    assert f"{folder} cannot be read: Permission denied" in printed
