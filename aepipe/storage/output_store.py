"""Folder of a job's outputs: commits, manifests, quarantine and verification."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aepipe.errors import OutputsTaken
from aepipe.storage.atomic_files import put_json
from aepipe.storage.commit import Commit, find_done, recover
from aepipe.storage.forget import files_of, finish, read_notes, remove_partition
from aepipe.storage.listing import files_below
from aepipe.storage.locks import lock
from aepipe.storage.manifest import D, Manifest
from aepipe.storage.paths import HIDDEN, PartitionPaths, check_partition, manifests_folder
from aepipe.storage.quarantine import QuarantineNote, drop_notes
from aepipe.storage.quarantine import read_notes as read_quarantine
from aepipe.storage.run_kinds import RUN_KINDS, SCORE, RunKind
from aepipe.storage.verify import find_faults, partitions_of
from aepipe.tables.partitions import natural_order
from aepipe.tables.source_files import printable

OWNER = "job.json"
"""Record of the job that writes to a folder."""

_log = logging.getLogger(__name__)


class Outputs:
    """Files `<root>/<output>/<partition>/part-0.parquet`, and their manifests and locks under `<root>/.aepipe`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def claim(self, job: str, *, has_written: bool = False) -> None:
        """Refuse the folder of another job, and record the job in a new folder or once it has written.

        Args:
            job: name of the job.
            has_written: the job has written partitions: record it in the folder of an earlier version too.

        Raises:
            OutputsTaken: another job writes here.
        """
        path = self.root / HIDDEN / OWNER
        owner = _owner(path)
        if owner is None and (has_written or not manifests_folder(self.root, SCORE).exists()):
            with suppress(OSError):  # a night with nothing to do needs no space
                put_json(path, {"job": job})
            owner = _owner(path)
        if owner not in (None, job):
            raise OutputsTaken(
                f"{self.root} holds the outputs of another job: expected {job!r}, got {owner!r}. Set [output] path to "
                f"another folder, or delete {path} if the job was renamed."
            )

    def path(self, output: str, partition: str) -> Path:
        """Return the path of an output of a partition; the file need not exist."""
        (kind,) = [kind for kind in RUN_KINDS if output in kind.outputs]
        return self._paths(kind, partition).final(output)

    def manifest(self, kind: RunKind[D], partition: str) -> Manifest[D] | None:
        """Return the manifest of the last commit of a partition; None if there is none."""
        return kind.read_manifest(self._paths(kind, partition).manifest)

    def manifests(self, kind: RunKind[D]) -> tuple[Manifest[D], ...]:
        """Return the manifests of all partitions in the natural order of their names (hour=9 before hour=10)."""
        found = [kind.read_manifest(path) for path in files_below(manifests_folder(self.root, kind), "*.json")]
        return tuple(sorted((m for m in found if m is not None), key=lambda m: natural_order(m.partition)))

    def unread(self, kind: RunKind[D], known: Iterable[Manifest[D]]) -> tuple[str, ...]:
        """Return the partitions whose manifest is there but not among those known, in natural order."""
        folder = manifests_folder(self.root, kind)
        names = {path.relative_to(folder).with_suffix("").as_posix() for path in files_below(folder, "*.json")}
        return tuple(sorted(names - {manifest.partition for manifest in known}, key=natural_order))

    def done(self, kind: RunKind[D], partition: str, key: str) -> Manifest[D] | None:
        """Return the manifest with this key if its files have their sizes and no interrupted commit is left."""
        return find_done(self._paths(kind, partition), kind, key)

    @contextmanager
    def commit(
        self,
        kind: RunKind[D],
        partition: str,
        key: str | None = None,
        *,
        force: bool = False,
        wait_s: float = 0.0,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Commit[D]]:
        """Open a commit of a partition under its lock, after recovering what a killed process left.

        A block that raises, or does not publish, changes nothing.

        Args:
            kind: kind of run.
            partition: name of the partition.
            key: digest of everything the outputs depend on; None: `Commit.take_key` receives it later.
            force: write the partition again although it is done.
            wait_s: seconds to wait for the lock.
            check: called while waiting; may raise to stop.

        Raises:
            Busy: another process holds the lock.
            PartitionInvalid: the name cannot be a folder of the outputs.
        """
        paths = self._paths(kind, partition)
        with lock(paths.lock, wait_s=wait_s, check=check) as confirm_lock:
            recover(paths)
            commit = Commit(paths, kind, force=force, confirm_lock=confirm_lock)
            if key is not None:
                commit.take_key(key)
            try:
                yield commit
            except BaseException:
                commit.end(failed=True)
                raise
            commit.end(failed=False)

    def partitions(self, kind: RunKind[Any]) -> tuple[str, ...]:
        """Return the names of the partitions that have a manifest, in no order."""
        folder = manifests_folder(self.root, kind)
        return tuple(
            path.relative_to(folder).as_posix().removesuffix(".json") for path in files_below(folder, "*.json")
        )

    def known(self, kind: RunKind[Any]) -> frozenset[str]:
        """Return the names of the partitions that have a manifest or a file, complete or not."""
        return frozenset(partitions_of(self.root, kind))

    def in_turn(self, *, wait_s: float, check: Callable[[], None]) -> AbstractContextManager[object]:
        """Lock all partitions at once, for runs that must score them one after another; `check` as for `commit`."""
        return lock(self.root / HIDDEN / "locks" / "in_turn.lock", wait_s=wait_s, check=check)

    def quarantine(self, partition: str, reason: str, files: Sequence[Path]) -> Path:
        """Note that a partition cannot be scored and return the path of the note.

        Earlier outputs stay as they are. The next commit of the partition removes the note.
        """
        path = self._paths(SCORE, partition).quarantine
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        note = {"partition": partition, "reason": reason, "files": [printable(file) for file in files], "when": when}
        put_json(path, note)
        _log.info("%s is quarantined: %s", partition, reason)
        return path

    def quarantine_notes(self) -> tuple[QuarantineNote, ...]:
        """Return the partitions in quarantine, of all kinds of runs, with the reasons."""
        return read_quarantine(self.root)

    def drop_quarantined(self, partition: str, *, wait_s: float = 0.0) -> tuple[Path, ...]:
        """Remove a partition from the quarantine, with rows that failed a check; return the files. Raises Busy."""
        return drop_notes(self.root, check_partition(partition), wait_s=wait_s)

    def quarantined(self) -> dict[str, str]:
        """Return the reasons of the partitions that cannot be scored, by name."""
        return {note.partition: note.reason for note in self.quarantine_notes() if note.kind == SCORE.name}

    def quarantined_rows(self, kind: RunKind[Any]) -> dict[str, str]:
        """Return the reasons of the partitions whose written rows were quarantined, by name."""
        return {note.partition: note.reason for note in self.quarantine_notes() if note.kind == kind.name}

    def files_of(self, partition: str, pages: Sequence[str] = ()) -> tuple[Path, ...]:
        """List what `forget` would remove: outputs, manifests, quarantined files and these pages of `reports`."""
        return files_of(self.root, check_partition(partition), pages)

    def forget(
        self, partition: str, pages: Sequence[str] = (), *, is_kept: bool = True, wait_s: float = 0.0
    ) -> tuple[Path, ...]:
        """Remove the outputs, manifests, quarantined files and pages of a partition, and return their paths.

        Args:
            partition: name of the partition.
            pages: names of its pages in the folder `reports`.
            is_kept: remember the removal, so that `forgotten` names the partition.
            wait_s: seconds to wait for a process that writes the partition.

        Raises:
            Busy: another process writes the partition.
        """
        return remove_partition(self.root, check_partition(partition), pages, is_kept=is_kept, wait_s=wait_s)

    def finish_forgetting(self, *, wait_s: float = 0.0) -> tuple[str, ...]:
        """Finish removals of killed processes and return the names of their partitions. Raises Busy."""
        return finish(self.root, wait_s=wait_s)

    def forgotten(self) -> frozenset[str]:
        """Return the partitions that were removed on request and not scored since."""
        return frozenset(note.partition for note in read_notes(self.root))

    def verify(self, *, wait_s: float = 5.0) -> list[str]:
        """Read all files, compare them with their manifests, and return one sentence per fault.

        Args:
            wait_s: seconds to wait for a commit in progress where a fault was found.
        """
        return find_faults(self.root, wait_s=wait_s)

    def _paths(self, kind: RunKind[Any], partition: str) -> PartitionPaths:
        return PartitionPaths(self.root, check_partition(partition), kind)


def _owner(path: Path) -> str | None:
    """Return the job that writes here; None if none is recorded."""
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    owner = record.get("job") if isinstance(record, dict) else None
    return owner if isinstance(owner, str) else None
