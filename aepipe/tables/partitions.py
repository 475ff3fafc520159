"""Find the Parquet files of each partition. Only names are read, no file is opened."""

import errno
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.stores import StorePath
from aepipe.stores.table_url import TableUrl
from aepipe.tables.formats.source_table import files_as_of, files_of_table
from aepipe.tables.partition_dates import date_of_partition, parse_date
from aepipe.tables.source_files import printable
from aepipe.tables.text_files.formats import remedy_for

_log = logging.getLogger(__name__)

_Tokens = tuple[str | int, ...]


class Partition(NamedTuple):
    """Partition of a table: `name` is `dt=2026-01-01`, `dt=2026-01-01/hour=3` or a file's stem; `files` are sorted."""

    name: str
    files: tuple[Path, ...]
    misplaced: str = ""
    """why the files found under this name do not belong to the table; `files` is empty then"""


def discover(job: Job) -> tuple[Partition, ...]:
    """List the partitions of the job's data in natural order of their names (hour=9 before hour=10).

    Each `key=value` folder, nested or not, is a partition; without such folders each file is one, named by its stem.
    The partition columns of a Delta or Iceberg table define its partitions, in the version that the job names.

    The job's own outputs and bundles, and names that start with `.` or `_`, are skipped. Entries with other keys than
    more than half of the partitions are misplaced: they are listed without their files.

    Raises:
        DataUnreadable: there is no partition, or no more than half of them share their keys.
    """
    root = job.data_path
    if isinstance(root, TableUrl):
        data = job.data
        return _listed(files_of_table(root, data.catalog, version=data.version, key=data.partition))
    if root.is_file() and (remedy := remedy_for(root)) is not None:
        raise DataUnreadable(f"{root} is not a Parquet file. {remedy}")
    if not root.exists():
        raise DataUnreadable(
            f"{root} does not exist. Set data.path in {job.source} to a folder of Parquet files, or one file."
        )
    if root.is_file():
        return (Partition(root.stem, (root,)),)
    if (root / "_delta_log").is_dir():
        _log.warning(
            "%s is a Delta table: read as plain files, it includes rows that were deleted. Set data.path to delta://%s.",
            *(root, job.data.path),
        )
    skipped = {job.out_path.resolve(), job.exported_path.resolve()}
    listed = _stored_files if isinstance(root, StorePath) else _parquet_files
    found: dict[str, list[Path]] = defaultdict(list)
    unreadable: set[Path] = set()
    try:
        for file in listed(root, skipped, (root.resolve(),), unreadable):
            folders = [printable(part) for part in _parts_below(root, file)[: None if file in unreadable else -1]]
            path = "/".join(folders)
            plain = not all(_is_hive(folder) for folder in folders)
            found[f"./{path}" if plain else path if folders else printable(file.stem)].append(file)
    except OSError as error:
        raise DataUnreadable(
            f"{root} cannot be listed: {os.strerror(error.errno or errno.EIO)}. Grant read permission."
        ) from None
    misplaced = _check(found, unreadable, job)
    for fault in misplaced.values():
        _log.warning("%s", fault)
    return tuple(
        Partition(name, (), misplaced[name]) if name in misplaced else Partition(name, tuple(sorted(found[name])))
        for name in sorted(found, key=natural_order)
    )


def discover_as_of(job: Job, moments: Callable[[str], datetime | None]) -> tuple[Partition, ...]:
    """List the partitions of a Delta or Iceberg table, each with the files that it had at a moment of its own.

    Other sources have no versions, and a job may name one version: then these are the partitions of `discover`.

    Args:
        job: the job.
        moments: returns the moment of a partition, by its name; None: now.

    Raises:
        DataUnreadable: the table cannot be read.
    """
    root = job.data_path
    if not isinstance(root, TableUrl) or job.data.version is not None:
        return discover(job)
    return _listed(files_as_of(root, job.data.catalog, moments=moments))


def _listed(files: Mapping[str, tuple[Path, ...]]) -> tuple[Partition, ...]:
    return tuple(Partition(name, files[name]) for name in sorted(files, key=natural_order))


