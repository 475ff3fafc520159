"""Large partitions in pieces: the same bytes as one worker writes, and only what is missing runs again."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.batch import pieces
from aepipe.batch.piece_scorer import pieces_of
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local, processes
from aepipe.engines.fleet import Fleet, Task, split_partitions
from aepipe.engines.local import MachineSettings, ScoreSettings
from aepipe.storage import SCORE, Outputs, PieceFiles
from aepipe.tables.partitions import Partition
from tests.support.linear_bundle import make_bundle, numbers

MACHINE = MachineSettings(device="cpu", workers=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set pieces to at least 64 rows; they end at any row group of at least 64 rows."""
    monkeypatch.setattr(pieces, "PIECE_ROWS", 64)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    monkeypatch.setattr(pieces, "_BLOCK_ROWS", 8)


def write(folder: Path, *sizes: int, name: str = "dt=2026-01-01", seed: int = 1, group: int = 64) -> Partition:
    files = []
    for index, size in enumerate(sizes):
        files.append(folder / name / f"part-{index}.parquet")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(numbers(size, seed=seed + index), files[-1], row_group_size=group)
    return Partition(name, tuple(files))


def run_fleet(bundle: Bundle, fleet: Fleet, *, most: int = 99) -> list[Task]:
    """Score the next `most` tasks in this process."""
    engine, done = local.LocalEngine(bundle, replace(MACHINE, workers=1)), list[Task]()
    while len(done) < most and (task := fleet.take()) is not None:
        done.append(task)
        fleet.complete(task, lambda task=task: engine.run([fleet.partitions[task.index]], task.settings))  # type: ignore[misc]
    return done


def outputs(folder: Path, name: str = "dt=2026-01-01") -> list[bytes]:
    return [(folder / output / name / "part-0.parquet").read_bytes() for output in ("scores", "features")]


def split_fleet(bundle: Bundle, partition: Partition, settings: ScoreSettings) -> Fleet:
    parts = split_partitions(bundle, [partition], settings, workers=2)
    assert parts, "the partition is too small"
    return Fleet([partition], settings, pieces=parts)


@pytest.mark.parametrize("sizes", [(700,), (100, 300, 0, 90)])
def test_pieces_write_the_bytes_of_one_worker(
    tmp_path: Path, bundle: Bundle, small: None, sizes: tuple[int, ...]
) -> None:
    partition, settings = write(tmp_path, *sizes), ScoreSettings(tmp_path / "pieces")
    (whole,) = local.run(bundle, [partition], ScoreSettings(tmp_path / "whole"), MACHINE)
    fleet = split_fleet(bundle, partition, settings)

    tasks = run_fleet(bundle, fleet)
    (result,) = fleet.results()

    assert len(tasks) > 3
    assert outputs(tmp_path / "pieces") == outputs(tmp_path / "whole")
    assert not list((tmp_path / "pieces" / ".aepipe" / "pieces").rglob("*.*"))
    same = {"seconds", "wall_s", "rows_per_s", "over_io"}
    assert result.details.model_dump(exclude=same) == whole.details.model_dump(exclude=same)
    assert Outputs(tmp_path / "pieces").manifest(SCORE, partition.name).key == (  # type: ignore[union-attr]
        Outputs(tmp_path / "whole").manifest(SCORE, partition.name).key  # type: ignore[union-attr]
    )


def test_a_run_that_is_interrupted_scores_only_the_pieces_that_are_left(
    tmp_path: Path, bundle: Bundle, small: None
) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    run_fleet(bundle, split_fleet(bundle, partition, settings), most=4)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / ".aepipe" / "pieces").rglob("*.arrow")}
    again = split_fleet(bundle, partition, settings)

    run_fleet(bundle, again, most=4)

    assert len(kept) == 8
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    run_fleet(bundle, again)
    assert again.results()[0].status == "written"


