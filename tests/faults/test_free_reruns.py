"""A command whose outputs exist writes nothing, on a full disk too."""

import errno
from pathlib import Path

import pytest

from tests.faults.commands import COMMANDS
from tests.faults.interposed import CHANGES, MKDIR, OPEN_WRITE, RENAME, WRITE, Interposed
from tests.faults.sizes import record

pytestmark = pytest.mark.slow

REPEATABLE = sorted(COMMANDS.keys() - {"forget", "train"})


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return inode, time and bytes of every file but those that record each run."""
    files = [path for path in root.rglob("*") if path.is_file() and not is_record_of_runs(path.as_posix())]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def is_record_of_runs(path: str) -> bool:
    """Return whether a file names the last holder of a lock, or is the log of runs for lineage."""
    return path.endswith((".lock", "/lineage")) or "/lineage/" in path


@pytest.mark.parametrize("name", REPEATABLE)
def test_the_same_command_again_changes_no_file_and_needs_no_space(
    interposed: Interposed, root: Path, name: str
) -> None:
    words = COMMANDS[name].words(root)
    COMMANDS[name].prepare(root)
    assert interposed.run(root, *words).status == 0
    before = snapshot(root)

    log = root.with_name("log")
    again = interposed.run(root, *words, kinds=CHANGES, log=log)

    assert again.status == 0, again.said
    assert snapshot(root) == before
    lines = log.read_bytes().splitlines() if log.exists() else []
    paths = [
        line.split()[1].decode() for line in lines if line.startswith((b"create ", b"write ", b"rename ", b"unlink "))
    ]
    assert [path for path in paths if not is_record_of_runs(path)] == []

    needs_space = OPEN_WRITE | WRITE | RENAME | MKDIR
    on_full_disk = interposed.run(root, *words, kinds=needs_space, fail_at=1, error=errno.ENOSPC, is_lasting=True)

    assert on_full_disk.status == 0, on_full_disk.said
    assert snapshot(root) == before
    record("re-run", command=name, files=len(before), bytes=0)
