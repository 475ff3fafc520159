"""Counts and timings of one scored partition."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from aepipe.batch.adaptive_stream import AdaptiveStream
from aepipe.batch.scan_plan import ScanPlan
from aepipe.batch.score_settings import ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.storage import ScoreDetails

STAGES = ("digest", "read", "encode", "infer", "write", "commit")
IO_STAGES = ("digest", "read", "write", "commit")
_REASONS_KEPT = 10


@dataclass(slots=True)
class RunStats:
    """Counts of rows, and seconds by stage.

    Seconds are summed over threads and may exceed the wall time.
    """

    rows: int = 0
    flagged: int = 0
    cell_flagged: int = 0
    """Flagged rows with a flagged cell."""
    flag_reasons: Counter[str] = field(default_factory=Counter)
    """Flagged rows, by first reason."""
    invalid: Counter[str] = field(default_factory=Counter)
    """Rows without a score, by reason."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values that training never saw, by column."""
    cut: Counter[str] = field(default_factory=Counter)
    """Texts and lists that are longer than the model reads, by column."""
    lowest_p: float = math.inf
    """Least p-value of a row or cell with a score."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, other: "RunStats") -> None:
        """Add the counts and seconds of other rows."""
        self.rows += other.rows
        self.flagged += other.flagged
        self.cell_flagged += other.cell_flagged
        self.flag_reasons.update(other.flag_reasons)
        self.invalid.update(other.invalid)
        self.unseen.update(other.unseen)
        self.cut.update(other.cut)
        self.lowest_p = min(self.lowest_p, other.lowest_p)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds

    @property
    def io_overhead(self) -> float:
        """Total time divided by Parquet I/O time (1.0 = I/O-bound)."""
        io_s = sum(self.seconds[stage] for stage in IO_STAGES)
        return sum(self.seconds.values()) / io_s if io_s else 1.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began


def score_details(
    bundle: Bundle,
    stats: RunStats,
    runner: Runner[Session],
    plan: ScanPlan,
    settings: ScoreSettings,
    inputs: Mapping[str, str],
    *,
    wall_s: float,
    stream: AdaptiveStream | None = None,
) -> ScoreDetails:
    """Return counts, settings and timings for the manifest.

    Args:
        bundle: model with its active calibration.
        stats: counts and seconds of the partition.
        runner: session of the owner.
        plan: what was read.
        settings: settings of the run.
        inputs: digests of the source files, by path.
        wall_s: seconds since the start; the commit counts up to the last page written to disk.
        stream: what adapted the flags; None: flags do not adapt.
    """
    calibration = bundle.calibration
    details = ScoreDetails(
        rows=stats.rows,
        flagged=stats.flagged,
        flag_reasons=dict(stats.flag_reasons.most_common(_REASONS_KEPT)),
        invalid=stats.invalid,
        unseen=stats.unseen,
        extra_columns=plan.extra_columns,
        inputs=inputs,
        checksums="files" if settings.known is not None else "pages" if plan.has_checksums else "none",
        alpha=calibration.alpha,
        alpha_means=f"share of {'all' if bundle.manifest.is_polluted else 'normal'} rows that is flagged",
        threshold=calibration.threshold,
        threshold_chosen=None if calibration.choice is None else calibration.choice.sentence,
        calibration=calibration.digest,
        provider=runner.graph.provider,
        batch_rows=runner.batch_rows,
        seconds={stage: round(seconds, 4) for stage, seconds in stats.seconds.items()},
        over_io=round(stats.io_overhead, 3),
        wall_s=round(wall_s, 4),
        rows_per_s=round(stats.rows / wall_s, 1),
    )
    optional = {
        "stream": stream and stream.details,
        "feedback": settings.feedback,
        "cut": stats.cut or None,
        "cell_flagged": None if calibration.cells is None else stats.cell_flagged,
    }
    return details.model_copy(update={name: value for name, value in optional.items() if value is not None})
