"""Aliases of versions: an append-only log in the folder of the versions. Reads only."""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from aepipe.errors import BundleCorrupt, BundleNotFound, did_you_mean
from aepipe.frozen import FrozenModel
from aepipe.storage.chained_log import chain_digest, chain_faults, remove_unfinished_note, warn_of_incomplete_line
from aepipe.storage.regular_files import read_regular
from aepipe.stores import StorePath

MANIFEST = "MANIFEST.json"
LOG_NAME = "aliases.jsonl"
CHAMPION = "champion"
CHALLENGER = "challenger"
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"

_VERSION = r"\d{8}T\d{6}Z-[0-9a-f]{8}"
_MOST_LOG_BYTES = 256 << 20
_RESTORE = "Restore the file from a copy."


class Naming(FrozenModel):
    """One line of the log: from `when` on, `alias` refers to `version`."""

    alias: str = Field(pattern=ALIAS_PATTERN)
    version: str = Field(pattern=rf"^{_VERSION}$")
    previous: str | None = Field(description="version that the alias referred to before; None: the alias is new")
    who: str
    why: str
    when: AwareDatetime
    evidence: str | None = Field(
        None, pattern=r"^xxh3:[0-9a-f]{1,32}$", description="digest of the promotion report behind the change"
    )
    is_rollback: bool = Field(False, description="the entry undoes the change before it")
    chain: str | None = Field(None, description="digest of all lines before this one, and of this one without it")

    def to_line(self) -> str:
        """Serialise to one line of the log; optional fields only where they are set."""
        optional = {"evidence", "is_rollback", "chain"} - self.model_fields_set
        return self.model_dump_json(exclude=optional)


def is_version(name: str) -> bool:
    """Return whether a folder name is that of a bundle version.

    >>> is_version("20261121T130501Z-1a2b3c4d"), is_version("champion")
    (True, False)
    """
    return re.fullmatch(_VERSION, name) is not None


def versions(folder: Path) -> tuple[str, ...]:
    """Return the names of the bundle versions in exported/<name>, oldest first."""
    if not folder.is_dir():
        return ()
    found = sorted(entry for entry in folder.iterdir() if is_version(entry.name))
    # in an object store a version is there once its manifest is, which is written last
    return tuple(
        entry.name
        for entry in found
        if ((entry / MANIFEST).exists() if isinstance(entry, StorePath) else entry.is_dir())
    )


def read_log(folder: Path) -> tuple[Naming, ...]:
    """Read all log entries, oldest first; skip a line cut by a crash. Raises BundleCorrupt for any other fault."""
    path = folder / LOG_NAME
    found = []
    for number, line in enumerate(log_bytes(folder).splitlines(), 1):
        try:
            found.append(Naming.model_validate_json(line))
        except ValidationError:
            if line.endswith(b"}"):
                raise BundleCorrupt(f"{path} line {number} is not an alias entry. {_RESTORE}") from None
            warn_of_incomplete_line(path, number)
    return tuple(found)


def chained(naming: Naming, earlier: bytes) -> Naming:
    """Return the entry with the digest that chains it to the log before it, so that `log_faults` finds a change.

    Args:
        naming: the new entry.
        earlier: content of the log; an incomplete last line counts as complete, which `append_line` makes it.
    """
    return naming.model_copy(update={"chain": chain_digest(naming.to_line(), earlier)})


def log_faults(folder: Path) -> list[str]:
    """Return one message per entry that was changed, removed or inserted, and one if the last line is incomplete.

    Entries before the first with a digest, from version 0.1.0, are covered by the digest of that entry.
    """
    return chain_faults(
        folder / LOG_NAME,
        log_bytes(folder),
        changed=_RESTORE,
        incomplete=", whose alias was not set. Set the alias again.",
    )


def log_bytes(folder: Path) -> bytes:
    """Return the content of the log; empty if there is none. Raises BundleCorrupt if it cannot be read."""
    path = folder / LOG_NAME
    remove_unfinished_note(path)
    try:
        return read_regular(path, most=_MOST_LOG_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error.strerror}. {_RESTORE}") from None


def current(folder: Path) -> dict[str, str]:
    """Return the current version of each alias."""
    return {naming.alias: naming.version for naming in read_log(folder)}


def resolve(folder: Path, name: str = CHAMPION) -> Path:
    """Return the folder of an alias or a version of exported/<name>. Raises BundleNotFound."""
    if is_version(name):
        if not (folder / name).is_dir():
            raise BundleNotFound(f"{folder} has no version {name}{_nearest(name, versions(folder))}")
        return folder / name
    names = current(folder)
    if name not in names:
        raise BundleNotFound(_no_such_alias(folder, name, names))
    if not (folder / names[name]).is_dir():
        raise BundleNotFound(
            f"{folder / names[name]}, the {name}, is missing. "
            "Restore that folder, or move the alias to another version."
        )
    return folder / names[name]


def locate(path: Path) -> Path:
    """Return the folder of a version.

    Raises BundleNotFound.

    Args:
        path: exported/<name>/<version>, exported/<name> (its champion) or exported/<name>@<alias>.
    """
    if (path / MANIFEST).exists() or is_version(path.name):
        if not path.is_dir():
            raise BundleNotFound(f"{path} does not exist{_nearest(path.name, versions(path.parent))}")
        return path
    base, at, alias = path.name.partition("@")
    folder = path.with_name(base) if at else path
    if not folder.is_dir():
        siblings = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise BundleNotFound(f"{folder} does not exist{_nearest(folder.name, siblings)}")
    return resolve(folder, alias if at else CHAMPION)


def _no_such_alias(folder: Path, name: str, names: Iterable[str]) -> str:
    found = versions(folder)
    if not found:
        return f"{folder} has no bundle. Train one."
    if names:
        return f"{folder} has no {name!r}{_nearest(name, names)}"
    return f"{folder} has {len(found)} versions, but no {name}. Set the alias; the latest version is {found[-1]}."


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    choice = f". Choose one of {', '.join(known[-5:])}." if known else ". There are no others. Train a model."
    return did_you_mean(name, known) or choice
