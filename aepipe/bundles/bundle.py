"""One model version as a folder of verified files, written once. Independent of torch and onnxruntime."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, JsonValue, PlainSerializer, ValidationError, model_validator
from pydantic_core import from_json

from aepipe.bundles.aliases import MANIFEST, locate
from aepipe.bundles.golden_rows import Golden, golden_bytes, golden_of
from aepipe.bundles.graph_check import graph_faults
from aepipe.bundles.signature import SIGNATURE, check_signature
from aepipe.calibration.conformal import Calibration
from aepipe.calibration.open_set import OpenSet
from aepipe.encoding import Encoding
from aepipe.errors import BundleCorrupt, BundleNotFound, BundleTooNew, OptionInvalid
from aepipe.frozen import FrozenModel
from aepipe.layout import INFORMATION, LatentSpace, Port
from aepipe.series import memory as series_memory
from aepipe.series.memory import SeriesMemory
from aepipe.series.stage import FILE as STAGE
from aepipe.series.stage import SeriesStage
from aepipe.storage import lock, sha256_bytes
from aepipe.storage.atomic_files import json_bytes
from aepipe.storage.atomic_folders import put_folder
from aepipe.storage.regular_files import read_regular
from aepipe.stores import as_path

CONTRACT = 1
"""Format version of a bundle; incremented when an older aepipe would misread the files."""

SCHEMA, CALIBRATION, GOLDEN = "schema.json", "calibration.json", "golden.parquet"
LOCK = ".lock"

JOB_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_PART_NAME = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
_MOST_MANIFEST_BYTES = 64 << 20
_LEAST_READ = 1 << 20  # bytes: a small file of another size is reported with its size
_MOST_SHOWN = 300  # characters of a cause, which may come from a hostile file

_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_WAIT_S = 60.0
_RESTORE = "Restore the bundle from a copy, or train again."
_logger = logging.getLogger(__name__)

NamedPort = Annotated[Port, PlainSerializer(lambda port: port._asdict())]


class PartInfo(FrozenModel):
    """One ONNX file: its tensors, tolerances, and differences from torch at export."""

    inputs: tuple[NamedPort, ...]
    outputs: tuple[NamedPort, ...]
    rtol: float = Field(1e-4, ge=0)
    atol: float = Field(1e-4, ge=0)
    parity: dict[str, JsonValue] = Field(default_factory=dict, description="greatest differences from torch, by rows")


class FileEntry(FrozenModel):
    """Size and digest of a file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


COLLAPSED_NATS = 0.1
"""A model with less information has collapsed (posterior collapse, Bowman et al. 2016)."""


