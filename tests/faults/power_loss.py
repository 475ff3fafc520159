"""File systems after a power cut: a recorded log of changes; unsynced ones may be lost.

A file keeps what was synced; each later write is there, absent, or there in part. A change of a folder (a new name, a
rename, a removal) is durable once that folder was synced; each later one is there or absent, whatever their order. A
rename is one change. This is weaker than what the journals of ext4, XFS and btrfs guarantee.
"""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SECTOR = 512


class Change(NamedTuple):
    """One operation of the log."""

    kind: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


def read_log(path: Path) -> Iterator[Change]:
    """Yield the operations that the preloaded library wrote."""
    log = path.read_bytes()
    at = 0
    while at < len(log):
        end = log.index(b"\n", at)
        kind, first, *rest = log[at:end].decode().split(" ")
        at = end + 1
        if kind == "rename":
            yield Change(kind, first, other=rest[0])
            continue
        offset, size = map(int, rest)
        yield Change(kind, first, offset=offset, data=log[at : at + size])
        at += size


class _Inode:
    """Content of a file: what is durable, and the changes since."""

    def __init__(self, data: bytes = b"") -> None:
        self.durable = data
        self.pending: list[Change] = []

    def current(self) -> bytes:
        return _applied(self.durable, self.pending)

    def after_cut(self, rng: random.Random, kept: float) -> bytes:
        changes = []
        for change in self.pending:
            if rng.random() < kept:
                changes.append(change)
            elif change.kind == "write" and rng.random() < 0.3:
                begin = rng.randrange(0, len(change.data) + 1) // SECTOR * SECTOR
                changes.append(change._replace(data=change.data[:begin]))
        return _applied(self.durable, changes)


def _applied(data: bytes, changes: list[Change]) -> bytes:
    content = bytearray(data)
    for change in changes:
        if change.kind == "truncate":
            content = content[: change.offset].ljust(change.offset, b"\0")
            continue
        end = change.offset + len(change.data)
        content.extend(bytes(max(0, end - len(content))))
        content[change.offset : end] = change.data
    return bytes(content)


class Entry(NamedTuple):
    """Change of a name that is not durable yet."""

    change: Change
    inode: _Inode | None


class Disk:
    """Files and folders below a root, as processes see them and as a power cut would leave them."""

    def __init__(self, root: Path) -> None:
        self.files = {str(path): _Inode(path.read_bytes()) for path in root.rglob("*") if path.is_file()}
        self.folders = {str(root), *(str(path) for path in root.rglob("*") if path.is_dir())}
        self._durable_files = dict(self.files)
        self._durable_folders = set(self.folders)
        self._pending: list[Entry] = []

    def apply(self, change: Change) -> None:
        """Apply one operation of the log."""
        if change.kind == "sync":
            self._sync(change.path)
        elif change.kind in ("write", "truncate"):
            if change.path in self.files:  # not one that was removed while it was open
                self.files[change.path].pending.append(change)
        else:
            inode = _Inode() if change.kind == "create" else self.files.get(change.path)
            _change_names(self.files, self.folders, change, inode)
            self._pending.append(Entry(change, inode))

    def contents(self) -> dict[str, bytes]:
        """Return the files as processes see them."""
        return {path: inode.current() for path, inode in self.files.items()}

    def after_cut(self, rng: random.Random) -> tuple[dict[str, bytes], set[str]]:
        """Return the files and folders that one possible power cut leaves."""
        kept = rng.choice([0.0, 0.3, 0.7, 1.0])
        files, folders = dict(self._durable_files), set(self._durable_folders)
        for entry in self._pending:
            if rng.random() < kept:
                _change_names(files, folders, entry.change, entry.inode)
        cached: dict[int, bytes] = {}
        found = {}
        for path, inode in files.items():
            if all(str(parent) in folders for parent in PurePosixPath(path).parents if len(str(parent)) >= self._depth):
                if id(inode) not in cached:
                    cached[id(inode)] = inode.after_cut(rng, kept) if inode.pending else inode.durable
                found[path] = cached[id(inode)]
        return found, folders

    @property
    def _depth(self) -> int:
        return min(map(len, self._durable_folders))

    def _sync(self, path: str) -> None:
        if path in self.files:
            inode = self.files[path]
            inode.durable, inode.pending = inode.current(), []
            return
        waiting = []
        for entry in self._pending:
            places = [entry.change.path, *([entry.change.other] if entry.change.other else [])]
            if any(str(PurePosixPath(place).parent) == path for place in places):
                _change_names(self._durable_files, self._durable_folders, entry.change, entry.inode)
            else:
                waiting.append(entry)
        self._pending = waiting


def _change_names(files: dict[str, _Inode], folders: set[str], change: Change, inode: _Inode | None) -> None:
    """Change names in place; `inode` is the file that the change is about."""
    if change.kind == "create" and inode is not None:
        files[change.path] = inode
    elif change.kind == "mkdir":
        folders.add(change.path)
    elif change.kind == "unlink":
        files.pop(change.path, None)
    elif change.kind == "rmdir":
        folders.discard(change.path)
    elif change.kind == "rename" and inode is not None:
        files[change.other] = inode
        if files.get(change.path) is inode:
            del files[change.path]
    elif change.kind == "rename":
        _rename_folder(files, folders, change.path, change.other)


def _rename_folder(files: dict[str, _Inode], folders: set[str], source: str, target: str) -> None:
    if source in folders:
        below = f"{source}/"
        for path in [path for path in files if path.startswith(below)]:
            files[target + path.removeprefix(source)] = files.pop(path)
        moved = {path for path in folders if path == source or path.startswith(below)}
        folders -= moved
        folders |= {target + path.removeprefix(source) for path in moved}


def write_out(files: Mapping[str, bytes], folders: set[str]) -> None:
    """Write the files and folders to the real disk."""
    for folder in sorted(folders):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        Path(path).write_bytes(data)
