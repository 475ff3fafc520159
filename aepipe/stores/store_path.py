"""Path on an object store, which reads like a local path. Writing goes through `aepipe.storage`."""

import errno
import io
import os
import re
import stat
from collections.abc import Generator
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any

from aepipe.errors import LocalPathNeeded
from aepipe.stores.connection import Root, asking, file_system, parsed, retried

if TYPE_CHECKING:
    from pyarrow import NativeFile
    from pyarrow.fs import FileInfo, FileSystem

_TAIL_BYTES = 64 << 10

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(path: object) -> bool:
    """Return True for the address of an object store or a server, also where a path has joined its slashes.

    >>> is_url("s3://bucket/rows"), is_url(Path("s3://bucket/rows")), is_url("C:/rows")
    (True, True, False)
    """
    return _URL.match(str(path)) is not None


def as_path(path: str | Path) -> Path:
    """Return a path on this machine, or a `StorePath` for a URL.

    Raises:
        UrlInvalid: the URL does not name a place in a known object store.
    """
    if isinstance(path, StorePath):
        return path
    return StorePath.of(str(path)) if is_url(path) else Path(path)


class StorePath(PosixPath):
    """Object, or a prefix of objects, of a store; a prefix under which objects lie is a folder.

    The parts are the scheme, the bucket with the query of the URL, and the segments of the key, so that every path
    that is derived from this one keeps the query, in every version of pathlib.

    >>> path = StorePath.of("s3://bucket/rows?region=eu-west-1")
    >>> str(path / "dt=2026-01-01"), path.name
    ('s3://bucket/rows/dt=2026-01-01?region=eu-west-1', 'rows')
    """

    @classmethod
    def of(cls, url: str) -> "StorePath":
        """Parse a URL. Raises UrlInvalid."""
        root, key = parsed(url)
        return cls(f"{root.scheme}:", root.bucket_and_query, *key)

    @property
    def place(self) -> Root:
        """The bucket."""
        return Root.of_parts(self.parts[0], self.parts[1])

    @property
    def file_system(self) -> "FileSystem":
        """Connection to the store."""
        return file_system(self.place)

    @property
    def in_store(self) -> str:
        """Path that the methods of `file_system` take."""
        return "/".join([self.place.folder, *self.parts[2:]])

    @property
    def key(self) -> str:
        """Name of the object in its bucket."""
        return "/".join(self.parts[2:])

    def __str__(self) -> str:
        if len(self.parts) < 2 or not self.parts[0].endswith(":"):
            return super().__str__()
        place = self.place
        query = f"?{place.query}" if place.query else ""
        return f"{place.scheme}://{'/'.join([place.bucket, *self.parts[2:]])}{query}"

    def __fspath__(self) -> str:
        raise self._needs_local_path()

    def _needs_local_path(self) -> LocalPathNeeded:
        return LocalPathNeeded(f"{self} is in an object store: expected a local path here. Copy it to this machine.")

    def is_absolute(self) -> bool:
        """Return True."""
        return True

    def resolve(self, strict: bool = False) -> "StorePath":
        """Return the path itself."""
        return self

    def relative_to(self, *other: Any, **options: Any) -> Path:  # type: ignore[override]
        """Return the segments below another path of the store, as a local relative path."""
        return Path(*super().relative_to(*other, **options).parts)

    def exists(self, **_: Any) -> bool:
        """Return True for an object and for a folder."""
        return self._kind() != "NotFound"

    def is_file(self, **_: Any) -> bool:
        """Return True for an object."""
        return self._kind() == "File"

    def is_dir(self, **_: Any) -> bool:
        """Return True for a folder: objects lie below it."""
        return self._kind() == "Directory"

    def is_symlink(self) -> bool:
        """Return False: stores have no links."""
        return False

    def stat(self, **_: Any) -> os.stat_result:
        """Return type, size and time of an object, and its ETag as the inode, which changes with the content.

        Raises:
            FileNotFoundError: there is neither an object nor a folder.
        """
        try:
            tag, size, time_ns = self._identity()
        except (FileNotFoundError, IsADirectoryError):
            if not self.is_dir():
                raise
            return os.stat_result((stat.S_IFDIR | 0o777, 0, 0, 1, 0, 0, 0, 0, 0, 0))
        inode = hash(tag) & 0xFFFFFFFFFFFFFFFF
        seconds = time_ns // 10**9
        times = (seconds, seconds, seconds)
        return os.stat_result((stat.S_IFREG | 0o666, inode, 0, 1, 0, 0, size, *times), {"st_mtime_ns": time_ns})

    def lstat(self) -> os.stat_result:
        """Return `stat`."""
        return self.stat()

    @property
    def version_tag(self) -> str:
        """Text that changes when the object is written again: its ETag and size, without reading it.

        Raises:
            FileNotFoundError: there is no such object.
        """
        tag, size, _ = self._identity()
        return f"{tag} {size}"

    def open_arrow(self) -> "NativeFile":
        """Open the object for reads at any position, as a file of Arrow. Raises FileNotFoundError."""
        with asking(str(self)):
            return self.file_system.open_input_file(self.in_store)

    def open(self, mode: str = "r", *_: Any, **__: Any) -> IO[Any]:  # type: ignore[override]
        """Open the object for reading in binary mode. Raises LocalPathNeeded for any other mode."""
        if mode != "rb":
            raise self._needs_local_path()
        return io.BufferedReader(_ObjectFile(self), _TAIL_BYTES)

    def read_bytes(self) -> bytes:
        """Read the whole object. Raises FileNotFoundError."""

        def read() -> bytes:
            with self.file_system.open_input_stream(self.in_store) as stream:
                return bytes(stream.read())

        with asking(str(self)):
            return retried(read)

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        """Read the whole object as text. Raises FileNotFoundError."""
        return self.read_bytes().decode(encoding or "utf-8")

    def iterdir(self) -> Generator["StorePath", None, None]:
        """Yield the objects and folders of a folder, by name. Raises FileNotFoundError."""
        if self.place.scheme != "gs":
            yield from (self / info.base_name for info in self._listed(recursive=False))
            return
        # there, pyarrow lists the folders of a level only where objects stand for them
        below = (info.path.removeprefix(f"{self.in_store}/") for info in self._listed(recursive=True))
        yield from (self / name for name in sorted({path.partition("/")[0] for path in below}))

    def glob(self, pattern: str, **_: Any) -> Generator["StorePath", None, None]:
        """Yield the objects and folders of a folder whose names match; none if there is no folder.

        Raises:
            LocalPathNeeded: the pattern has more than one segment.
        """
        if "/" in pattern or "**" in pattern:
            raise self._needs_local_path()
        with suppress(FileNotFoundError):
            yield from (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str, **_: Any) -> Generator["StorePath", None, None]:
        """Yield the objects below a folder whose names match, by one listing; none if there is no folder."""
        try:
            found = self._listed(recursive=True)
        except FileNotFoundError:
            return
        for info in found:
            if info.is_file and fnmatchcase(info.base_name, pattern):
                yield self / info.path.removeprefix(f"{self.in_store}/")

    @staticmethod
    def _tag_of(file: "NativeFile") -> str:
        """Return the ETag of an open object; empty if the store has none."""
        found = {_text(name).lower(): _text(value) for name, value in (file.metadata() or {}).items()}
        return found.get("etag") or found.get("generation") or ""

    def _listed(self, *, recursive: bool) -> "list[FileInfo]":
        from pyarrow.fs import FileSelector

        with asking(str(self)):
            found = self.file_system.get_file_info(FileSelector(self.in_store, recursive=recursive))
        return sorted(found, key=lambda info: str(info.path))

    def _kind(self) -> str:
        with asking(str(self)):
            return str(self.file_system.get_file_info(self.in_store).type.name)

    def _identity(self) -> tuple[str, int, int]:
        """Return ETag, size and time of modification in nanoseconds of the object."""
        if len(self.parts) == 2:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self))
        with asking(str(self)):
            with self.file_system.open_input_file(self.in_store) as file:
                tag, size = self._tag_of(file), int(file.size())
            info = None if tag else self.file_system.get_file_info(self.in_store)
        time_ns = 0 if info is None or info.mtime_ns is None else int(info.mtime_ns)
        return tag or str(time_ns), size, time_ns


class _ObjectFile(io.RawIOBase):
    """Object whose last bytes, the footer of a Parquet file, are kept in memory."""

    def __init__(self, path: StorePath) -> None:
        self._file = path.open_arrow()
        self._size = int(self._file.size())
        self._at = 0
        self._tail_at = max(0, self._size - _TAIL_BYTES)
        tag = path._tag_of(self._file)
        # without a tag, nothing tells the object from a later one of its name
        self._tail = partial(_tail if tag else _tail.__wrapped__, str(path), tag, self._tail_at)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if self._at >= self._tail_at:
            found = self._tail()[self._at - self._tail_at : end - self._tail_at]
        else:
            self._file.seek(self._at)
            found = self._file.read(max(0, end - self._at))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@lru_cache(maxsize=64)
def _tail(url: str, tag: str, start: int) -> bytes:
    """Return the bytes of an object from `start` on; tag: its version."""
    with StorePath.of(url).open_arrow() as file:
        file.seek(start)
        return bytes(file.read())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
