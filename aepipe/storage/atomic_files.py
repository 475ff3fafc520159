"""Files that are complete or absent, whenever the process or the machine stops."""

import errno
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from aepipe.storage.leases import lease
from aepipe.storage.object_writes import delete_object, put_object, upload
from aepipe.stores import StorePath

_APPEND_WAIT_S = 30.0
_SYNC_THREADS = 4  # a journal writes what several threads wait for at once: a third of the time for 48 files on ext4
_SYNCED_BY_THREADS = 8


def put_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`: readers see the old file or the new one, and the new one survives a power cut."""
    if isinstance(path, StorePath):
        put_object(path, data)
        return
    with replacing(path) as temp, naming(path):
        temp.write_bytes(data)


def put_if_changed(path: Path, data: bytes) -> None:
    """Write `data` to `path` as `put_bytes` does, or only sync the file if it has this content already."""
    try:
        is_same = path.is_file() and path.read_bytes() == data
    except OSError:  # it is replaced
        is_same = False
    if is_same:
        sync(path)
        sync(path.parent)
    else:
        put_bytes(path, data)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError that does not: one of a read, write or sync of an open file, or one of Arrow's."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def put_json(path: Path, value: object) -> None:
    """Write `value` to `path` as JSON: equal values give equal bytes. Raise ValueError for NaN and infinities."""
    put_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    r"""Encode as JSON with sorted keys, an indent of one and a final newline.

    >>> json_bytes({"b": 1, "a": "é"}).decode()
    '{\n "a": "é",\n "b": 1\n}\n'
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def append_line(path: Path, line: str) -> None:
    """Append a line to `path`, as `append_lines` does."""
    append_lines(path, [line])


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines to `path` with one write and sync: all or none of them if the disk is full.

    Lines of several processes do not mix. A last line that a power cut left incomplete stays on a line of its own:
    readers skip lines they cannot parse.

    Raises:
        ValueError: a line holds a newline.
    """
    for line in lines:
        if "\n" in line:
            raise ValueError(f"line has a newline: expected one line, got {line!r}")
    text = "".join(f"{line}\n" for line in lines)
    if isinstance(path, StorePath):
        _append_to_object(path, text)
        return
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        with naming(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            is_complete = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            data = f"{'' if is_complete else chr(10)}{text}".encode()
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
    finally:
        os.close(descriptor)
    sync(path.parent)


def _append_to_object(path: StorePath, text: str) -> None:
    """Write an object again with more lines, under a lease: objects cannot grow."""
    with lease(path.with_name(f".{path.name}.lease"), wait_s=_APPEND_WAIT_S) as held:
        try:
            before = path.read_bytes()
        except FileNotFoundError:
            before = b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        held.confirm()
        put_object(path, before + text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` at the end, or delete it if the block raises.

    The temporary name is always the same, so that the next writer overwrites what a killed process left; a lock on it
    keeps two writers apart.
    """
    if isinstance(path, StorePath):
        with tempfile.TemporaryDirectory(prefix="aepipe-") as folder:
            yield Path(folder, path.name)
            upload(Path(folder, path.name), path)
        return
    make_folder(path.parent)
    temp = path.with_name(f".{path.name}.tmp")
    with _open_locked(temp) as descriptor:
        try:
            yield temp
            sync(temp)
            temp.replace(path)
        except BaseException:
            if _is_open_as(temp, descriptor):
                temp.unlink()
            raise
    sync(path.parent)


def remove_abandoned(path: Path) -> None:
    """Remove the temporary file that a killed writer of `path` left; a writer at work keeps its own.

    For files that may not be written again soon; the next writer would overwrite it. Missing rights are no fault.
    """
    temp = path.with_name(f".{path.name}.tmp")
    try:
        descriptor = os.open(temp, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_open_as(temp, descriptor):
            temp.unlink()
    except OSError:  # another process writes it, or the folder cannot be written
        pass
    finally:
        os.close(descriptor)


@contextmanager
def _open_locked(temp: Path) -> Iterator[int]:
    while True:
        descriptor = os.open(temp, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_open_as(temp, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Return False if another writer renamed or removed the file while this one waited for the lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def replace(source: Path, target: Path) -> None:
    """Rename `source`, a synced file or folder, to `target` and sync; make the folder of `target` if needed.

    A local file that becomes an object is uploaded, then deleted.
    """
    make_folder(target.parent)
    rename(source, target)
    sync(target.parent)


def rename(source: Path, target: Path) -> None:
    """Rename `source` to `target` as `replace` does; the caller makes the folder of `target` before, and syncs it."""
    if not isinstance(target, StorePath):
        source.replace(target)
    elif isinstance(source, StorePath):
        put_object(target, source.read_bytes())
        delete_object(source)
    else:
        upload(source, target)
        source.unlink()


def remove(path: Path) -> None:
    """Remove a file, if it exists, and sync its folder."""
    if unlink(path):
        sync(path.parent)


def unlink(path: Path) -> bool:
    """Remove a file, and return whether there was one; the caller syncs its folder."""
    if isinstance(path, StorePath):
        delete_object(path)
        return True
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def refuse_unwritable(folder: Path) -> None:
    """Write a file to a folder, or to the folder that would hold it, and remove it. Raises OSError if that fails."""
    while not isinstance(folder, StorePath) and not folder.exists():
        folder = folder.parent
    probe = folder / ".aepipe-probe"
    put_bytes(probe, b"written by aepipe doctor")
    remove(probe)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync them; an object store needs none."""
    make_folders([folder])


def make_folders(folders: Iterable[Path]) -> None:
    """Make folders and their parents, and sync each folder that got a new one once; an object store needs none."""
    changed: dict[Path, None] = {}
    for folder in dict.fromkeys(folders):
        _make_folder(folder, changed)
    sync_all(changed)


def _make_folder(folder: Path, changed: dict[Path, None]) -> None:
    if isinstance(folder, StorePath) or folder.is_dir():
        return
    _make_folder(folder.parent, changed)
    folder.mkdir(exist_ok=True)
    changed[folder.parent] = None


def sync_all(paths: Iterable[Path]) -> None:
    """Flush files or folders to disk, each once; many at a time, as their waits overlap."""
    different = list(dict.fromkeys(paths))
    if len(different) < _SYNCED_BY_THREADS:
        for path in different:
            sync(path)
        return
    with ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="aepipe-sync") as threads:
        for _ in threads.map(sync, different):
            pass


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user can read, in one that all users can write, such as /tmp.

    Raises:
        OSError: another user made it, or it is not a folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(errno.EPERM, "belongs to another user: set TMPDIR to a folder of your own", str(folder))


def sync(path: Path) -> None:
    """Flush a file or folder to disk; an object that is written is durable."""
    if isinstance(path, StorePath):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
