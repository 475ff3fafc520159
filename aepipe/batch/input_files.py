"""Source files of a partition: their digests, and a check that they did not change while they were read."""

from collections.abc import Callable, Sequence
from pathlib import Path

from aepipe.errors import DataUnreadable
from aepipe.storage import source_digest
from aepipe.storage.known_digests import KnownDigests
from aepipe.tables.source_files import printable


class InputFiles:
    """Files as they were when the object was made."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._stamps = {path: _stamp(path) for path in paths}
        self._paths = paths

    def digest(self, *, check: Callable[[], None], known: KnownDigests | None = None) -> dict[str, str]:
        """Return the digest of every file, by path.

        Args:
            check: called between two chunks; may raise to stop.
            known: digests that the files must have; None: any.

        Raises:
            DataUnreadable: a file cannot be read, or does not have its known digest.
        """
        if known is not None:
            known.refuse_different(self._paths, check=check)
        return {printable(path): source_digest(path, check=check) for path in self._paths}

    def refuse_changed(self) -> None:
        """Raise DataUnreadable if a file was written or replaced since: the key names what was digested."""
        changed = [printable(path) for path in self._paths if _stamp(path) != self._stamps[path]]
        if changed:
            raise DataUnreadable(f"{' and '.join(changed)} changed while it was read. Run the partition again.")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return inode, size and time of modification, which change when a file is written or replaced."""
    try:
        found = path.stat()
    except OSError:  # reading it names the reason
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
