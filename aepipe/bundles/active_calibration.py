"""The calibration in force: the bundle's own, or a later one beside a job's outputs. Bundles never change."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import Calibration
from aepipe.errors import CalibrationInvalid
from aepipe.storage import HIDDEN, append_line, digest_bytes, put_bytes

log = logging.getLogger(__name__)

LOG = "log.jsonl"


def with_active_calibration(out: Path, bundle: Bundle) -> Bundle:
    """The bundle with the calibration that was last made for its version beside these outputs, else as it is.

    Raises CalibrationInvalid where that file is gone or not what was written.
    """
    digest = _latest(out, bundle.version)
    if digest is None or digest == bundle.calibration.digest:
        return bundle
    return dataclasses.replace(bundle, calibration=_read(_file(out, digest), digest))


def activate_calibration(out: Path, version: str, calibration: Calibration, *, who: str, why: str) -> Path:
    """From now on this calibration judges what the version scores; returns its file, `<digest>.json`."""
    path = _file(out, calibration.digest)
    put_bytes(path, calibration.to_json())
    line = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": who,
        "version": version,
        "digest": calibration.digest,
        "why": why,
    }
    append_line(_folder(out) / LOG, json.dumps(line, ensure_ascii=False))
    return path


def faults(out: Path) -> list[str]:
    """A sentence for each calibration in force that is gone or not what was written."""
    found = []
    for digest in dict(_entries(out)).values():
        try:
            _read(_file(out, digest), digest)
        except CalibrationInvalid as error:
            found.append(str(error))
    return found


def _latest(out: Path, version: str) -> str | None:
    """The digest of the last line for this version."""
    return dict(_entries(out)).get(version)


def _entries(out: Path) -> Iterator[tuple[str, str]]:
    """Version and digest of each line, oldest first; lines that a power cut left unfinished are passed over."""
    try:
        lines = (_folder(out) / LOG).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            yield str(entry["version"]), str(entry["digest"])
        except (ValueError, KeyError, TypeError):
            log.warning("%s has a line that cannot be read, which is passed over", _folder(out) / LOG)


def _read(path: Path, digest: str) -> Calibration:
    remedy = "run aepipe calibrate again"
    try:
        data = path.read_bytes()
        if digest_bytes(data) != digest:
            raise CalibrationInvalid(f"{path} is not the file that was written, its digest differs: {remedy}")
        return Calibration.model_validate_json(data)
    except OSError as error:
        raise CalibrationInvalid(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except ValidationError:
        raise CalibrationInvalid(f"{path} is whole, but this version of aepipe cannot read it: {remedy}") from None


def _file(out: Path, digest: str) -> Path:
    return _folder(out) / f"{digest.rpartition(':')[2]}.json"


def _folder(out: Path) -> Path:
    return out / HIDDEN / "calibration"
