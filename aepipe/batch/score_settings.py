"""Settings of a scoring run: outputs to write, and resources to use."""

from dataclasses import dataclass, replace
from pathlib import Path

from aepipe.batch.pieces import Piece
from aepipe.config.job import Device
from aepipe.storage.known_digests import KnownDigests
from aepipe.tables.partitions import Partition


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """Outputs to write per partition, and the folder they go to."""

    out: Path
    max_invalid_share: float = 0.1
    """Fail a partition if more rows than this share cannot be scored."""
    features: bool = True
    adaptive: bool = False
    """Adapt the flags along the partitions, which are then scored in order."""
    force: bool = False
    """Write again what is done."""
    feedback: str | None = None
    """Digest of the feedback at the time of the run; the outputs do not depend on it."""
    table: tuple[Partition, ...] = ()
    """All partitions of the table in order, which windows of a series job reach into."""
    known: KnownDigests | None = None
    """Digests that the source files must have; None: any."""
    piece: Piece | None = None
    """Piece of the partition to score, instead of the whole partition."""
    pieces: tuple[Piece, ...] = ()
    """Pieces of the partition that are scored, and are joined now."""
    wait_s: float = 600.0
    """Seconds to wait for another process that writes the partition."""

    def resolved(self) -> "ScoreSettings":
        """Return the settings with an absolute path, for workers that have another working folder."""
        return replace(self, out=self.out.resolve())


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Ray cluster of a run, and the resources of one worker on it."""

    address: str | None = None
    """host:port; None: RAY_ADDRESS, or Ray started on this machine."""
    num_cpus: float = 1
    num_gpus: float = 0
    max_restarts: int = 3
    max_task_retries: int = 3


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Device, threads and memory of a run."""

    device: Device = "auto"
    workers: int | None = None
    """None: one per core."""
    batch_rows: int = 512
    memory_mb: int | None = None
    """None: 300, plus 150 per worker, at most 2,000."""
    gpu_memory_mb: int | None = None
    """Limit per session; None: no limit."""
    cluster: ClusterSettings | None = None
    """Used by the engine `ray` alone."""
