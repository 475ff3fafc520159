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
    """Return inode, time and bytes of every file but locks, which name their last holder."""
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("name", REPEATABLE)
def test_the_same_command_again_changes_no_file(interposed: Interposed, root: Path, name: str) -> None:
    words = COMMANDS[name].words(root)
    COMMANDS[name].prepare(root)
    assert interposed.run(root, *words).status == 0
    before = snapshot(root)

    log = root.with_name("log")
    again = interposed.run(root, *words, kinds=CHANGES, log=log)

    assert again.status == 0, again.said
    assert snapshot(root) == before
    lines = log.read_bytes().splitlines() if log.exists() else []
    changes = [line for line in lines if line.startswith((b"create", b"write", b"rename", b"unlink", b"mkdir"))]
    assert [line for line in changes if b".lock" not in line] == []
    record("re-run", command=name, files=len(before), bytes=0)


@pytest.mark.parametrize("name", REPEATABLE)
def test_the_same_command_again_succeeds_on_a_full_disk(interposed: Interposed, root: Path, name: str) -> None:
    words = COMMANDS[name].words(root)
    COMMANDS[name].prepare(root)
    assert interposed.run(root, *words).status == 0
    before = snapshot(root)

    needs_space = OPEN_WRITE | WRITE | RENAME | MKDIR
    again = interposed.run(root, *words, kinds=needs_space, fail_at=1, error=errno.ENOSPC, is_lasting=True)

    assert again.status == 0, again.said
    assert snapshot(root) == before
