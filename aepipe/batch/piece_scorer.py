"""Score the pieces of a large partition on several workers, and join them into one commit."""

from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from aepipe.batch.input_files import InputFiles
from aepipe.batch.partition_scorer import (
    CONTRACT,
    PartitionScoring,
    ScoringSlot,
    begin,
    partition_key,
    refuse_invalid,
    score_partition,
)
from aepipe.batch.pieces import Piece, PiecesMissing, split, state_of
from aepipe.batch.run_stats import RunStats, score_details
from aepipe.batch.scan_plan import plan_scan
from aepipe.batch.score_settings import ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.errors import DataUnreadable
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.storage import Commit, Outputs, PartitionResult, PieceFiles, ScoreDetails, digest_of
from aepipe.tables.partitions import Partition

_COUNTS = ("rows", "flagged", "cell_flagged")
_COUNTERS = ("flag_reasons", "invalid", "unseen", "cut")


def pieces_of(bundle: Bundle, partition: Partition, settings: ScoreSettings) -> tuple[Piece, ...]:
    """Return the pieces in which workers score a partition; none if one worker scores the whole partition.

    Points of a series and flags that adapt depend on the rows before, so that one worker scores them in order.
    """
    if partition.misplaced or settings.adaptive or bundle.series is not None:
        return ()
    try:
        return split(partition.files, _source(bundle, partition, settings))
    except DataUnreadable:  # reported when the partition is scored
        return ()


def score_task(
    bundle: Bundle,
    partition: Partition,
    settings: ScoreSettings,
    runner: Runner[Session],
    *,
    workers: int,
    memory_mb: int,
    slot: ScoringSlot,
) -> PartitionResult:
    """Score the piece that the settings name, join the pieces that they name, or score the whole partition.

    Arguments and errors as for `score_partition`.

    Raises:
        PiecesMissing: pieces to join are not there.
    """
    if settings.piece is not None:
        return _score_piece(
            bundle, partition, settings, settings.piece, runner, workers=workers, memory_mb=memory_mb, slot=slot
        )
    if settings.pieces:
        return _join(bundle, partition, settings, runner, slot=slot)
    return score_partition(bundle, partition, settings, runner, workers=workers, memory_mb=memory_mb, slot=slot)


def _score_piece(
    bundle: Bundle,
    partition: Partition,
    settings: ScoreSettings,
    piece: Piece,
    runner: Runner[Session],
    *,
    workers: int,
    memory_mb: int,
    slot: ScoringSlot,
) -> PartitionResult:
    """Score the rows of a piece and keep them in the folder of the outputs, unless they are there already."""
    began, stats = perf_counter(), RunStats()
    files = PieceFiles(settings.out, partition.name, piece.source)
    if files.record(piece.index) is not None:
        return PartitionResult(partition=partition.name, status="already done")
    _refuse_changed(bundle, partition, settings, [piece])
    slot.acquire()
    with files.writing(piece.index) as output:
        scoring = PartitionScoring(
            bundle, partition, settings, output.open, workers=workers, memory_mb=memory_mb, stats=stats
        )
        scoring.start(slot)
        scoring.work_on(runner)
        scoring.finish()
        _refuse_changed(bundle, partition, settings, [piece])
    files.complete(piece.index, _record(stats, wall_s=perf_counter() - began))
    return PartitionResult(partition=partition.name, status="written", details=ScoreDetails(rows=stats.rows))


def _join(
    bundle: Bundle, partition: Partition, settings: ScoreSettings, runner: Runner[Session], *, slot: ScoringSlot
) -> PartitionResult:
    """Commit the pieces of a partition as its outputs, unless it was scored already."""
    began, stats, pieces = perf_counter(), RunStats(), settings.pieces
    inputs_now, files = InputFiles(partition.files), PieceFiles(settings.out, partition.name, pieces[0].source)
    with begin(Outputs(settings.out), partition, settings, slot) as commit:
        with stats.timed("digest"):
            inputs = inputs_now.digest(check=slot.check, known=settings.known)
        commit.take_key(partition_key(bundle, list(inputs.values()), settings))
        if commit.done is not None:
            files.remove()
            return PartitionResult.of_manifest(commit.done, settings.out, "already done")
        records = {piece.index: files.record(piece.index) for piece in pieces}
        if missing := tuple(index for index, record in records.items() if record is None):
            raise PiecesMissing(missing)
        _refuse_changed(bundle, partition, settings, pieces)
        wall_s = sum(_add(stats, record) for record in records.values() if record is not None)
        plan = plan_scan(partition.files, bundle.encoding)
        slot.acquire()
        _copy(files, pieces, ("scores", "features") if settings.features else ("scores",), commit, stats, slot)
        refuse_invalid(partition, stats, settings)
        inputs_now.refuse_changed()
        # seconds of all workers: pieces that an interrupted run left may be days older
        wall_s += perf_counter() - began
        details = score_details(bundle, stats, runner, plan, settings, inputs, wall_s=wall_s)
        manifest = commit.publish(model_version=bundle.version, details=details)
    files.remove()
    return PartitionResult.of_manifest(manifest, settings.out, "written")


def _copy(
    files: PieceFiles,
    pieces: Sequence[Piece],
    outputs: Sequence[str],
    commit: Commit[ScoreDetails],
    stats: RunStats,
    slot: ScoringSlot,
) -> None:
    """Write the rows of all pieces in order, in the batches in which they were scored."""
    for output in outputs:
        sink = None
        for piece in pieces:
            for batch in files.batches(piece.index, output):
                sink = sink or commit.open(output, batch.schema)
                with stats.timed("write"):
                    sink.write(batch)
                slot.check()
        if sink is not None:
            with stats.timed("commit"):
                sink.close()


def _source(bundle: Bundle, partition: Partition, settings: ScoreSettings) -> str:
    """Digest what the rows of a piece depend on, without reading the files."""
    kind = "scores and features" if settings.features else "scores"
    states = (state_of(file) for file in partition.files)
    return digest_of(CONTRACT, "pieces", bundle.version, bundle.calibration.digest, kind, *states)


def _refuse_changed(bundle: Bundle, partition: Partition, settings: ScoreSettings, pieces: Sequence[Piece]) -> None:
    """Raise DataUnreadable if a source file was written since the partition was split."""
    if pieces[0].source != _source(bundle, partition, settings):
        raise DataUnreadable(f"a file of {partition.name} changed while it was read. Run the partition again.")


def _record(stats: RunStats, *, wall_s: float) -> dict[str, Any]:
    counters = {name: list(getattr(stats, name).items()) for name in _COUNTERS}  # in order: it breaks ties of reasons
    counts = {name: getattr(stats, name) for name in _COUNTS}
    return {**counts, **counters, "seconds": stats.seconds, "wall_s": wall_s}


def _add(stats: RunStats, record: dict[str, Any]) -> float:
    """Add the counts and seconds of a piece, and return its wall time in seconds.

    Counts that the version that scored the piece did not have stay 0.
    """
    found = RunStats(seconds=record["seconds"])
    for name in record.keys() & set(_COUNTS):
        setattr(found, name, record[name])
    for name in record.keys() & set(_COUNTERS):
        setattr(found, name, Counter(dict(record[name])))
    stats.add(found)
    return float(record["wall_s"])
