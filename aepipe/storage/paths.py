"""Where things lie below the folder of the outputs."""

from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from aepipe.errors import PartitionInvalid

Run = Literal["score", "sample", "fill", "walk"]

OUTPUTS: dict[Run, tuple[str, ...]] = {
    "score": ("features", "scores"),
    "sample": ("samples",),
    "fill": ("filled",),
    "walk": ("walks",),
}
"""What a run may write, in the order of replacement; the last is always written, and replacing it is the commit."""

HIDDEN = ".aepipe"
FILE = "part-0.parquet"
_LONGEST = 200


class Place(NamedTuple):
    """One run of one partition."""

    root: Path
    partition: str
    run: Run

    def final(self, output: str) -> Path:
        return self.root / self.relative(output)

    def relative(self, output: str) -> str:
        return f"{output}/{self.partition}/{FILE}"

    def staged(self, output: str) -> Path:
        """Beside the data, on the same file system; no reader of `*.parquet` takes it for data."""
        return self.staging / f"{output}.tmp"

    @property
    def outputs(self) -> tuple[str, ...]:
        return OUTPUTS[self.run]

    @property
    def staging(self) -> Path:
        return self.root / HIDDEN / "staging" / self.run / _flat(self.partition)

    @property
    def staged_manifest(self) -> Path:
        return self.staging / "manifest.json"

    @property
    def manifest(self) -> Path:
        return manifests_folder(self.root, self.run) / f"{self.partition}.json"

    @property
    def lock(self) -> Path:
        return self.root / HIDDEN / "locks" / self.run / f"{_flat(self.partition)}.lock"

    @property
    def quarantine(self) -> Path:
        """The note about a partition that cannot be scored."""
        return quarantine_folder(self.root) / f"{self.partition}.json"

    @property
    def set_aside(self) -> Path:
        """The folder of rows that were written and judged unfit; no partition is called so, its name begins with _."""
        return quarantine_folder(self.root) / f"_{self.outputs[-1]}" / self.partition


def manifests_folder(root: Path, run: Run) -> Path:
    """Where the manifests of a run of this kind lie."""
    return root / HIDDEN / "manifests" / run


def quarantine_folder(root: Path) -> Path:
    """Where the notes about partitions in quarantine lie."""
    return root / HIDDEN / "quarantine"


def check_partition(partition: str) -> str:
    """The name itself, if it can be a folder below the outputs that every Parquet reader finds.

    Raises PartitionInvalid.

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
        return f"has the part {hidden[0]!r}, which readers skip as hidden, since it starts with {hidden[0][0]!r}"
    if any(segment.endswith(".parquet") for segment in segments):
        return "has a part that ends in .parquet, which readers would open as a file"
    if "\\" in partition or not partition.isprintable():
        return "holds a backslash or a character that cannot be printed"
    if (length := len(_flat(partition).encode())) > _LONGEST:
        return f"is {length} bytes long, more than {_LONGEST}"
    return None


def _flat(partition: str) -> str:
    """One file name for a nested partition; two partitions never share it."""
    return partition.replace("%", "%25").replace("/", "%2F")
