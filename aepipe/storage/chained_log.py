"""Logs of JSON lines in which each line holds a digest of all lines before it, so that later changes are found."""

import logging
import re
from functools import lru_cache
from pathlib import Path

from aepipe.storage.atomic_files import append_line, put_bytes, remove_abandoned
from aepipe.storage.digests import digest_of
from aepipe.storage.regular_files import read_regular
from aepipe.stores import StorePath

log = logging.getLogger(__name__)

_MOST_DIGEST_BYTES = 100
_CHAIN = re.compile(rb',"chain":"([^"]*)"}$')


def chain_digest(line: str, earlier: bytes) -> str:
    """Return the digest that chains a new line to the log before it.

    Args:
        line: a JSON object without the field `chain`.
        earlier: content of the log; an incomplete last line counts as complete, which `append_line` makes it.
    """
    before = earlier if not earlier or earlier.endswith(b"\n") else earlier + b"\n"
    return digest_of(before, line)


def chained(line: str, earlier: bytes) -> str:
    """Return a JSON object as the next line of a log, with the field `chain` at its end; arguments as above."""
    return f'{line.removesuffix("}")},"chain":"{chain_digest(line, earlier)}"}}'


def append_chained(path: Path, line: str) -> None:
    """Append a line with its digest to a log, and note its digest in `.<name>.last` in the same folder.

    The caller must hold a lock of the log.

    Args:
        path: the log.
        line: a JSON object that ends in the field `chain`, as `chained` returns it.
    """
    append_line(path, line)
    (digest,) = _CHAIN.findall(line.encode())
    put_bytes(_last(path), digest)  # a process killed before this leaves the digest of a line that is still there


def remove_unfinished_note(path: Path) -> None:
    """Remove what an `append_chained` that was killed after its line left: the temporary file of the last digest.

    Readers of a log call it, since the next line may be far away.
    """
    if not isinstance(path, StorePath):
        remove_abandoned(_last(path))


@lru_cache(maxsize=1024)
def warn_of_incomplete_line(path: Path, number: int) -> None:
    """Log that a reader skips a line, once per process: a command reads the same log several times."""
    log.warning("%s line %d is incomplete; it is skipped", path, number)


def _last(path: Path) -> Path:
    return path.with_name(f".{path.name}.last")


def chain_faults(path: Path, data: bytes, *, changed: str, incomplete: str) -> list[str]:
    """Return one message per line that was changed, removed or inserted, and one if the last line is incomplete.

    Lines before the first with a digest, of an earlier version of aepipe, are covered by the digest of that line.
    Missing lines at the end are found by the digest that `append_chained` notes.

    Args:
        path: the log, for the messages.
        data: its content.
        changed: remedy for a change.
        incomplete: what follows from an incomplete last line, and its remedy.
    """
    start, is_chained, found = 0, False, []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        text = line.rstrip(b"\n")
        end = _CHAIN.search(text)
        if end is not None:
            is_chained = True
            if end[1] != digest_of(data[:start], text[: end.start()] + b"}").encode():
                found.append(f"{path} was changed at or before line {number}: its digest differs. {changed}")
        elif text.endswith(b"}") and is_chained:
            found.append(f"{path} line {number} has no digest, unlike a line before it. {changed}")
        elif not text.endswith(b"}") and start + len(line) == len(data):
            found.append(f"{path} ends in an incomplete line{incomplete}")
        start += len(line)
    if not found and not _holds_last(path, data):
        found.append(f"{path} lacks its last lines. {changed}")
    if data and not data.endswith(b"\n"):
        found = found or [f"{path} was changed: its last line does not end. {changed}"]
    return found


def _holds_last(path: Path, data: bytes) -> bool:
    """Return False if the noted digest of a last line is in no line of the log."""
    try:
        last = read_regular(_last(path), most=_MOST_DIGEST_BYTES)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return any(_CHAIN.findall(line) == [last] for line in data.splitlines())
