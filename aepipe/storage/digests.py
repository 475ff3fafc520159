"""Digests: xxh3 for data, where speed matters, and sha256 for bundles."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from aepipe.errors import DataUnreadable
from aepipe.stores import StorePath
from aepipe.tables.source_files import printable, refuse_irregular

_CHUNK = 1 << 20
_LEAST = 1 << 16


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Digest bytes as `xxh3:` and 32 hex digits.

    >>> digest_bytes(b"")
    'xxh3:99aa06d3014798d86001c324468d497f'
    """
    return named(xxhash.xxh3_128(data))


def digest_file(path: Path, *, check: Callable[[], None] = lambda: None) -> str:
    """Digest a file as `digest_bytes` does, in chunks of 1 MiB.

    Args:
        path: the file.
        check: called after each chunk; may raise to stop.

    Raises:
        DataUnreadable: the file cannot be read.
    """
    hasher = xxhash.xxh3_128()
    for chunk in _chunks(path):
        hasher.update(chunk)
        check()
    return named(hasher)


def source_digest(path: Path, *, check: Callable[[], None] = lambda: None) -> str:
    """Digest a source file as `digest_file` does; for an object of a store, its ETag and size, without reading it.

    Raises:
        DataUnreadable: the file cannot be read.
    """
    if not isinstance(path, StorePath):
        return digest_file(path, check=check)
    check()
    try:
        return digest_of("object", path.version_tag)
    except FileNotFoundError:
        raise DataUnreadable(f"{path} does not exist. Write it again, or remove it from the job.") from None


def sha256_file(path: Path, *, check: Callable[[], None] = lambda: None) -> str:
    """Digest a file with sha256 as 64 hex digits; `check` as for `digest_file`.

    Raises:
        DataUnreadable: the file cannot be read.
    """
    hasher = hashlib.sha256()
    for chunk in _chunks(path):
        hasher.update(chunk)
        check()
    return hasher.hexdigest()


def _chunks(path: Path) -> Iterator[memoryview]:
    """Yield the bytes of a file, each time in the same buffer."""
    # not memory-mapped: a file that another process truncates would end this one with SIGBUS
    try:
        refuse_irregular(path)
        with path.open("rb", buffering=0) as file:
            buffer = memoryview(bytearray(_CHUNK if isinstance(path, StorePath) else _buffer_size(file.fileno())))
            while count := file.readinto(buffer):
                yield buffer[:count]
    except OSError as error:
        raise DataUnreadable(f"{printable(path)} cannot be read: {error.strerror}. {_remedy(error)}") from None


def _buffer_size(descriptor: int) -> int:
    """Return the size of a buffer that holds a small file and shows its end: clearing 1 MiB takes 50 us."""
    return min(_CHUNK, max(_LEAST, os.fstat(descriptor).st_size + 1))


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Grant read permission."
    return "Check or rewrite the file."


def digest_of(*parts: str | bytes) -> str:
    """Digest several parts, in order, as one key; text counts as its UTF-8 bytes.

    The length precedes each part, so that moving a letter from one part to the next changes the key.

    >>> digest_of("ab", "c") == digest_of("a", "bc")
    False
    """
    hasher = xxhash.xxh3_128()
    for part in parts:
        # surrogatepass: a file name that is not UTF-8 comes as lone surrogates
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return named(hasher)


def sha256_bytes(data: bytes) -> str:
    """Digest bytes with sha256 as 64 hex digits.

    >>> sha256_bytes(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def named(hasher: xxhash.xxh3_128) -> str:
    """Format the current digest of an xxh3_128."""
    return f"xxh3:{hasher.hexdigest()}"
