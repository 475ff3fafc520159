"""What is counted while a partition is scored, and where the seconds go."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("digest", "read", "encode", "infer", "write", "commit")
OF_PARQUET = ("digest", "read", "write", "commit")


@dataclass(slots=True)
class RunStats:
    """Counts of rows; `seconds` add up over threads, so that they can exceed those on the clock."""

    rows: int = 0
    flagged: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    """By reason."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Values that training never saw, by column."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def add(self, other: "RunStats") -> None:
        """Counts the rows of another as well."""
        self.rows += other.rows
        self.flagged += other.flagged
        self.invalid.update(other.invalid)
        self.unseen.update(other.unseen)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds

    @property
    def over_io(self) -> float:
        """How many times the seconds of its own reading and writing the whole took: 1 is as fast as the Parquet."""
        parquet = sum(self.seconds[stage] for stage in OF_PARQUET)
        return sum(self.seconds.values()) / parquet if parquet else 1.0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
