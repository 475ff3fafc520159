"""Which version a name stands for: the append-only log of aliases beside the versions. Nothing here writes."""

import difflib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from aepipe.errors import BundleCorrupt, BundleNotFound
from aepipe.frozen import FrozenModel

MANIFEST = "MANIFEST.json"
LOG_NAME = "aliases.jsonl"
CHAMPION = "champion"
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"

_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
_logger = logging.getLogger(__name__)


class Naming(FrozenModel):
    """One line of the log: from `when` on, `alias` stands for `version`."""

    alias: str = Field(pattern=ALIAS_PATTERN)
    version: str
    previous: str | None = Field(description="what the alias stood for before; none: it is new")
    who: str
    why: str
    when: AwareDatetime


def is_version(name: str) -> bool:
    """Whether a folder's name is that of a bundle.

    >>> is_version("20261121T130501Z-1a2b3c4d"), is_version("champion")
    (True, False)
    """
    return _VERSION.fullmatch(name) is not None


def versions(folder: Path) -> tuple[str, ...]:
    """The names of the bundles below exported/<name>, oldest first."""
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if is_version(entry.name) and entry.is_dir()))


def read_log(folder: Path) -> tuple[Naming, ...]:
    """Every naming, oldest first. Half a line that a crash left is passed over; BundleCorrupt for any other fault."""
    path = folder / LOG_NAME
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Naming.model_validate_json(line))
        except ValidationError:
            if line.endswith(b"}"):
                raise BundleCorrupt(f"{path} line {number} is no naming of a version: restore the file") from None
            _logger.warning("%s line %d is half a line, and is passed over", path, number)
    return tuple(found)


def current(folder: Path) -> dict[str, str]:
    """The version that each alias stands for now."""
    return {naming.alias: naming.version for naming in read_log(folder)}


def resolve(folder: Path, name: str = CHAMPION) -> Path:
    """The folder of an alias or a version of exported/<name>. Raises BundleNotFound."""
    if is_version(name):
        if not (folder / name).is_dir():
            raise BundleNotFound(f"{folder} has no version {name}{_nearest(name, versions(folder))}")
        return folder / name
    names = current(folder)
    if name not in names:
        raise BundleNotFound(_no_such_alias(folder, name, names))
    if not (folder / names[name]).is_dir():
        raise BundleNotFound(
            f"{folder / names[name]}, the {name}, is gone: restore that folder, or give the name to another version"
        )
    return folder / names[name]


def locate(path: Path) -> Path:
    """The folder of a version named in full, or as exported/<name> (its champion), or as exported/<name>@<alias>."""
    if (path / MANIFEST).exists() or is_version(path.name):
        if not path.is_dir():
            raise BundleNotFound(f"{path} does not exist{_nearest(path.name, versions(path.parent))}")
        return path
    base, at, alias = path.name.partition("@")
    folder = path.with_name(base) if at else path
    if not folder.is_dir():
        beside = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise BundleNotFound(f"{folder} does not exist{_nearest(folder.name, beside)}")
    return resolve(folder, alias if at else CHAMPION)


def _no_such_alias(folder: Path, name: str, names: Iterable[str]) -> str:
    found = versions(folder)
    if not found:
        return f"{folder} holds no bundle yet: train one"
    if names:
        return f"{folder} has no {name!r}{_nearest(name, names)}"
    return f"{folder} has {len(found)} versions and none is the {name}: give one the name; the latest is {found[-1]}"


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f": did you mean {near[0]}?"
    return f": there are {', '.join(known[-5:])}" if known else ": there is none; train one"
