"""Commands that are killed at any file operation, or at random moments by several writers at once, while others read.

Whenever a process ends, each output is the old or the new one, complete; the next run of the command gives the same
outputs as a run without faults and leaves nothing else.
"""

import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import commands, readers
from tests.faults.commands import COMMANDS
from tests.faults.interposed import ALL, CHANGES, KILLED, Interposed, Site
from tests.faults.sizes import chosen, record, size

pytestmark = pytest.mark.slow

KILLS = size("KILLS", 4)
"""Kills per command at a file operation: one of each site first, all operations if there are fewer."""
SLOW = {"train": size("TRAIN_KILLS", 1), "run": size("RUN_KILLS", 2), "report": size("RUN_KILLS", 2)}
"""Kills of the commands that take seconds."""
ROUNDS = size("ROUNDS", 20)
"""Rounds of three concurrent writers; up to three are killed."""


class Reference(NamedTuple):
    """Outputs before and after a run without faults, and its file operations."""

    before: Path
    old: dict[str, str]
    new: dict[str, str]
    versions: list[tuple[str, tuple[str, ...]]]
    changes: list[Site]
    operations: list[Site]


def reference(interposed: Interposed, root: Path, name: str) -> Reference:
    command = COMMANDS[name]
    command.prepare(root)
    before = root.with_name("before")
    shutil.copytree(root, before)
    old = commands.published(root)
    operations = interposed.sites(root, *command.words(root))
    changes = [site for site in operations if int(site[1].split()[0]) & CHANGES]
    new, versions = commands.published(root), commands.versions(root)
    return Reference(before, old, new, versions, changes, operations)


def restore(before: Path, root: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(before, root)


def check_old_or_new(root: Path, known: Reference) -> None:
    found = commands.published(root)
    for path, digest in found.items():
        if path in known.old or path in known.new:
            assert digest in (known.old.get(path), known.new.get(path)), path
        else:
            assert path.startswith("exported/"), path  # another version
    lost = [path for path in known.old if path not in found and path in known.new]
    assert not lost
    assert set(commands.versions(root)) <= {*known.versions, *((key, ()) for key, _ in known.versions)}


def check_converges(interposed: Interposed, root: Path, name: str, known: Reference) -> None:
    again = interposed.run(root, *COMMANDS[name].words(root))
    found = commands.published(root)
    kept = [path for path in known.new if not path.startswith("exported/") or path in known.old]
    assert {path: found.get(path) for path in kept} == {path: known.new[path] for path in kept}, again.said
    assert again.status == 0 or name == "forget", again.said  # a finished removal leaves nothing to remove
    assert commands.versions(root) == known.versions
    assert commands.leftovers(root) == []
    assert commands.faults(root) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_kill_at_a_file_operation_leaves_old_or_new_outputs(interposed: Interposed, root: Path, name: str) -> None:
    known = reference(interposed, root, name)
    most = SLOW.get(name, KILLS)
    steps = [(CHANGES, at) for at in chosen(known.changes, most - most // 4, seed=1)]
    steps += [(ALL, at) for at in chosen(known.operations, most // 4, seed=2)]

    for kinds, at in steps:
        restore(known.before, root)
        ended = interposed.run(root, *COMMANDS[name].words(root), kinds=kinds, kill_at=at)
        assert ended.status in (KILLED, 0), ended.said  # threads may make a few operations less
        check_old_or_new(root, known)
        check_converges(interposed, root, name, known)
    figures = {"kills": len(steps), "changes": len(known.changes), "operations": len(known.operations)}
    record("kills at a file operation", command=name, sites=len(set(known.changes)), **figures)


def test_kills_of_concurrent_writers_never_show_a_reader_a_partial_file(interposed: Interposed, root: Path) -> None:
    known = reference(interposed, root, "score")
    words = COMMANDS["score"].words(root)
    scores = root / "out" / "tabular" / "scores"
    contents = readers.contents(scores)
    longer, shorter = root.with_name("longer"), root / "shop"
    commands.make_job(root.with_name("unchanged")).parent.joinpath("shop").replace(longer)
    shutil.copytree(shorter, root.with_name("shorter"))
    delays, kills = random.Random(5), 0
    restore(known.before, root)
    contents = readers.joined(contents, readers.contents(scores))

    with readers.reading(scores, contents) as seen:
        for number in range(ROUNDS):
            replace_source(root, root.with_name("longer" if number % 2 else "shorter"))
            after = [delays.uniform(0.02, 0.3) if delays.random() < 0.8 else 0.0 for _ in range(3)]
            endings = interposed.run_together(root, *words, kill_after_s=after)
            kills += sum(each.status == KILLED for each in endings)
            assert all(each.status in (KILLED, 0) for each in endings), [each.said for each in endings]
        replace_source(root, root.with_name("shorter"))
        check_converges(interposed, root, "score", known)

    assert kills > 0
    assert seen.faults == []
    assert min(seen.reads.values()) > 0
    record("kills of concurrent writers", kills=kills, reads=sum(seen.reads.values()))


def replace_source(root: Path, table: Path) -> None:
    for path in table.rglob("*.parquet"):
        target = root / "shop" / path.relative_to(table)
        fresh = target.with_suffix(".fresh")
        shutil.copy(path, fresh)
        fresh.replace(target)