def test_pieces_that_were_scored_before_an_upgrade_are_joined(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    run_fleet(bundle, split_fleet(bundle, partition, settings), most=4)
    records = list((tmp_path / "out" / ".aepipe" / "pieces").rglob("*.json"))
    for path in records:
        older = json.loads(path.read_bytes())
        del older["cut"]  # a count that the version before did not have
        path.write_text(json.dumps(older))

    again = split_fleet(bundle, partition, settings)
    tasks = run_fleet(bundle, again)

    (result,) = again.results()
    assert len(records) == 4
    assert len(tasks) == 11  # six pieces that were left, four that were there already, and the join
    assert (result.status, result.rows) == ("written", 700)


def test_a_partition_that_is_done_costs_one_task_and_a_changed_one_is_scored_again(
    tmp_path: Path, bundle: Bundle, small: None
) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    run_fleet(bundle, split_fleet(bundle, partition, settings))

    again = split_fleet(bundle, partition, settings)
    tasks = run_fleet(bundle, again)
    assert len(tasks) == 1
    assert again.results()[0].status == "already done"

    write(tmp_path, 640, seed=9)
    changed = split_fleet(bundle, partition, settings)
    run_fleet(bundle, changed)
    assert changed.results()[0].status == "written"
    assert changed.results()[0].rows == 640


def test_a_file_that_changes_between_pieces_is_refused(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    fleet = split_fleet(bundle, partition, settings)
    run_fleet(bundle, fleet, most=2)
    write(tmp_path, 640, seed=9)

    run_fleet(bundle, fleet)

    (result,) = fleet.results()
    assert result.status == "quarantined"
    assert result.reason == "a file of dt=2026-01-01 changed while it was read. Run the partition again."


def test_damage_in_one_piece_names_the_row_group_and_ends_the_others(
    tmp_path: Path, bundle: Bundle, small: None
) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    chunk = pq.ParquetFile(partition.files[0]).metadata.row_group(3).column(1)
    damaged = bytearray(partition.files[0].read_bytes())
    damaged[chunk.data_page_offset + 5 : chunk.data_page_offset + 60] = b"\xff" * 55
    partition.files[0].write_bytes(damaged)
    fleet = split_fleet(bundle, partition, settings)

    tasks = run_fleet(bundle, fleet)

    (result,) = fleet.results()
    assert len(tasks) < 10
    assert result.status == "quarantined"
    assert "row group 3, cannot be read" in result.reason
    assert "dt=2026-01-01" in Outputs(tmp_path / "out").quarantined()


def test_invalid_rows_count_over_all_pieces(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition = write(tmp_path, 640)
    table = pq.read_table(partition.files[0])
    spoiled = [float("inf") if row < 64 else value for row, value in enumerate(table["b"].to_pylist())]
    column = table.schema.get_field_index("b")
    changed = table.set_column(column, "b", pa.array(spoiled, table["b"].type))
    pq.write_table(changed, partition.files[0], row_group_size=64)

    for allowed, status in ((0.2, "written"), (0.05, "quarantined")):
        fleet = split_fleet(bundle, partition, ScoreSettings(tmp_path / str(allowed), max_invalid_share=allowed))
        run_fleet(bundle, fleet)
        assert fleet.results()[0].status == status
    assert "64 of 640 rows cannot be scored" in fleet.results()[0].reason


def test_pieces_that_another_run_removes_are_scored_again_and_then_whole(
    tmp_path: Path, bundle: Bundle, small: None
) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    fleet = split_fleet(bundle, partition, settings)
    engine, seen = local.LocalEngine(bundle, MACHINE), []

    while (task := fleet.take()) is not None:
        seen.append("join" if task.settings.pieces else "whole" if task.settings.piece is None else "piece")
        if task.settings.pieces:
            PieceFiles(settings.out, partition.name, task.settings.pieces[0].source).remove()
        fleet.complete(task, lambda task=task: engine.run([partition], task.settings))  # type: ignore[misc]

    assert seen == [*["piece"] * 10, "join", *["piece"] * 10, "join", *["piece"] * 10, "join", "whole"]
    assert fleet.results()[0].status == "written"


def test_removing_a_partition_removes_its_pieces(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition, settings = write(tmp_path, 700), ScoreSettings(tmp_path / "out")
    run_fleet(bundle, split_fleet(bundle, partition, settings), most=3)

    removed = Outputs(settings.out).forget(partition.name)

    assert sum(path.suffix == ".arrow" for path in removed) == 6
    assert not list((settings.out / ".aepipe" / "pieces").rglob("*.*"))


@pytest.mark.parametrize("reason", ["small", "many partitions", "one worker", "adaptive", "absent", "one group"])
def test_partitions_that_are_scored_whole(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(pieces, "_BLOCK_ROWS", 8)
    if reason != "small":
        monkeypatch.setattr(pieces, "PIECE_ROWS", 64)
        monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    partition = write(tmp_path, 700, group=1_000 if reason == "one group" else 64)
    if reason == "absent":
        partition.files[0].unlink()
    settings = ScoreSettings(tmp_path / "out", adaptive=reason == "adaptive")

    assert not split_partitions(
        bundle,
        [partition] * (4 if reason == "many partitions" else 1),
        settings,
        workers=1 if reason == "one worker" else 2,
    )


def test_the_progress_of_pieces_grows_to_one(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition, shares = write(tmp_path, 700), list[float]()
    parts = split_partitions(bundle, [partition], ScoreSettings(tmp_path / "out"), workers=2)
    fleet = Fleet([partition], ScoreSettings(tmp_path / "out"), lambda _, share: shares.append(share), pieces=parts)

    run_fleet(bundle, fleet)

    assert shares == sorted(shares)
    assert len(shares) == len(parts[0]) + 1
    assert shares[-1] == 1.0


class DyingOnAPiece(local.LocalEngine):
    """Engine that ends its process on the second piece, once, and records every task."""

    def run(self, partitions, settings, *, progress=None):  # type: ignore[no-untyped-def]
        piece = None if settings.piece is None else settings.piece.index
        with (settings.out.parent / "tasks").open("a") as notes:
            notes.write(json.dumps(piece) + "\n")
        if piece == 1 and not (settings.out.parent / "died").exists():
            (settings.out.parent / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(partitions, settings, progress=progress)


def open_dying_engine(bundle: Bundle, machine: MachineSettings) -> None:
    processes._worker = DyingOnAPiece(bundle, machine)


@pytest.mark.slow
def test_a_process_that_dies_scores_only_its_piece_again(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1 << 18)
    monkeypatch.setattr(processes, "_open", open_dying_engine)
    partition = write(tmp_path, 1_000_000, group=70_000)
    local.run(bundle, [partition], ScoreSettings(tmp_path / "whole"), MACHINE)

    (result,) = processes.run(bundle, [partition], ScoreSettings(tmp_path / "out"), MACHINE)

    assert result.status == "written"
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    tasks = [json.loads(line) for line in (tmp_path / "tasks").read_text().splitlines()]
    assert sorted(tasks[:-1]) == [0, 1, 1, 2]
    assert tasks[-1] is None


def test_the_identity_of_pieces_changes_with_the_settings(tmp_path: Path, bundle: Bundle, small: None) -> None:
    partition = write(tmp_path, 700)
    both, scores = (
        pieces_of(bundle, partition, ScoreSettings(tmp_path / "out", features=features)) for features in (True, False)
    )

    assert both[0].source != scores[0].source
    assert [piece.ranges for piece in both] == [piece.ranges for piece in scores]
