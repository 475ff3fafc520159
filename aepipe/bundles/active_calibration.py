"""Active calibration of a bundle: its own, or a later one in the outputs of a job. Bundles never change."""

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import Calibration
from aepipe.errors import CalibrationInvalid
from aepipe.storage import HIDDEN, digest_bytes, lock, naming, put_bytes
from aepipe.storage.chained_log import (
    append_chained,
    chain_faults,
    chained,
    remove_unfinished_note,
    warn_of_incomplete_line,
)

LOG = "log.jsonl"
_DIGEST = re.compile("xxh3:[0-9a-f]{32}")
_SHOWN = 60
_WAIT_S = 60.0


def with_active_calibration(out: Path, bundle: Bundle) -> Bundle:
    """Return the bundle with the latest calibration in `out` for its version; unchanged if there is none.

    Raises CalibrationInvalid if the calibration file is missing or was changed.
    """
    digest = active_digest(out, bundle.version)
    if digest is None or digest == bundle.calibration.digest:
        return bundle
    return dataclasses.replace(bundle, calibration=_read(_file(out, digest), digest))


def active_digest(out: Path, version: str) -> str | None:
    """Return the digest of the latest calibration in `out` for a version; None if the bundle's own is active."""
    return dict(_entries(out)).get(version)


def activate_calibration(out: Path, version: str, calibration: Calibration, *, who: str, why: str) -> Path:
    """Write a calibration to `<digest>.json` and log it as the active one of a version; return the path."""
    path = _file(out, calibration.digest)
    put_bytes(path, calibration.to_json())
    record = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": who,
        "version": version,
        "digest": calibration.digest,
        "why": why,
    }
    with lock(out / HIDDEN / "locks" / "calibration.lock", wait_s=_WAIT_S):
        line = chained(json.dumps(record, ensure_ascii=False), _log_bytes(out))
        append_chained(_folder(out) / LOG, line)
    return path


def faults(out: Path) -> list[str]:
    """Return one message for each change of the log, and each calibration in it that is missing or was changed."""
    path = _folder(out) / LOG
    if not path.exists() and any(_folder(out).glob("*.json")):
        return [f"{path} is missing: no calibration in its folder is active. Run aepipe calibrate again."]
    found = chain_faults(
        path,
        _log_bytes(out),
        changed="Restore the file from a copy.",
        incomplete=", whose calibration is not active. Run aepipe calibrate again.",
    )
    for digest in dict.fromkeys(digest for _, digest in _entries(out)):
        try:
            _read(_file(out, digest), digest)
        except CalibrationInvalid as error:
            found.append(str(error))
    return found


def _entries(out: Path) -> Iterator[tuple[str, str]]:
    """Yield version and digest of each log line, oldest first; skip incomplete lines."""
    for number, line in enumerate(_log_bytes(out).splitlines(), 1):
        try:
            entry = json.loads(line)
            yield str(entry["version"]), str(entry["digest"])
        except (ValueError, KeyError, TypeError):
            warn_of_incomplete_line(_folder(out) / LOG, number)


def _log_bytes(out: Path) -> bytes:
    path = _folder(out) / LOG
    remove_unfinished_note(path)
    try:
        with naming(path):
            return path.read_bytes()
    except FileNotFoundError:
        return b""


def _read(path: Path, digest: str) -> Calibration:
    remedy = "Run aepipe calibrate again."
    try:
        data = path.read_bytes()
        if digest_bytes(data) != digest:
            raise CalibrationInvalid(f"{path} was changed after it was written: its digest differs. {remedy}")
        return Calibration.model_validate_json(data)
    except OSError as error:
        raise CalibrationInvalid(f"{path} cannot be read: {error.strerror}. {remedy}") from None
    except ValidationError:
        raise CalibrationInvalid(f"{path} is intact, but this version of aepipe cannot read it. {remedy}") from None


def _file(out: Path, digest: str) -> Path:
    """Return the file of a calibration. Raises CalibrationInvalid if the log was changed to hold no digest."""
    if not _DIGEST.fullmatch(digest):
        raise CalibrationInvalid(
            f"{_folder(out) / LOG} was changed: expected a digest, got {digest[:_SHOWN]!r}. "
            "Restore the file from a copy."
        )
    return _folder(out) / f"{digest.rpartition(':')[2]}.json"


def _folder(out: Path) -> Path:
    return out / HIDDEN / "calibration"
