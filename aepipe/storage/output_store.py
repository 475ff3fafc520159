"""The folder of a job's outputs: what is committed, what is quarantined, whether it is intact."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from aepipe.storage.atomic_files import put_json
from aepipe.storage.commit import REASON, Commit, done_under, recover
from aepipe.storage.locks import lock
from aepipe.storage.manifest import Manifest, read_manifest
from aepipe.storage.paths import HIDDEN, OUTPUTS, Place, Run, check_partition, manifests_folder, quarantine_folder
from aepipe.storage.verify import faults
from aepipe.tables.partitions import natural_order

_log = logging.getLogger(__name__)


class Outputs:
    """`<root>/<output>/<partition>/part-0.parquet`, and `<root>/.aepipe` beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, output: str, partition: str) -> Path:
        """The one file of this output and partition, there or not."""
        (run,) = [run for run, outputs in OUTPUTS.items() if output in outputs]
        return self._place(partition, run).final(output)

    def manifest(self, partition: str, run: Run = "score") -> Manifest | None:
        """What was last committed of this partition, if anything."""
        return read_manifest(self._place(partition, run).manifest)

    def manifests(self, run: Run = "score") -> tuple[Manifest, ...]:
        """What was last committed of every partition, in the order of their names (hour=9 comes before hour=10)."""
        found = [read_manifest(path) for path in manifests_folder(self.root, run).rglob("*.json")]
        return tuple(sorted((m for m in found if m is not None), key=lambda m: natural_order(m.partition)))

    def done(self, partition: str, key: str, run: Run = "score") -> Manifest | None:
        """The manifest under this key, if its files are there with their sizes and no interrupted commit waits."""
        return done_under(self._place(partition, run), key)

    @contextmanager
    def commit(
        self, partition: str, key: str | None = None, *, run: Run = "score", wait_s: float = 0.0
    ) -> Iterator[Commit]:
        """A commit of this partition, alone in its lock, after what a killed process left has been put right.

        key: where it is known later, `Commit.take_key` is told it. A block that raises, or never publishes, changes
        nothing. Raises Busy and PartitionInvalid.
        """
        place = self._place(partition, run)
        with lock(place.lock, wait_s=wait_s):
            recover(place)
            commit = Commit(place)
            if key is not None:
                commit.take_key(key)
            try:
                yield commit
            except BaseException:
                commit.end(failed=True)
                raise
            commit.end(failed=False)

    def names(self, run: Run = "score") -> tuple[str, ...]:
        """The partitions that have a manifest, in no order."""
        folder = manifests_folder(self.root, run)
        return tuple(path.relative_to(folder).as_posix().removesuffix(".json") for path in folder.rglob("*.json"))

    def in_turn(self, *, wait_s: float) -> AbstractContextManager[None]:
        """A lock that holders of several partitions share, for what must not happen to two of them at once."""
        return lock(self.root / HIDDEN / "locks" / "in_turn.lock", wait_s=wait_s)

    def quarantine(self, partition: str, reason: str, files: Sequence[Path]) -> Path:
        """The note that this partition cannot be scored, and why; its old outputs stay. A later commit removes it."""
        path = self._place(partition, "score").quarantine
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        note = {"partition": partition, "reason": reason, "files": [str(file) for file in files], "when": when}
        put_json(path, note)
        _log.info("%s is quarantined: %s", partition, reason)
        return path

    def quarantined(self) -> dict[str, str]:
        """The reason of every partition in quarantine, by name."""
        folder = quarantine_folder(self.root)
        paths = [path for path in folder.rglob("*.json") if not path.relative_to(folder).parts[0].startswith("_")]
        notes = [json.loads(path.read_bytes()) for path in paths]
        return dict(sorted((note["partition"], note["reason"]) for note in notes))

    def set_aside(self, run: Run = "sample") -> dict[str, str]:
        """The reason of every partition whose rows were judged unfit, by name."""
        folder = quarantine_folder(self.root) / f"_{OUTPUTS[run][-1]}"
        notes = sorted(folder.rglob(REASON))
        return {path.parent.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").strip() for path in notes}

    def verify(self, *, wait_s: float = 5.0) -> list[str]:
        """Every fault of the outputs, a sentence each: all files are read and compared with their manifests.

        wait_s: for a commit that is under way where a fault was found.
        """
        return faults(self.root, wait_s=wait_s)

    def _place(self, partition: str, run: Run) -> Place:
        return Place(self.root, check_partition(partition), run)
