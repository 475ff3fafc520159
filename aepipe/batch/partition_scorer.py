"""One partition of Parquet files, scored and committed. Nothing here knows how many partitions there are."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal, NamedTuple, TypeVar

import pyarrow as pa

from aepipe.batch.adaptive_stream import AdaptiveStream, stream_before
from aepipe.batch.block_scorer import BlockScorer, Buffers, ScoredBlock
from aepipe.batch.ordered_queue import OrderedQueue
from aepipe.batch.run_stats import RunStats
from aepipe.batch.scan_plan import survey
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device
from aepipe.errors import DataUnreadable, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.memory_budget import block_rows, default_memory_mb
from aepipe.inference.session import Session
from aepipe.storage import SCORE, Commit, Manifest, Outputs, ScoreDetails, digest_file, digest_of
from aepipe.tables.parquet_reader import slices
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

T = TypeVar("T")

CONTRACT = "score/2"
"""Part of every key: raised when the same rows and model would be written otherwise."""


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """A partition and how it is scored."""

    partition: Partition
    out: Path
    device: Device = "auto"
    workers: int | None = None
    """None: one a core."""
    batch_rows: int = 2_048
    memory_mb: int | None = None
    """None: 300 and 150 a worker, 2,000 at most."""
    max_invalid_share: float = 0.1
    features: bool = True
    adaptive: bool = False
    """Flags adapt along the stream of partitions, which then are to be scored in their order."""
    wait_s: float = 600.0
    """How long to wait for another process that is writing the partition."""
    gpu_memory_mb: int | None = None
    """What a session may take of a GPU; None: what there is."""


class PartitionResult(NamedTuple):
    """What became of a partition: its manifest, or the reason why there is none."""

    partition: str
    status: Literal["written", "already done", "quarantined"]
    manifest: Manifest[ScoreDetails] | None = None
    reason: str | None = None


def score_partition(
    bundle: Bundle,
    spec: ScoreSpec,
    runner: Runner[Session],
    *,
    workers: int = 1,
    enter: Callable[[bool], bool] = lambda wait: True,
    announce: Callable[["Scoring"], None] = lambda scoring: None,
    progress: Callable[[float], None] = lambda share: None,
    check: Callable[[], None] = lambda: None,
) -> PartitionResult:
    """Scores and features of a partition, committed; nothing is written where they are already there.

    workers: how many threads may help at most. enter: whether the files may be opened to be read now; asked to wait, it
    comes back when they may. announce: told of the scoring as soon as others can help. progress: told the share of the
    rows that is written. check: called while the files are digested, which `Scoring.stop` does not end; what it raises
    ends the work.
    Raises DataUnreadable, SchemaMismatch and TooManyInvalid, which leave the old outputs as they are, and Busy.
    """
    began = perf_counter()
    name, files = spec.partition
    stamps = _stamps(files)
    stats = RunStats()
    outputs = Outputs(spec.out)

    def take_key() -> dict[str, str]:
        with stats.timed("digest"):
            inputs = {str(file): digest_file(file, check=check) for file in files}
        commit.take_key(partition_key(bundle, list(inputs.values()), features=spec.features, adaptive=spec.adaptive))
        return inputs

    with outputs.commit(SCORE, name, wait_s=spec.wait_s) as commit, _in_turn(outputs, spec):
        is_entered = commit.is_first and enter(False)
        inputs = None if is_entered else take_key()
        if commit.done is not None:
            return PartitionResult(name, "already done", commit.done)
        if not is_entered:
            enter(True)
        flow = stream_before(outputs, name, bundle) if spec.adaptive else None
        scoring = Scoring(bundle, spec, commit, workers=workers, stats=stats, progress=progress, flow=flow)
        announce(scoring)
        if inputs is None:  # no key to compare with: others score meanwhile, .4 s of a file of 560 MB
            inputs = scoring.beside(take_key)
        scoring.help(runner)
        scoring.finish()
        _refuse_changed(files, stamps)
        details = scoring.details(runner, inputs, wall_s=perf_counter() - began)
        return PartitionResult(name, "written", commit.publish(model_version=bundle.version, details=details))


def _in_turn(outputs: Outputs, spec: ScoreSpec) -> AbstractContextManager[object]:
    """Where flags adapt, no other process scores a partition between the one before and this one."""
    return outputs.in_turn(wait_s=spec.wait_s) if spec.adaptive else nullcontext()


def partition_key(bundle: Bundle, inputs: Sequence[str], *, features: bool, adaptive: bool = False) -> str:
    """Names all that the outputs depend on: the files' digests, model, calibration, settings, contract.

    The partitions before are not part of it, though adaptive flags depend on them: a late one rewrites no later one.
    """
    settings = ("scores and features" if features else "scores") + (", adaptive" if adaptive else "")
    return digest_of(CONTRACT, bundle.version, bundle.calibration.digest, settings, *inputs)


class Block(NamedTuple):
    """Rows, and the seconds that reading them took."""

    rows: pa.RecordBatch
    read_s: float


class Scoring:
    """A partition that is being scored, by any number of threads."""

    def __init__(
        self,
        bundle: Bundle,
        spec: ScoreSpec,
        commit: Commit[ScoreDetails],
        *,
        workers: int,
        stats: RunStats,
        progress: Callable[[float], None],
        flow: AdaptiveStream | None = None,
    ) -> None:
        self._bundle = bundle
        self._flow = flow
        self._spec = spec
        self._tally = stats
        self._progress = progress
        self._survey = survey(spec.partition.files, bundle.encoding)
        if self._survey.extra_columns:
            extra = ", ".join(self._survey.extra_columns)
            log.info("%s has columns that the model does not know, which are left out: %s", spec.partition.name, extra)
        self._scorer = BlockScorer(bundle, self._survey.carried, features=spec.features)
        self._sinks = {name: commit.open(name, sheet.schema) for name, sheet in self._scorer.sheets.items()}
        row_bytes = self._survey.row_bytes + self._scorer.answer_bytes
        rows = self._block_rows = block_rows(
            row_bytes,
            memory_mb=spec.memory_mb or default_memory_mb(workers),
            workers=workers,
            open_bytes=self._survey.open_bytes,
        )
        self._line: OrderedQueue[Block, Buffers, ScoredBlock] = OrderedQueue(
            self._blocks(rows),
            make_buffer=partial(self._scorer.buffers, rows),
            buffers=workers + 1,
            deliver=self._write,
        )

    @property
    def takes_help(self) -> bool:
        """Whether another thread could find a block to score."""
        return self._line.is_open

    def help(self, runner: Runner[Session]) -> None:
        """Scores blocks until none is left; errors are kept for `finish`."""
        runner.limit(self._block_rows)
        self._line.work(partial(self._step, runner))

    def beside(self, work: Callable[[], T]) -> T:
        """What the work returns that is done while others help; an error of it ends the scoring too."""
        try:
            return work()
        except BaseException as error:
            self.stop(error)
            self._line.finish()
            raise

    def stop(self, error: BaseException) -> None:
        """Takes no more blocks; `finish` raises the error."""
        self._line.stop(error)

    def finish(self) -> None:
        """Waits for the last block of every thread, closes the files and judges the whole. Raises what went wrong."""
        self._line.finish()
        with self._tally.timed("commit"):
            for sink in self._sinks.values():
                sink.close()
        self._refuse_invalid()

    def details(self, runner: Runner[Session], inputs: Mapping[str, str], *, wall_s: float) -> ScoreDetails:
        """Return counts, settings and timings for the manifest; inputs: digests of the source files, by path."""
        stats, calibration = self._tally, self._bundle.calibration
        details = ScoreDetails(
            rows=stats.rows,
            flagged=stats.flagged,
            invalid=stats.invalid,
            unseen=stats.unseen,
            extra_columns=self._survey.extra_columns,
            inputs=inputs,
            alpha=calibration.alpha,
            alpha_means=f"share of {'all' if self._bundle.manifest.is_polluted else 'normal'} rows that is flagged",
            threshold=calibration.threshold,
            threshold_chosen=None if calibration.choice is None else calibration.choice.sentence,
            calibration=calibration.digest,
            provider=runner.graph.provider,
            batch_rows=runner.batch_rows,
            seconds={stage: round(seconds, 4) for stage, seconds in stats.seconds.items()},
            over_io=round(stats.over_io, 3),
            wall_s=round(wall_s, 4),
            rows_per_s=round(stats.rows / wall_s, 1),
        )
        return details if self._flow is None else details.model_copy(update={"stream": self._flow.details})

    def _blocks(self, rows: int) -> Iterator[Block]:
        for path, columns, as_codes in self._survey.readings:
            batches = slices([path], columns, rows=rows, as_codes=as_codes)
            while True:
                began = perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                yield Block(batch, perf_counter() - began)

    def _step(self, runner: Runner[Session], block: Block, buffers: Buffers) -> ScoredBlock:
        scored = self._scorer.score(block.rows, buffers, runner)
        scored.stats.seconds["read"] += block.read_s
        return scored

    def _write(self, scored: ScoredBlock) -> None:
        if self._flow is not None:
            with self._tally.timed("write"):
                self._flow.judge(scored)
        self._tally.add(scored.stats)
        with self._tally.timed("write"):
            for name, sink in self._sinks.items():
                sink.write(scored.rows[name])
        self._progress(self._tally.rows / self._survey.rows)

    def _refuse_invalid(self) -> None:
        rows, invalid = self._tally.rows, sum(self._tally.invalid.values())
        allowed = self._spec.max_invalid_share
        if invalid <= allowed * rows:
            return
        reasons = "; ".join(f"{count:,} x {reason}" for reason, count in self._tally.invalid.most_common())
        raise TooManyInvalid(
            f"partition {self._spec.partition.name}: {invalid:,} of {rows:,} rows cannot be scored ({reasons}), and "
            f"[score] max_invalid_share allows {allowed:.1%}. Look at the source, or raise the share."
        )


class _Stamp(NamedTuple):
    """Changes when a file is written or replaced."""

    inode: int
    size: int
    modified_ns: int


def _stamps(files: Sequence[Path]) -> list[_Stamp | None]:
    return [_stamp(file) for file in files]


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def _refuse_changed(files: Sequence[Path], stamps: Sequence[_Stamp | None]) -> None:
    """The key names what was digested: raises DataUnreadable if that is not what was read."""
    changed = [
        str(file)
        for file, model_version_column in zip(files, stamps, strict=True)
        if _stamp(file) != model_version_column
    ]
    if changed:
        raise DataUnreadable(f"{' and '.join(changed)} changed while it was read. Run the partition again.")
