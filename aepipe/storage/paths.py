"""Paths below the folder of the outputs."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from aepipe.errors import PartitionInvalid
from aepipe.storage.run_kinds import RunKind
from aepipe.stores import StorePath

HIDDEN = ".aepipe"
FILE = "part-0.parquet"
DRIFT = "drift"
"""Folder of drift records, one folder per model version, in HIDDEN."""
_QUARANTINE, _FORGOTTEN = "quarantine", "forgotten"
_LONGEST = 200


@dataclass(frozen=True)
class PartitionPaths:
    """Paths of one kind of run of one partition."""

    root: Path
    partition: str
    kind: RunKind[Any]

    def final(self, output: str) -> Path:
        """Path of an output file that readers open."""
        return self.root / self.relative(output)

    def relative(self, output: str) -> str:
        """Path of an output file, relative to the root."""
        return f"{output}/{self.partition}/{FILE}"

    def staged(self, output: str) -> Path:
        """Path of an output file before its commit: same file system as the data, not matched by `*.parquet`."""
        return self.staging / f"{output}.tmp"

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.kind.outputs

    @cached_property
    def staging(self) -> Path:
        """Folder of the files before their commit, on this machine if the outputs are in an object store."""
        below = Path(HIDDEN, "staging", self.kind.name, _flat(self.partition))
        if isinstance(self.root, StorePath):
            return local_staging(str(self.root)) / below
        return self.root / below

    @cached_property
    def staged_manifest(self) -> Path:
        """Manifest of a commit that is not finished; in an object store, every machine sees it there."""
        if isinstance(self.root, StorePath):
            return self.root / HIDDEN / "staging" / self.kind.name / f"{_flat(self.partition)}.json"
        return self.staging / "manifest.json"

    @cached_property
    def pieces(self) -> Path:
        """Folder of scored pieces that are not joined yet."""
        return self.root.joinpath(HIDDEN, "pieces", self.kind.name, _flat(self.partition))

    @cached_property
    def manifest(self) -> Path:
        return self.root.joinpath(*_manifests(self.kind), f"{self.partition}.json")

    @cached_property
    def lock(self) -> Path:
        return self.root.joinpath(HIDDEN, "locks", self.kind.name, f"{_flat(self.partition)}.lock")

    @cached_property
    def quarantine(self) -> Path:
        """Note that the partition cannot be scored."""
        return self.root.joinpath(HIDDEN, _QUARANTINE, f"{self.partition}.json")

    @cached_property
    def forgotten(self) -> Path:
        """Note that the partition is being or was removed on request."""
        return self.root.joinpath(HIDDEN, _FORGOTTEN, f"{self.partition}.json")

    @cached_property
    def quarantined_rows(self) -> Path:
        """Folder of rows that were written and quarantined; starts with _, as no partition does."""
        return quarantine_folder(self.root) / f"_{self.outputs[-1]}" / self.partition


def local_staging(root: str) -> Path:
    """Return the folder of this user and machine for files on their way to an object store; root: its URL."""
    digest = hashlib.sha256(root.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"aepipe-{os.getuid()}", digest)


def manifests_folder(root: Path, kind: RunKind[Any]) -> Path:
    """Return the folder of the manifests of a kind of run."""
    return root.joinpath(*_manifests(kind))


def _manifests(kind: RunKind[Any]) -> tuple[str, str, str]:
    return HIDDEN, "manifests", kind.name


def drift_folder(root: Path, model_version: str) -> Path:
    """Return the folder of the drift records of a version, such as `name/version`."""
    return root / HIDDEN / DRIFT / model_version.rpartition("/")[2]


def page_record(root: Path, model: str) -> Path:
    """Return the record of the last report page of a model; model: alias or version."""
    return root / HIDDEN / "reports" / f"{model}.json"


def baselines_folder(root: Path) -> Path:
    """Return the folder of what is kept of the baselines, one file per model version."""
    return root / HIDDEN / "baselines"


def kept_baselines(root: Path, model_version: str) -> Path:
    """Return the file of the baselines of a version, such as `name/version`."""
    return baselines_folder(root) / f"{model_version.rpartition('/')[2]}.npz"


def quarantine_folder(root: Path) -> Path:
    """Return the folder of the notes about quarantined partitions."""
    return root / HIDDEN / _QUARANTINE


def forgotten_folder(root: Path) -> Path:
    """Return the folder of the notes about removed partitions."""
    return root / HIDDEN / _FORGOTTEN


def page_of(partition: str) -> str:
    """Return the file name of the report whose latest partition this is.

    >>> page_of("dt=2026-01-01/hour=7")
    'dt=2026-01-01_hour=7.html'
    """
    return f"{partition.replace('/', '_')}.html"


def samples_page_of(partition: str) -> str:
    """Return the file name of the page about a published set of samples.

    >>> samples_page_of("dt=2026-01-01/hour=7")
    'samples-dt=2026-01-01_hour=7.html'
    """
    return f"samples-{page_of(partition)}"


def night_comparison_page(first: str, second: str) -> str:
    """Return the file name of the page that compares two partitions.

    >>> night_comparison_page("dt=2026-01-01", "dt=2026-01-02")
    'compare-dt=2026-01-01-with-dt=2026-01-02.html'
    """
    return f"compare-{page_of(first).removesuffix('.html')}-with-{page_of(second)}"


def model_comparison_page(first: str, second: str) -> str:
    """Return the file name of the page that compares two versions of a model."""
    return f"models-{first}-with-{second}.html"


def is_comparison_of(page: str, partition: str) -> bool:
    """Return whether a page compares this partition with another, or two versions on any partitions.

    >>> is_comparison_of("compare-dt=1-with-dt=2.html", "dt=2"), is_comparison_of("compare-dt=1-with-dt=2.html", "dt=3")
    (True, False)
    """
    stem = page_of(partition).removesuffix(".html")
    of_nights = page.startswith(f"compare-{stem}-with-") or (
        page.startswith("compare-") and page.endswith(f"-with-{stem}.html")
    )
    return of_nights or (page.startswith("models-") and "-with-" in page)


def check_partition(partition: str) -> str:
    """Return the name if it can be a folder that every Parquet reader finds.

    Raises:
        PartitionInvalid: the name is not a visible relative path, or is too long.

    >>> check_partition("dt=2026-01-01/hour=07")
    'dt=2026-01-01/hour=07'
    """
    fault = _fault(partition)
    if fault is not None:
        raise PartitionInvalid(f"partition {partition!r} {fault}. Rename its folder or file.")
    return partition


def _fault(partition: str) -> str | None:
    segments = partition.split("/")
    if not partition or PurePosixPath(partition).is_absolute() or "" in segments:
        return "is not a relative path such as dt=2026-01-01/hour=07"
    if hidden := [segment for segment in segments if segment[0] in "._"]:
        return f"has the part {hidden[0]!r}, which readers skip as hidden because it starts with {hidden[0][0]!r}"
    if any(segment.endswith(".parquet") for segment in segments):
        return "has a part that ends in .parquet, which readers would open as a file"
    if "\\" in partition or not partition.isprintable():
        return "has a backslash or an unprintable character"
    if (length := len(_flat(partition).encode())) > _LONGEST:
        return f"is too long: expected at most {_LONGEST} bytes, got {length} bytes"
    return None


def _flat(partition: str) -> str:
    """Encode a nested partition as one file name, without collisions."""
    return partition.replace("%", "%25").replace("/", "%2F")
