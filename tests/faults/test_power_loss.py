"""Power cuts at any moment of any command: what was acknowledged is there, and the next run converges."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults import commands
from tests.faults.interposed import CHANGES, Interposed
from tests.faults.power_loss import Change, Disk, read_log, write_out
from tests.faults.sizes import record, size

pytestmark = pytest.mark.slow

STATES = size("STATES", 5_000)
"""Power cuts whose files are compared."""
RESTARTS = size("RESTARTS", 12)
"""Power cuts after which the command is run again."""
SCORE, CALIBRATE = ("score",), ("calibrate",)
SAMPLE, IMPUTE = ("sample", "--partition", commands.NIGHT), ("impute", commands.NIGHT)
STEPS: tuple[tuple[str, ...], ...] = (
    SCORE,
    SAMPLE,
    IMPUTE,
    ("report",),
    CALIBRATE,
    SCORE,
    ("forget", "dt=2026-01-04", "--yes"),
    ("train",),
)


class Recording(NamedTuple):
    """Operations of each command, and the state before the first."""

    before: Path
    changes: list[Change]


class Cut(NamedTuple):
    """Files and folders that a power cut leaves, and one sentence per fault."""

    files: dict[str, bytes]
    folders: set[str]
    faults: list[str]


def prepare(root: Path, step: int) -> None:
    """Change the job or its source by hand before a step."""
    if STEPS[step] == CALIBRATE:
        commands.edit(root / "job.toml", "alpha = 0.05", "alpha = 0.2")
        commands.shorten(root)
    if STEPS[step] == ("train",):
        commands.edit(root / "job.toml", 'family = "tabular_vae"\nlatent = 3\nunits = 16', 'family = "pca"\nlatent = 2')


def words(root: Path, step: int) -> list[str]:
    name, *options = STEPS[step]
    return [name, str(root / "job.toml"), *options]


def is_temporary(path: str) -> bool:
    return path.endswith((".tmp", ".lock")) or "/staging/" in path or ".staging/" in path or "/lineage/" in path


def allowed_contents(disk: Disk, changes: list[Change]) -> dict[str, set[bytes | None]]:
    """Return what each path may hold during a command; None stands for no file.

    Every content that a rename publishes counts, and the contents before.
    """
    allowed: dict[str, set[bytes | None]] = {path: {data} for path, data in disk.contents().items()}
    for change in changes:
        if change.kind == "rename":
            moved = {change.path: change.other}
            below = f"{change.path}/"
            moved.update({p: change.other + p[len(change.path) :] for p in disk.files if p.startswith(below)})
            for source, target in moved.items():
                if source in disk.files:
                    allowed.setdefault(target, {None}).add(disk.files[source].current())
                    allowed.setdefault(source, set()).add(None)
        elif change.kind == "unlink":
            allowed.setdefault(change.path, set()).add(None)
        disk.apply(change)
    return allowed


def faults_of(
    files: dict[str, bytes], before: dict[str, bytes], allowed: dict[str, set[bytes | None]]
) -> Iterator[str]:
    """Yield each path whose content is neither acknowledged nor a complete content of the command in progress."""
    for path in {*files, *before}:
        if is_temporary(path):
            continue
        found = files.get(path)
        if path.endswith(".jsonl"):  # appended to: acknowledged lines stay
            if not (found or b"").startswith(before.get(path, b"")):
                yield f"{path}: an acknowledged line is lost"
        elif found not in allowed.get(path, {before.get(path)}):
            yield f"{path}: {'absent' if found is None else 'incomplete or unknown'}"


def record_all(interposed: Interposed, root: Path, folder: Path) -> list[Recording]:
    """Run all steps and return what each one did."""
    commands.make_job(root)
    commands.use_one_worker(root)
    recordings = []
    for step, arguments in enumerate(STEPS):
        prepare(root, step)
        before = folder / f"before-{step}"
        shutil.copytree(root, before)
        log = folder / f"log-{step}"
        ended = interposed.run(root, *words(root, step), kinds=CHANGES, log=log)
        assert ended.status == 0, (arguments, ended.said)
        recordings.append(Recording(before, list(read_log(log))))
    return recordings


def cuts_of(recording: Recording, root: Path, rng: random.Random, count: int) -> Iterator[Cut]:
    """Yield what random power cuts during a command leave, and what is wrong with it; a tenth come after its end."""
    restore(recording.before, root)
    before = Disk(root).contents()
    end, done = len(recording.changes), 0
    allowed = allowed_contents(Disk(root), recording.changes)
    disk = Disk(root)
    for cut in sorted(rng.randrange(end + 1) if rng.random() < 0.9 else end for _ in range(count)):
        for change in recording.changes[done:cut]:
            disk.apply(change)
        done = cut
        if cut == end:
            before = disk.contents()
            allowed = {path: {data} for path, data in before.items()}
        files, folders = disk.after_cut(rng)
        yield Cut(files, folders, sorted(faults_of(files, before, allowed)))


def test_no_power_cut_loses_an_acknowledged_commit(interposed: Interposed, root: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    recordings = record_all(interposed, root, tmp_path)
    share, restarts = STATES // len(recordings), 0

    for step, recording in enumerate(recordings):
        restarted = set(rng.sample(range(share), RESTARTS // len(recordings) + 1))
        for number, cut in enumerate(cuts_of(recording, root, rng, share)):
            assert cut.faults == [], STEPS[step]
            if number in restarted and STEPS[step] != ("train",):
                restarts += 1
                check_restart(interposed, root, step, cut)
    record("power cuts", states=share * len(recordings), restarts=restarts, lost=0)


def test_power_cuts_lose_commits_that_were_not_synced(interposed: Interposed, root: Path, tmp_path: Path) -> None:
    """The simulation would find a missing fsync of a file or of a folder."""
    commands.make_job(root)
    commands.use_one_worker(root)
    shutil.copytree(root, tmp_path / "before")
    assert interposed.run(root, *words(root, 0), kinds=CHANGES, log=tmp_path / "log").status == 0
    changes = list(read_log(tmp_path / "log"))

    for lost in ("scores.tmp", "/scores/dt=2026-01-04", "/manifests/score"):
        fewer = [change for change in changes if change.kind != "sync" or not change.path.endswith(lost)]
        found = list(cuts_of(Recording(tmp_path / "before", fewer), root, random.Random(1), 200))
        assert len(fewer) < len(changes)
        assert any(cut.faults for cut in found), lost


def check_restart(interposed: Interposed, root: Path, step: int, cut: Cut) -> None:
    shutil.rmtree(root)
    write_out(cut.files, cut.folders)
    again = interposed.run(root, *words(root, step))
    assert again.status == 0 or STEPS[step][0] == "forget", again.said
    assert commands.leftovers(root) == []
    assert commands.faults(root) == []


def restore(before: Path, root: Path) -> None:
    shutil.rmtree(root)
    shutil.copytree(before, root)
