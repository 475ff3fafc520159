"""Files that are whole or absent, whenever the process or the machine stops."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def put_bytes(path: Path, data: bytes) -> None:
    """`path` holds `data`: readers see the old file or the new one, and the new one survives a power cut."""
    with replacing(path) as temp:
        temp.write_bytes(data)


def put_json(path: Path, value: object) -> None:
    """`path` holds `value` as JSON: the same value gives the same bytes. NaN and infinities raise ValueError."""
    put_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Sorted keys, an indent of one, a newline at the end.

    >>> json_bytes({"b": 1, "a": "é"}).decode()
    '{\\n "a": "é",\\n "b": 1\\n}\\n'
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def append_line(path: Path, line: str) -> None:
    """`path` ends with `line` and a newline, synced; lines of several processes do not mix.

    A last line that a power cut left unfinished stays, on a line of its own: readers skip what they cannot parse.
    """
    if "\n" in line:
        raise ValueError(f"one line was expected, found {line!r}")
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        data = f"{'' if _ends_a_line(descriptor) else chr(10)}{line}\n".encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync(path.parent)


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write under: it takes the place of `path` at the end, or vanishes if the block raises.

    The name is always the same, so that what a killed process left is written over by the next; a lock on it keeps
    two writers apart.
    """
    make_folder(path.parent)
    temp = path.with_name(f".{path.name}.tmp")
    with _own(temp) as descriptor:
        try:
            yield temp
            sync(temp)
            temp.replace(path)
        except BaseException:
            if _is_open_as(temp, descriptor):
                temp.unlink()
            raise
    sync(path.parent)


@contextmanager
def _own(temp: Path) -> Iterator[int]:
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
    """False where the writer that was waited for has given the file its final name, or removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def replace(source: Path, target: Path) -> None:
    """`source`, a synced file or folder, is now `target`, whose folder is made if need be; survives a power cut."""
    make_folder(target.parent)
    source.replace(target)
    sync(target.parent)


def remove(path: Path) -> None:
    """There is no such file; survives a power cut."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """The folder and its parents exist, and survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """What this file or folder holds is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