def select(partitions: Sequence[Partition], first: str | None, last: str | None) -> tuple[Partition, ...]:
    """Select the partitions from `first` to `last`, both inclusive.

    The key may be omitted (`2026-01-01` for `dt=2026-01-01`). A bound covers every name that it is a prefix of:
    `to = "2026-01"` selects the whole month. Misplaced partitions are in no order: all are selected.

    Args:
        partitions: in order.
        first: first partition; None for no bound.
        last: last partition; None for no bound.

    Raises:
        DataUnreadable: no partition is left.
    """
    misplaced = [partition for partition in partitions if partition.misplaced]
    partitions = well_placed(partitions)
    names = [partition.name for partition in partitions]
    dates = [date_of_partition(name) for name in names]
    since, until = parse_date(first or ""), parse_date(last or "")
    if None in dates or (first is not None and since is None) or (last is not None and until is None):
        low = _bound(first, names) if first is not None else None
        high = _bound(last, names) if last is not None else None
        tokens = [_tokens(name) for name in names]
        kept = tuple(
            partition
            for partition, own in zip(partitions, tokens, strict=True)
            if (low is None or own >= low.tokens)
            and (high is None or (own if high.whole else own[: len(high.tokens)]) <= high.tokens)
        )
    else:
        # A bound may be shorter than a date: a month covers its days.
        kept = tuple(
            partition
            for partition, date in zip(partitions, dates, strict=True)
            if date
            and (since is None or date[: len(since)] >= since[: len(date)])
            and (until is None or date[: len(until)] <= until[: len(date)])
        )
    if not kept:
        span = f"from '{first or names[0]}' to '{last or names[-1]}'" if names else ""
        there = f"there are {len(names)}, from '{names[0]}' to '{names[-1]}'" if names else "there are none"
        is_reversed = since is not None and until is not None and since > until
        remedy = "Exchange the first and the last" if is_reversed else "Change the first or the last partition"
        raise DataUnreadable(f"no partition lies {span}: {there}. {remedy}.")
    return (*kept, *misplaced)


def well_placed(partitions: Sequence[Partition]) -> tuple[Partition, ...]:
    """Return the partitions without the misplaced ones."""
    return tuple(partition for partition in partitions if not partition.misplaced)


def named(partitions: Sequence[Partition], name: str) -> Partition | None:
    """Return the partition of this name: in full, without its key, or by the only date that is this one."""
    for partition in partitions:
        if name == partition.name or ("/" not in partition.name and name == partition.name.rpartition("=")[2]):
            return partition
    date = parse_date(name)
    of_date = [partition for partition in partitions if date is not None and date_of_partition(partition.name) == date]
    return of_date[0] if len(of_date) == 1 else None


def full_names(known: Iterable[str], wanted: Iterable[str], *, what: str) -> list[str]:
    """Return the wanted partitions by their names in full, each once.

    Args:
        known: Names of the partitions there are.
        wanted: Names as `named` takes them.
        what: What is known of partitions, for the message, such as "scores of t/1".

    Raises:
        ArgumentInvalid: A partition is not known; all such partitions are listed.
    """
    partitions = [Partition(name, ()) for name in known]
    found = {name: named(partitions, name) for name in wanted}
    names = [partition.name for partition in partitions]
    absent = [
        f"'{name}' has no {what}{did_you_mean(name, names, listed=3)}" for name, one in found.items() if one is None
    ]
    if absent:
        raise ArgumentInvalid("partition", absent)
    return list(dict.fromkeys(partition.name for partition in found.values() if partition is not None))


