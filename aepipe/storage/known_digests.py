"""File of known sha256 digests of source files, and the comparison with them."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv

from aepipe.errors import DataUnreadable, JobInvalid
from aepipe.storage.digests import sha256_file
from aepipe.storage.parquet_writer import read_parquet
from aepipe.stores.store_path import is_url
from aepipe.tables.source_files import printable

_LINE = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>.+)")
_BSD_LINE = re.compile(r"(?P<escaped>)SHA256 \((?P<name>.+)\) = (?P<digest>[0-9a-fA-F]{64})")
_DIGEST = re.compile("[0-9a-f]{64}")
_COLUMNS = ("path", "sha256")
_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class KnownDigests:
    """Digests of source files that were known before they are read."""

    source: Path
    """File that names them."""
    digests: Mapping[str, str]
    """sha256 as 64 hex digits, by absolute path."""

    def refuse_different(self, paths: Iterable[Path], *, check: Callable[[], None] = lambda: None) -> None:
        """Refuse files whose content is not the known one.

        Args:
            paths: the files.
            check: called after each chunk; may raise to stop.

        Raises:
            DataUnreadable: a file has another digest, is not listed or cannot be read.
        """
        for path in paths:
            self._refuse_different(path, check)

    def _refuse_different(self, path: Path, check: Callable[[], None]) -> None:
        expected = self.digests.get(_absolute(path))
        if expected is None:
            raise DataUnreadable(
                f"{printable(path)} has no known digest: expected a line in {self.source}, got none. Add its sha256 "
                "sum."
            )
        found = sha256_file(path, check=check)
        if found != expected:
            raise DataUnreadable(
                f"{printable(path)} differs from its known digest in {self.source}: expected sha256 {expected}, got "
                f"{found}. Restore the file, or update its line."
            )


def read_known_digests(source: Path, *, data: Path) -> KnownDigests:
    """Read known digests from lines of `sha256sum`, or from Parquet or CSV with the columns `path` and `sha256`.

    Args:
        source: the file. Relative paths in it start at its folder, or at `data` if no such file is there.
        data: folder of the source table.

    Raises:
        JobInvalid: the file cannot be read, or a line is not a digest; names the first lines.
    """
    found: dict[str, str] = {}
    faults: list[str] = []
    for place, name, digest in _entries(source):
        if name is None or digest is None or _DIGEST.fullmatch(digest) is None:
            faults.append(f"{place} is not a digest: expected 64 hex digits and a path, as sha256sum writes them")
            continue
        path = _absolute(_located(name, source.parent, data))
        if found.setdefault(path, digest) != digest:
            faults.append(f"{place} names another digest of {name} than a line before it")
    if faults:
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise JobInvalid(str(source), faults[:_MOST_FAULTS] + more)
    return KnownDigests(source, found)


def _entries(source: Path) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield place, path and digest of each entry; None where it has none."""
    try:
        if source.suffix in (".parquet", ".csv"):
            yield from _table_entries(source)
            return
        text = source.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise JobInvalid(str(source), [f"known digests cannot be read: {error.strerror or error}"]) from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = _LINE.fullmatch(line) or _BSD_LINE.fullmatch(line)
        if entry is None:
            yield f"line {number}", None, None
        else:
            yield (
                f"line {number}",
                _unescaped(entry["name"]) if entry["escaped"] else entry["name"],
                entry["digest"].lower(),
            )


def _table_entries(source: Path) -> Iterator[tuple[str, str | None, str | None]]:
    try:
        if source.suffix == ".csv":
            options = arrow_csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()))
            table = arrow_csv.read_csv(source, convert_options=options)
        else:
            table = read_parquet(source)
    except (pa.ArrowException, DataUnreadable) as error:
        raise JobInvalid(str(source), [f"known digests cannot be read: {error}"]) from None
    absent = [name for name in _COLUMNS if name not in table.column_names]
    if absent:
        raise JobInvalid(str(source), [f"known digests lack the column '{name}'" for name in absent])
    rows = table.select(_COLUMNS).to_pylist()
    for number, row in enumerate(rows):
        path, digest = row["path"], row["sha256"]
        yield f"row {number}", path and str(path), digest and str(digest).lower()


def _unescaped(name: str) -> str:
    r"""Return a name without the escapes that sha256sum writes for newlines and backslashes.

    >>> _unescaped(r"a\\b\nc") == "a\\b\nc"
    True
    """
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], name)


def _located(name: str, folder: Path, data: Path) -> Path:
    if is_url(name) or Path(name).is_absolute():
        return Path(name)
    return folder / name if (folder / name).exists() or is_url(str(data)) else data / name


def _absolute(path: Path) -> str:
    return str(path) if is_url(str(path)) else os.path.realpath(path)
