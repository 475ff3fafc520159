"""Names of contents: xxh3 for data, where speed matters, and sha256 for bundles."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from aepipe.errors import DataUnreadable

_CHUNK = 1 << 20


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """The name of these bytes, `xxh3:` and 32 hex digits.

    >>> digest_bytes(b"")
    'xxh3:99aa06d3014798d86001c324468d497f'
    """
    return named(xxhash.xxh3_128(data))


def digest_file(path: Path, *, check: Callable[[], None] = lambda: None) -> str:
    """What `digest_bytes` says of the whole file, read in chunks of 1 MiB.

    check: called after each chunk; what it raises ends the reading.
    Raises DataUnreadable.
    """
    hasher = xxhash.xxh3_128()
    for chunk in _chunks(path):
        hasher.update(chunk)
        check()
    return named(hasher)


def _chunks(path: Path) -> Iterator[memoryview]:
    """The bytes of a file, each time in the same buffer.

    Not memory-mapped: a file that another process truncates would end this one with SIGBUS.
    """
    buffer = memoryview(bytearray(_CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                yield buffer[:count]
    except OSError as error:
        raise DataUnreadable(f"{path} cannot be read: {error.strerror}. Write the file again.") from None


def digest_of(*parts: str | bytes) -> str:
    """One key for several parts, in order; text counts as its UTF-8 bytes.

    Each part is preceded by its length, so that moving a letter from one part to the next gives another key.

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
    """The sha256 of these bytes as 64 hex digits.

    >>> sha256_bytes(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def named(hasher: xxhash.xxh3_128) -> str:
    """The digest that a running xxh3_128 stands at."""
    return f"xxh3:{hasher.hexdigest()}"