def _parquet_files(
    folder: Path, skipped: set[Path], ancestors: tuple[Path, ...], unreadable: set[Path]
) -> Iterator[Path]:
    """Yield the files below a folder, and the folders that cannot be listed, which are added to `unreadable`.

    Such a folder stands for its files: reading it raises the error that concerns its partition.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        hidden = name.startswith((".", "_"))
        path, is_link = folder / name, entry.is_symlink()
        if path.is_dir() if is_link else entry.is_dir():
            target = path.resolve() if is_link else ancestors[-1] / name  # to resolve asks for each folder above it
            if (hidden and not _is_hive(name)) or target in skipped:
                continue
            is_loop = target in ancestors
            if is_loop or not os.access(path, os.R_OK | os.X_OK):
                _log.warning("%s %s", printable(path), "links to a folder above it" if is_loop else "cannot be listed")
                unreadable.add(path)
                yield path
            else:
                yield from _parquet_files(path, skipped, (*ancestors, target), unreadable)
        elif name.endswith(".parquet") and not hidden:
            yield path


def _stored_files(root: Path, skipped: set[Path], _: tuple[Path, ...], __: set[Path]) -> Iterator[Path]:
    """Yield the files below a prefix of an object store, by one listing."""
    for file in root.rglob("*.parquet"):
        folders = file.relative_to(root).parts
        hidden = any(name.startswith((".", "_")) and not _is_hive(name) for name in folders[:-1])
        if not hidden and not folders[-1].startswith((".", "_")) and skipped.isdisjoint(file.parents):
            yield file


def _parts_below(root: Path, file: Path) -> Sequence[str]:
    """Return the segments of a path below a folder; by its text where that is possible, in a fifth of the time."""
    text, prefix = str(file), f"{root}/"
    if isinstance(file, StorePath) or not text.startswith(prefix):
        return file.relative_to(root).parts
    return text.removeprefix(prefix).split("/")


def _is_hive(name: str) -> bool:
    key, equals, value = name.partition("=")
    return bool(key and equals and value)


def _keys(name: str) -> tuple[str, ...]:
    """Return the keys of a partition's name; empty for a file's stem."""
    return tuple(part.partition("=")[0] for part in name.split("/")) if "=" in name else ()


def _check(found: dict[str, list[Path]], unreadable: set[Path], job: Job) -> dict[str, str]:
    """Remove plain sub-folders, and return a fault for each partition with other keys than most.

    A folder that cannot be listed may have deeper keys, so it is not compared.

    Raises:
        DataUnreadable: there is no partition, or no more than half of them share their keys.
    """
    root, wanted = job.data_path, job.data.partition
    plain = [name for name in found if name.startswith("./")]
    for name in plain:
        del found[name]
    if not found:
        deeper = f"; {root / plain[0]} holds some. Name that folder, or rename folders to key=value." if plain else ""
        others = (remedy_for(file) for file in sorted(root.iterdir()))
        remedy = next((found for found in others if found), "Set data.path to the folder that holds them.")
        raise DataUnreadable(f"{root} holds no .parquet file{deeper or f'. {remedy}'}")
    readable = {name: [file for file in files if file not in unreadable] for name, files in found.items()}
    firsts = {name: files[0].relative_to(root) for name, files in readable.items() if files}
    if not firsts:
        return {}
    keys_of = {name: tuple(part.partition("=")[0] for part in first.parts[:-1]) for name, first in firsts.items()}
    (keys, count), *rarer = Counter(keys_of.values()).most_common()
    if rarer and 2 * count <= len(keys_of):
        several = " and ".join(
            f"'{next(firsts[name] for name in firsts if keys_of[name] == k)}'" for k in (keys, rarer[0][0])
        )
        raise DataUnreadable(
            f"{root} mixes partitions with different keys, such as {several}. Keep one kind per folder."
        )
    if wanted is not None and wanted not in keys:
        has = f"the folders' keys are {', '.join(keys)}" if keys else "no folder is named key=value"
        raise DataUnreadable(f"{root} is not partitioned by '{wanted}': {has}. Change data.partition in {job.source}.")
    expected = (
        f"a folder {'/'.join(f'{key}=...' for key in keys)}" if keys else "no folder key=value, as for the others"
    )
    return {
        name: f"{root / firsts[name]} is misplaced: expected {expected}. Move or remove it."
        for name, own in keys_of.items()
        if own != keys
    }


def natural_order(name: str) -> tuple[_Tokens, str]:
    """Return a sort key that compares numbers as numbers; the name breaks ties such as 1 and 01."""
    return _tokens(name), name


def _tokens(text: str) -> _Tokens:
    """Split into alternating text and numbers.

    >>> _tokens("dt=2026-01")
    ('dt=', 2026, '-', 1)
    """
    parts = re.split(r"([0-9]+)", text)
    tokens = tuple(int(part) if at % 2 else part for at, part in enumerate(parts))
    return tokens[:-1] if tokens[-1] == "" else tokens


class _Bound(NamedTuple):
    tokens: _Tokens
    whole: bool
    """The bound is the name of a partition, so it does not cover longer names."""


def _bound(text: str, names: Sequence[str]) -> _Bound:
    keys = _keys(names[0]) if names else ()
    given = _keys(text)
    if not given and keys:
        text = f"{keys[0]}={text}"
    elif given != keys[: len(given)]:
        kind = f"partitions are named {'/'.join(f'{key}=...' for key in keys)}" if keys else "partitions are files"
        raise DataUnreadable(
            f"'{text}' is not a partition: {kind}, such as '{names[0]}'" if names else "there are no partitions"
        )
    return _Bound(_tokens(text), text in names)
