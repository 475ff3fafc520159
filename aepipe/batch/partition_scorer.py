"""Score one partition of Parquet files and commit the outputs. Nothing here knows how many partitions there are.

One thread owns the partition and runs `score_partition`. Its `ScoringSlot` is the only link to the rest of the run: it
grants the right to read, shows the scoring to other threads, and receives the progress. The owner takes this path,
under the lock of the commit:

    LOCKED --- never committed and slot.try_acquire() ------------------+
      |                                                                 |
      | digest the files                                                |
      v                                                                 |
    KEYED --- same key as the last commit ---> "already done"           |
      |                                                                 |
      | slot.acquire()                                                  |
      v                                                                 v
    SCORING: slot.open(scoring), then every thread may call scoring.work_on(runner);
      |      the owner digests the files now if it came straight from LOCKED
      | scoring.finish(): all blocks are written, files are closed, few enough rows are invalid
      v
    COMMITTED: "written", unless a source file changed meanwhile

An error at any point ends the scoring and the commit; earlier outputs stay as they are.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol

import pyarrow as pa

from aepipe.batch.adaptive_stream import AdaptiveStream, stream_before
from aepipe.batch.block_scorer import Buffers, ScoredBlock, prepared_scorer
from aepipe.batch.input_files import InputFiles
from aepipe.batch.ordered_queue import OrderedQueue
from aepipe.batch.run_stats import RunStats, score_details
from aepipe.batch.scan_plan import FileScan, plan_scan
from aepipe.batch.score_settings import ScoreSettings
from aepipe.batch.series.partition import score_series
from aepipe.bundles.bundle import Bundle
from aepipe.errors import DataUnreadable, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.memory_budget import block_rows, default_memory_mb, read_limits
from aepipe.inference.session import Session
from aepipe.storage import SCORE, Commit, CommitGroup, Manifest, Outputs, PartitionResult, ScoreDetails, digest_of
from aepipe.storage.partition_result import Written
from aepipe.stores import StorePath
from aepipe.tables.parquet_reader import GroupRange, slices
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

CONTRACT = "score/2"
"""Part of every key; increased when the same rows and model would give other outputs."""
MOST_GROUPED_ROWS = 16_384
"""Rows of the largest partition whose commit may wait for others: scoring more takes longer than syncing."""


class ScoringSlot(Protocol):
    """Place of one partition in a run."""

    @property
    def group(self) -> CommitGroup | None:
        """Group that takes the commit of a small partition, to publish it later; None: it is published at once."""

    def try_acquire(self) -> bool:
        """Take the right to read the partition if it is free."""

    def acquire(self) -> None:
        """Wait for the right to read the partition."""

    def open(self, scoring: "PartitionScoring") -> None:
        """Let other threads work on the partition."""

    def report_progress(self, fraction: float) -> None:
        """Report the fraction of rows that are written."""

    def check(self) -> None:
        """Raise the error that stopped the run, if any; called while files are digested."""

    def give_way(self) -> None:
        """Publish what this thread holds back, and `check`; called while another process writes the partition."""


class UnlimitedSlot:
    """Slot of a partition that is scored alone: never waits, never stops."""

    group = None

    def try_acquire(self) -> bool:
        """Return True."""
        return True

    def acquire(self) -> None:
        """Return at once."""

    def open(self, scoring: "PartitionScoring") -> None:
        """Do nothing: no other thread works on the partition."""

    def report_progress(self, fraction: float) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""

    def give_way(self) -> None:
        """Do nothing: no commit is held back."""


def score_partition(
    bundle: Bundle,
    partition: Partition,
    settings: ScoreSettings,
    runner: Runner[Session],
    *,
    workers: int = 1,
    memory_mb: int | None = None,
    slot: ScoringSlot | None = None,
) -> PartitionResult:
    """Score a partition and commit its outputs, unless they are there already.

    Args:
        bundle: model.
        partition: name and source files.
        settings: what to write, and where.
        runner: session of the calling thread.
        workers: largest number of threads that may work on the partition.
        memory_mb: memory of the run; None: the default for this number of workers.
        slot: place in the run; None: no limits and no other threads.

    Raises Busy while another process writes the partition, DataUnreadable if a file cannot be read, has changed or is
    misplaced, SchemaMismatch if a file does not fit the bundle, TooManyInvalid if too many rows cannot be scored.
    """
    began, slot = perf_counter(), slot or UnlimitedSlot()
    if bundle.series is not None:
        return score_series(bundle, bundle.series, partition, settings, runner, slot=slot)
    stats, files, outputs = RunStats(), InputFiles(partition.files), Outputs(settings.out)
    with ExitStack() as held:
        commit = held.enter_context(begin(outputs, partition, settings, slot))
        held.enter_context(_order_lock(outputs, settings, slot))
        take_key = partial(_take_key, commit, bundle, files, settings, stats, slot)
        inputs = None
        if not (commit.is_first and slot.try_acquire()):
            inputs = take_key()
            if commit.done is not None:
                return PartitionResult.of_manifest(commit.done, settings.out, "already done")
            slot.acquire()
        stream = stream_before(outputs, partition.name, bundle) if settings.adaptive else None
        scoring = PartitionScoring(
            bundle, partition, settings, commit.open, workers=workers, memory_mb=memory_mb, stats=stats, stream=stream
        )
        scoring.start(slot)
        if inputs is None:
            # there is no earlier key to compare with: other threads score meanwhile, 0.4 s for a file of 560 MB
            inputs = scoring.run_alongside(take_key)
        scoring.work_on(runner)
        scoring.finish()
        refuse_invalid(partition, stats, settings)
        files.refuse_changed()
        wall_s = perf_counter() - began
        details = score_details(bundle, stats, runner, scoring.plan, settings, inputs, wall_s=wall_s, stream=stream)
        if slot.group is not None and stats.rows <= MOST_GROUPED_ROWS and _can_wait(settings):
            manifest = commit.stage(model_version=bundle.version, details=details)
            slot.group.add(commit, held.pop_all())
        else:
            manifest = commit.publish(model_version=bundle.version, details=details)
        return PartitionResult.of_manifest(manifest, settings.out, "written", written=scoring.written(manifest))


def _take_key(
    commit: Commit[ScoreDetails],
    bundle: Bundle,
    files: InputFiles,
    settings: ScoreSettings,
    stats: RunStats,
    slot: ScoringSlot,
) -> dict[str, str]:
    """Digest the files for the key of the commit, and return their digests by path."""
    with stats.timed("digest"):
        inputs = files.digest(check=slot.check, known=settings.known)
    commit.take_key(partition_key(bundle, list(inputs.values()), settings))
    return inputs


def _order_lock(outputs: Outputs, settings: ScoreSettings, slot: ScoringSlot) -> AbstractContextManager[object]:
    """Keep other processes, where flags adapt, from scoring a partition between the previous one and this one."""
    return outputs.in_turn(wait_s=settings.wait_s, check=slot.check) if settings.adaptive else nullcontext()


def _can_wait(settings: ScoreSettings) -> bool:
    """Return False if the next partition needs this one, or if other machines see a lease on it meanwhile."""
    return not settings.adaptive and not isinstance(settings.out, StorePath)


def begin(
    outputs: Outputs, partition: Partition, settings: ScoreSettings, slot: ScoringSlot
) -> AbstractContextManager[Commit[ScoreDetails]]:
    """Begin the commit of a partition. Raises DataUnreadable if it is misplaced."""
    if partition.misplaced:
        raise DataUnreadable(partition.misplaced)
    return outputs.commit(SCORE, partition.name, force=settings.force, wait_s=settings.wait_s, check=slot.give_way)


def refuse_invalid(partition: Partition, stats: RunStats, settings: ScoreSettings) -> None:
    """Raise TooManyInvalid if more rows than allowed cannot be scored."""
    rows, invalid = stats.rows, sum(stats.invalid.values())
    allowed = settings.max_invalid_share
    if invalid > allowed * rows:
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in stats.invalid.most_common())
        raise TooManyInvalid(
            f"partition {partition.name}: {invalid:,} of {rows:,} rows cannot be scored ({reasons}), more "
            f"than [score] max_invalid_share, {allowed:.1%}. Check the source, or raise the share."
        )


def partition_key(bundle: Bundle, inputs: Sequence[str], settings: ScoreSettings) -> str:
    """Digest everything the outputs depend on: files, model, calibration, settings and contract.

    Earlier partitions are not part of the key although adaptive flags depend on them: a partition that arrives late
    does not rewrite later ones.
    """
    kind = ("scores and features" if settings.features else "scores") + (", adaptive" if settings.adaptive else "")
    return digest_of(CONTRACT, bundle.version, bundle.calibration.digest, kind, *inputs)


class RowSink(Protocol):
    """File of an output."""

    def write(self, rows: pa.RecordBatch, /) -> None:
        """Write rows."""

    def close(self) -> object:
        """Complete the file."""


class Block(NamedTuple):
    """Rows, and the seconds it took to read them."""

    rows: pa.RecordBatch
    read_s: float


class PartitionScoring:
    """Scoring of one partition, or of one piece of it, shared by any number of threads.

    Args:
        bundle: model.
        partition: name and source files.
        settings: what to write.
        open_sink: opens the file of an output.
        workers: largest number of threads that may work on the partition.
        memory_mb: memory of the run; None: the default for this number of workers.
        stats: receives counts and seconds.
        stream: adapts the flags; None: flags do not adapt.
    """

    def __init__(
        self,
        bundle: Bundle,
        partition: Partition,
        settings: ScoreSettings,
        open_sink: Callable[[str, pa.Schema], RowSink],
        *,
        workers: int,
        memory_mb: int | None,
        stats: RunStats,
        stream: AdaptiveStream | None = None,
    ) -> None:
        self._bundle = bundle
        self._partition = partition
        self._settings = settings
        self._stats = stats
        self._stream = stream
        self._slot: ScoringSlot = UnlimitedSlot()
        self.plan = plan_scan(partition.files, bundle.encoding)
        if self.plan.extra_columns:
            log.info("%s: ignoring columns the model does not use: %s", partition.name, self.plan.extra_columns)
        piece = settings.piece
        self._scans: list[tuple[FileScan, GroupRange | None]] = (
            [(scan, None) for scan in self.plan.files]
            if piece is None
            else [(self.plan.files[part.file], part.groups) for part in piece.ranges]
        )
        self._rows = self.plan.rows if piece is None else piece.rows
        self._scorer = prepared_scorer(bundle, self.plan.passthrough, features=settings.features)
        self._sinks = {name: open_sink(name, table.schema) for name, table in self._scorer.tables.items()}
        memory_mb = memory_mb or default_memory_mb(workers)
        self._limits = read_limits(memory_mb=memory_mb, workers=workers, open_bytes=self.plan.open_bytes)
        self._block_rows = block_rows(
            self.plan.row_bytes + self._scorer.output_bytes,
            memory_mb=memory_mb,
            workers=workers,
            open_bytes=self.plan.open_bytes,
        )
        self._queue: OrderedQueue[Block, Buffers, ScoredBlock] = OrderedQueue(
            self._read_blocks(),
            make_buffer=partial(self._scorer.buffers, min(self._block_rows, max(1, self._rows))),
            buffers=workers + 1,
            deliver=self._write,
        )

    def written(self, manifest: Manifest[ScoreDetails]) -> Written:
        """Return what is known of the outputs with this manifest."""
        return Written(manifest, self.plan.facts, self._scorer.fields, self._stats.lowest_p)

    @property
    def has_work(self) -> bool:
        """True while another thread could find a block to score."""
        return self._queue.is_open

    def start(self, slot: ScoringSlot) -> None:
        """Open the scoring to other threads and report progress to the slot."""
        self._slot = slot
        slot.open(self)

    def work_on(self, runner: Runner[Session]) -> None:
        """Score blocks until none is left; `finish` raises the errors."""
        runner.limit(self._block_rows)
        self._queue.work(partial(self._score, runner))

    def run_alongside(self, work: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Run `work` while other threads score; stop scoring if it raises."""
        try:
            return work()
        except BaseException as error:
            self.stop(error)
            self._queue.finish()
            raise

    def stop(self, error: BaseException) -> None:
        """Start no more blocks; `finish` raises the error."""
        self._queue.stop(error)

    def finish(self) -> None:
        """Wait for the last block of every thread and close the files; errors of all threads are raised as they are."""
        self._queue.finish()
        with self._stats.timed("commit"):
            for sink in self._sinks.values():
                sink.close()

    def _read_blocks(self) -> Iterator[Block]:
        for (path, columns, as_codes, parsed), groups in self._scans:
            batches = slices(
                [path],
                columns,
                rows=self._block_rows,
                groups=groups,
                as_codes=as_codes,
                limits=self._limits,
                parsed=parsed,
            )
            while True:
                began = perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                yield Block(batch, perf_counter() - began)

    def _score(self, runner: Runner[Session], block: Block, buffers: Buffers) -> ScoredBlock:
        scored = self._scorer.score(block.rows, buffers, runner)
        scored.stats.seconds["read"] += block.read_s
        return scored

    def _write(self, scored: ScoredBlock) -> None:
        with self._stats.timed("write"):
            if self._stream is not None:
                scored = self._scorer.with_flags(scored, self._stream.flag(scored.predictions))
        self._stats.add(scored.stats)
        with self._stats.timed("write"):
            for name, sink in self._sinks.items():
                sink.write(scored.rows[name])
        self._slot.report_progress(self._stats.rows / self._rows)
