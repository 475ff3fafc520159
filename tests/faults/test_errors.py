"""A full disk, a failing disk and missing rights at any file operation of any command.

Outputs stay old or new, the command ends with a code other than 0 and a sentence that names a path and a remedy, and
the next run gives the same outputs as one without faults. A command that completes all outputs nevertheless is fine.
"""

import errno
import re
import shutil
from pathlib import Path

import pytest

from tests.faults import commands
from tests.faults.commands import COMMANDS
from tests.faults.interposed import FAILING, Ending, Interposed
from tests.faults.sizes import chosen, record, size

pytestmark = pytest.mark.slow

FAILURES = size("ERRORS", 2)
"""Most failing operations per command and kind of error, one of each site."""
SLOW = {"train": size("TRAIN_ERRORS", 1), "run": size("RUN_ERRORS", 1), "report": size("RUN_ERRORS", 1)}
"""The same for the commands that take seconds."""
REMEDY = re.compile(r"(Free space|Grant|Check|Restore|Name|Run|Wait|Set|Write|Delete|Train):? [^.]*")


def outputs(found: dict[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in found.items() if path.startswith("out/")}


def check_sentence(ending: Ending, root: Path) -> None:
    assert "Traceback" not in ending.said
    assert "[Errno" not in ending.said
    assert "[errno" not in ending.said
    assert ending.status in (1, 2), ending.said
    places = [line for line in ending.said.splitlines() if str(root) in line]
    assert any(REMEDY.search(line) for line in places), ending.said


@pytest.mark.parametrize("error", FAILING, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_failing_operation_damages_no_output(interposed: Interposed, root: Path, name: str, error: int) -> None:
    words = COMMANDS[name].words(root)
    COMMANDS[name].prepare(root)
    before = root.with_name("before")
    shutil.copytree(root, before)
    old = commands.published(root)
    sites = interposed.sites(root, *words, kinds=FAILING[error], error=error)
    new, versions = commands.published(root), commands.versions(root)
    assert sites
    failures = chosen(sites, min(SLOW.get(name, FAILURES), len(set(sites))), seed=error)

    for at in failures:
        shutil.rmtree(root)
        shutil.copytree(before, root)
        is_full = error == errno.ENOSPC
        ending = interposed.run(root, *words, kinds=FAILING[error], fail_at=at, error=error, is_lasting=is_full)
        found = commands.published(root)
        if ending.status != 0:
            check_sentence(ending, root)
        else:
            assert outputs(found) == outputs(new), ending.said
        for path, digest in found.items():
            assert digest in (old.get(path), new.get(path)) or path not in {**old, **new}, path
        assert [path for path in old if path in new and path not in found] == []

        again = interposed.run(root, *words)
        assert again.status == 0 or name == "forget", again.said
        assert outputs(commands.published(root)) == outputs(new), again.said
        assert commands.versions(root) == versions
        assert commands.leftovers(root) == []
        assert commands.faults(root) == []
    failed = {sites[at - 1] for at in failures}
    figures = {"failures": len(failures), "operations": len(sites), "sites": len(set(sites)), "failed": len(failed)}
    record("failing operations", command=name, error=errno.errorcode[error], **figures)