class BundleManifest(FrozenModel):
    """Contents and provenance of a bundle; `write_bundle` fills in `created_at` and `files`."""

    contract: int = CONTRACT
    name: str = Field(pattern=JOB_NAME, description="of the job; versions lie in exported/<name>")
    family: str
    trunk: str | None = None
    head: str
    training_key: str = Field(description="digest of the job and the data; equal keys need no retraining")
    job: dict[str, JsonValue] = Field(default_factory=dict, description="the job with all defaults")
    train_partitions: tuple[str, ...] = ()
    rows: dict[str, int] = Field(description="rows per split: train, dev, calibration")
    parts: dict[Annotated[str, Field(pattern=_PART_NAME)], PartInfo]
    latent: LatentSpace
    reason_names: tuple[str, ...] = ()
    open_set: OpenSet | None = Field(None, description="classes of the scorer; None without classes")
    versions: dict[str, str] = Field(default_factory=dict, description="versions of the packages at training time")
    metrics: dict[str, FiniteFloat | None] = Field(default_factory=dict)
    details: dict[str, JsonValue] = Field(default_factory=dict, description="device, seconds, and the like")
    created_at: str = ""
    files: dict[Annotated[str, Field(pattern=_FILE_NAME)], FileEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        """Refuse a manifest that lacks a scorer or an entry for a file that every bundle has."""
        if "scorer" not in self.parts:
            raise ValueError(f"parts has no scorer: got {', '.join(sorted(self.parts)) or 'none'}")
        needed = {SCHEMA, CALIBRATION, GOLDEN, *(f"{name}.onnx" for name in self.parts)}
        if self.files and (absent := sorted(needed - set(self.files))):
            raise ValueError(f"files has no {', '.join(absent)}")
        return self

    @property
    def has_collapsed(self) -> bool:
        """True if the latents say next to nothing about the rows: texts are decoded from their own tokens alone."""
        information = self.metrics.get(INFORMATION)
        return information is not None and information < COLLAPSED_NATS

    @property
    def privacy(self) -> tuple[float, float] | None:
        """Epsilon and delta that the weights were trained with; None without differential privacy."""
        spent = self.details.get("privacy")
        if not isinstance(spent, dict):
            return None
        return float(str(spent["epsilon"])), float(str(spent["delta"]))

    @property
    def is_polluted(self) -> bool:
        """True if the training and calibration rows may contain anomalies."""
        train = self.job.get("train")
        return isinstance(train, dict) and train.get("data") == "polluted"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version, read and verified when it was opened; later calls do not touch the disk."""

    path: Path
    manifest: BundleManifest
    encoding: Encoding
    calibration: Calibration
    golden: Golden
    files: Mapping[str, bytes]
    series: SeriesStage | None = None
    """Stage before the model of a series job; None for a model of rows."""
    memory: SeriesMemory | None = None
    """Known steps that the windows of a series job are compared with."""

    @classmethod
    def open(cls, path: str | Path, *, public_key: Path | None = None, checks_graphs: bool = True) -> Self:
        """Open the bundle at exported/<name>/<version>, exported/<name> (the champion) or exported/<name>@<alias>.

        The files are read only if they are regular files of the sizes in the manifest, and the graphs are checked
        before onnxruntime sees them: here, or by `part` if `checks_graphs` is False. With `public_key`, a PEM file, the
        version must have a signature by that key.

        Raises BundleNotFound, BundleTooNew, SignatureInvalid, or BundleCorrupt with the file that differs from the
        exported one.
        """
        folder = locate(as_path(path).resolve())
        data = manifest_bytes(folder)
        if public_key is not None:
            check_signature(folder, data, public_key)
        manifest = _parsed_manifest(folder, data)
        files = _read_checked(folder, manifest)
        for name in sorted(manifest.parts) if checks_graphs else ():
            _refuse_graph(folder, manifest, name, files[f"{name}.onnx"])
        return cls._of_files(folder, manifest, files)

    @classmethod
    def _of_files(cls, folder: Path, manifest: BundleManifest, files: Mapping[str, bytes]) -> Self:
        try:
            return cls(
                path=folder,
                manifest=manifest,
                encoding=Encoding.model_validate_json(files[SCHEMA]),
                calibration=Calibration.model_validate_json(files[CALIBRATION]),
                golden=golden_of(files[GOLDEN], manifest.latent),
                files=MappingProxyType(dict(files)),
                series=SeriesStage.model_validate_json(files[STAGE]) if STAGE in files else None,
                memory=SeriesMemory.of(files) if series_memory.FILE in files else None,
            )
        except Exception as error:  # malformed content can fail anywhere
            raise _unreadable(folder, error) from error

    def __reduce__(self) -> tuple[Callable[..., "Bundle"], tuple[object, ...]]:
        """Pickle the bytes of the bundle and its active calibration; unpickling checks the digests."""
        return _unpickle, (self.path, self.manifest.model_dump_json(), dict(self.files), self.calibration.to_json())

    @property
    def version(self) -> str:
        """Name and version, such as cells/20261121T130501Z-1a2b3c4d."""
        return f"{self.manifest.name}/{self.path.name}"

    @property
    def source(self) -> Encoding:
        """Encoding of the rows of the source: of the long table of a series job, else of the rows of the model."""
        return self.encoding if self.series is None else self.series.source.encoding

    def refuse_points(self, what: str, *, remedy: str = "Use score or explain") -> None:
        """Raise OptionInvalid if the rows of the model are points of a series job; what: what asks for other rows."""
        if self.series is not None:
            raise OptionInvalid(
                f"{self.version} is the model of a series job, which {what} cannot use: expected a model of rows. "
                f"{remedy}."
            )

    @property
    def reasons(self) -> int:
        """Number of attributions written per score."""
        return next((port.row_shape[0] for port in self.manifest.parts["scorer"].outputs if port.name == "reason"), 0)

    def part(self, name: str) -> tuple[bytes, PartInfo]:
        """Return the ONNX bytes, checked, and the description of a part.

        Raises BundleNotFound if the family has no such part, and BundleCorrupt if its graph must not be opened.
        """
        if name not in self.manifest.parts:
            known = ", ".join(sorted(self.manifest.parts))
            raise BundleNotFound(
                f"{self.path} has no part '{name}': the parts of a {self.manifest.family} are {known}."
            )
        onnx = self.files[f"{name}.onnx"]
        _refuse_graph(self.path, self.manifest, name, onnx)
        return onnx, self.manifest.parts[name]


def verify_bundle(path: str | Path) -> Path:
    """Check every file of a bundle; return the folder of its version.

    Args:
        path: as of `Bundle.open`, whose errors it raises.
    """
    return Bundle.open(path).path


def _unpickle(path: Path, manifest_json: str, files: Mapping[str, bytes], calibration: bytes) -> Bundle:
    """Restore a bundle that travelled to another process, with its active calibration.

    Raises BundleCorrupt if a file differs from the exported one.
    """
    manifest = BundleManifest.model_validate_json(manifest_json)
    for name, entry in manifest.files.items():
        if sha256_bytes(files[name]) != entry.sha256:
            raise BundleCorrupt(f"{path / name} changed on its way to another process: its digest differs. Run again.")
    bundle = Bundle._of_files(path, manifest, files)
    return replace(bundle, calibration=Calibration.model_validate_json(calibration))


def write_bundle(
    folder: Path,
    manifest: BundleManifest,
    *,
    encoding: Encoding,
    onnx: Mapping[str, bytes],
    calibration: Calibration,
    golden: Golden,
    extras: Mapping[str, bytes] | None = None,
    now: datetime | None = None,
) -> Path:
    """Write a new version to exported/<name> and return its folder; a crash leaves no readable version.

    Args:
        folder: exported/<name>.
        manifest: manifest without `created_at` and `files`.
        encoding: encoding of the rows.
        onnx: ONNX bytes by part name, for the same names as `manifest.parts`.
        calibration: calibration of the scores.
        golden: golden rows and the answers of the scorer to them.
        extras: more files by name, such as curve.json, card.md.
        now: time of creation. Default: the current time.

    Raises:
        Busy: another process is writing a bundle of the same name.
    """
    created = (now or datetime.now(UTC)).astimezone(UTC)
    files = _named_files(manifest, encoding, onnx, calibration, golden, extras or {})
    entries = {name: FileEntry(sha256=sha256_bytes(data), bytes=len(data)) for name, data in files.items()}
    complete = manifest.model_copy(update={"created_at": created.strftime(_STAMP), "files": entries})
    files[MANIFEST] = json_bytes(complete.model_dump(mode="json"))
    final = folder / _version_name(complete.created_at, files[MANIFEST])
    with lock(folder / LOCK, wait_s=_WAIT_S):
        if not final.exists():
            put_folder(final, files)
    _logger.info("wrote bundle %s", final)
    return final


def copy_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle to exported/<name> under its own version and return the version's folder.

    Raises:
        Busy: another process is writing a bundle of the same name.
    """
    source, final = bundle.path / MANIFEST, folder / bundle.path.name
    manifest = (
        _read(source, most=_MOST_MANIFEST_BYTES)
        if source.is_file()
        else json_bytes(bundle.manifest.model_dump(mode="json"))
    )
    with lock(folder / LOCK, wait_s=_WAIT_S):
        if not final.exists():
            signature = bundle.path / SIGNATURE
            signed = {SIGNATURE: _read(signature, most=_LEAST_READ)} if signature.is_file() else {}
            put_folder(final, {**bundle.files, **signed, MANIFEST: manifest})
    return final


def read_manifest(folder: Path) -> BundleManifest:
    """Read the manifest of a version and check it against the folder's name. Raises BundleCorrupt or BundleTooNew."""
    return _parsed_manifest(folder, manifest_bytes(folder))


def manifest_bytes(folder: Path) -> bytes:
    """Read the manifest of a version, unchecked. Raises BundleCorrupt if it cannot be read."""
    return _read(folder / MANIFEST, most=_MOST_MANIFEST_BYTES)


def _parsed_manifest(folder: Path, data: bytes) -> BundleManifest:
    path = folder / MANIFEST
    if not folder.name.endswith(f"-{_short_digest(data)}"):
        raise BundleCorrupt(
            f"{path} was edited, or its folder renamed: got digest {_short_digest(data)}, "
            f"expected the one in the folder's name. {_RESTORE}"
        )
    try:
        raw = from_json(data)
        contract = raw.get("contract") if isinstance(raw, dict) else None
        if isinstance(contract, int) and contract > CONTRACT:
            raise BundleTooNew(
                f"{path} is too new: expected contract {CONTRACT} or lower, got {contract}. "
                "Upgrade aepipe, or train again."
            )
        manifest = BundleManifest.model_validate_json(data)
    except ValueError as error:  # a ValidationError is one
        raise _unreadable(path, error) from error
    if folder.name != _version_name(manifest.created_at, data):
        raise BundleCorrupt(
            f"{path} does not match its folder's name: its creation time is {one_line(manifest.created_at)}. {_RESTORE}"
        )
    return manifest


def _version_name(created_at: str, manifest: bytes) -> str:
    """Return the creation time and digest, such as 20261121T130501Z-1a2b3c4d."""
    return f"{created_at.replace('-', '').replace(':', '')}-{_short_digest(manifest)}"


def _short_digest(data: bytes) -> str:
    return sha256_bytes(data)[:8]


def _named_files(
    manifest: BundleManifest,
    encoding: Encoding,
    onnx: Mapping[str, bytes],
    calibration: Calibration,
    golden: Golden,
    extras: Mapping[str, bytes],
) -> dict[str, bytes]:
    if set(onnx) != set(manifest.parts):
        raise ValueError(
            f"ONNX files do not match the manifest: expected {sorted(manifest.parts)}, got {sorted(onnx)}."
        )
    files = {f"{name}.onnx": data for name, data in onnx.items()}
    files[SCHEMA] = json_bytes(encoding.model_dump(mode="json", by_alias=True))
    files[CALIBRATION] = calibration.to_json()
    files[GOLDEN] = golden_bytes(golden, manifest.latent)
    for name, data in extras.items():
        if name in files or name in (MANIFEST, SIGNATURE) or name.startswith(".") or Path(name).name != name:
            raise ValueError(f"extra file name {name!r} is reserved or invalid. Choose another name.")
        files[name] = data
    return files


def _read_checked(folder: Path, manifest: BundleManifest) -> dict[str, bytes]:
    """Read every file by name and check it against the manifest."""
    present = {entry.name for entry in folder.iterdir()} - {MANIFEST, SIGNATURE}
    if extra := sorted(present - set(manifest.files)):
        raise BundleCorrupt(f"{folder / extra[0]} is not part of the bundle. Remove it from the folder.")
    files = {}
    for name, expected in sorted(manifest.files.items()):
        data = files[name] = _read(folder / name, most=max(expected.bytes, _LEAST_READ))
        if len(data) != expected.bytes:
            raise BundleCorrupt(
                f"{folder / name} has the wrong size: expected {expected.bytes} bytes, got {len(data)}. {_RESTORE}"
            )
        if sha256_bytes(data) != expected.sha256:
            raise BundleCorrupt(f"{folder / name} differs from the exported file in its sha256. {_RESTORE}")
    return files


def _unreadable(path: Path, error: Exception) -> BundleCorrupt:
    what = error.args[0] if isinstance(error, KeyError) else str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        what = f"{error.title} {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return BundleCorrupt(f"{path} is intact, but this version of aepipe cannot read it: {one_line(what)}. Train again.")


def _refuse_graph(folder: Path, manifest: BundleManifest, name: str, onnx: bytes) -> None:
    """Raise BundleCorrupt if a graph must not be opened; one that was checked before costs its digest."""
    part = manifest.parts[name]
    inputs, outputs = ([port.name for port in ports] for ports in (part.inputs, part.outputs))
    for fault in graph_faults(onnx, inputs=inputs, outputs=outputs):
        what = one_line(f"{name}.onnx {fault}")
        raise BundleCorrupt(f"{folder}/{what}. Do not use this bundle; restore it, or train again.")


def one_line(text: str) -> str:
    """Return text of a hostile file so that it can be shown: one line, printable, of bounded length."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."


def _read(path: Path, *, most: int) -> bytes:
    try:
        return read_regular(path, most=most)
    except FileNotFoundError:
        raise BundleCorrupt(f"{path} is missing. {_RESTORE}") from None
    except OSError as error:
        raise BundleCorrupt(f"{path} cannot be read: {error.strerror}. {_RESTORE}") from None
