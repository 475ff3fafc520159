"""Counts and timings of one scored partition."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("digest", "read", "encode", "infer", "write", "commit")
IO_STAGES = ("digest", "read", "write", "commit")


@dataclass(slots=True)
class RunStats:
    """Counts of rows, and seconds by stage.

    Seconds are summed over threads and may exceed the wall time.
    """

    rows: int = 0
    flagged: int = 0
    flag_reasons: Counter[str] = field(default_factory=Counter)
    """Flagged rows, by first reason."""
    invalid: Counter[str] = field(default_factory=Counter)
    """Rows without a score, by reason."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values that training never saw, by column."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, other: "RunStats") -> None:
        """Add the counts and seconds of other rows."""
        self.rows += other.rows
        self.flagged += other.flagged
        self.flag_reasons.update(other.flag_reasons)
        self.invalid.update(other.invalid)
        self.unseen.update(other.unseen)
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
