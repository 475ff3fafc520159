"""Ray: the same outputs as threads, worker deaths, and a node that leaves."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aepipe.batch import pieces
from aepipe.batch.score_settings import ClusterSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.engines.local import MachineSettings, ScoreSettings
from aepipe.storage import Outputs, PartitionResult
from aepipe.tables.partitions import Partition
from tests.engines.test_processes import write
from tests.support.committed_outputs import manifests_without_times
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.ray_marks import ON_RAY

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from aepipe.engines import ray_cluster  # noqa: E402
from aepipe.engines.ray_worker import Scorer, Setup  # noqa: E402

pytestmark = ON_RAY


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Start a cluster of three nodes with one core each, in processes of this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_cluster_writes_the_same_bytes_as_threads(tmp_path: Path, bundle: Bundle, cluster: object) -> None:
    partitions = write(tmp_path, (50, 0, 700, 120))
    machine, shares = MachineSettings(device="cpu"), list[float]()

    local.run(bundle, partitions, ScoreSettings(tmp_path / "threads"), machine)
    settings = ScoreSettings(tmp_path / "ray")
    results = ray_cluster.run(bundle, partitions, settings, machine, progress=lambda _, share: shares.append(share))
    again = ray_cluster.run(bundle, partitions, settings, machine)

    assert [result.status for result in results] == ["written"] * 4
    assert [result.status for result in again] == ["already done"] * 4
    assert shares == [0.25, 0.5, 0.75, 1.0]
    for partition in partitions:
        files = [tmp_path / name / "scores" / partition.name / "part-0.parquet" for name in ("threads", "ray")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert manifests_without_times(tmp_path / "threads") == manifests_without_times(tmp_path / "ray")


class RecordingScorer(Scorer):
    """Scorer that records each partition, and ends its process within the third one the first time."""

    def score(self, setup: Setup, partition: Partition, settings: ScoreSettings) -> list[PartitionResult]:
        notes = settings.out.parent / "notes" / partition.name
        with notes.open("a") as file:
            file.write("started\n")
        if partition.name.endswith("03") and len(notes.read_text().splitlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(setup, partition, settings)


def test_a_killed_worker_scores_only_its_partition_again(
    tmp_path: Path, bundle: Bundle, cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = write(tmp_path, (400,) * 6)
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(ray_cluster, "Scorer", RecordingScorer)

    results = ray_cluster.run(bundle, partitions, ScoreSettings(tmp_path / "out"), MachineSettings(device="cpu"))

    assert [result.status for result in results] == ["written"] * 6
    starts = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "notes").iterdir()}
    assert starts == {partition.name: 1 + partition.name.endswith("03") for partition in partitions}
    assert Outputs(tmp_path / "out").verify() == []


def test_a_node_that_leaves_during_a_run_loses_no_partition(tmp_path: Path, bundle: Bundle, cluster: object) -> None:
    partitions = write(tmp_path, (20_000,) * 9)
    node = cluster.add_node(num_cpus=1)  # type: ignore[attr-defined]
    done = threading.Event()

    def leave(_: str, share: float) -> None:
        if not done.is_set():
            done.set()
            cluster.remove_node(node, allow_graceful=False)  # type: ignore[attr-defined]

    results = ray_cluster.run(
        bundle, partitions, ScoreSettings(tmp_path / "out"), MachineSettings(device="cpu"), progress=leave
    )

    assert {result.status for result in results} <= {"written", "already done"}
    assert len(results) == 9
    assert Outputs(tmp_path / "out").verify() == []


def test_a_partition_whose_worker_always_dies_is_quarantined(
    tmp_path: Path, bundle: Bundle, cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = write(tmp_path, (5, 6, 7))
    submit = ray_cluster._Slot.submit

    def kill_with_the_first(slot: ray_cluster._Slot, partition: Partition, settings: ScoreSettings) -> object:
        if partition.name == partitions[0].name:
            ray.kill(slot.actor, no_restart=True)
        return submit(slot, partition, settings)

    monkeypatch.setattr(ray_cluster._Slot, "submit", kill_with_the_first)
    machine = MachineSettings(device="cpu", cluster=ClusterSettings(max_task_retries=1))
    results = ray_cluster.run(bundle, partitions, ScoreSettings(tmp_path / "out"), machine)

    assert [result.status for result in results] == ["quarantined", "written", "written"]
    assert results[0].reason == "2 workers of the Ray cluster were lost while scoring it"


def test_a_worker_that_is_killed_scores_only_its_piece_again(
    tmp_path: Path, bundle: Bundle, cluster: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1 << 18)
    partition = Partition("dt=2026-01-01", (tmp_path / "data" / "dt=2026-01-01" / "part-0.parquet",))
    partition.files[0].parent.mkdir(parents=True)
    pq.write_table(numbers(1_200_000), partition.files[0], row_group_size=70_000)
    local.run(bundle, [partition], ScoreSettings(tmp_path / "whole"), MachineSettings(device="cpu"))
    submit, submitted = ray_cluster._Slot.submit, list[int | None]()

    def kill_with_the_second_piece(slot: ray_cluster._Slot, partition: Partition, settings: ScoreSettings) -> object:
        submitted.append(None if settings.piece is None else settings.piece.index)
        process = ray.get(slot.actor.process.remote())
        task = submit(slot, partition, settings)
        if submitted[-1] == 1:
            os.kill(process, signal.SIGKILL)
        return task

    monkeypatch.setattr(ray_cluster._Slot, "submit", kill_with_the_second_piece)
    (result,) = ray_cluster.run(
        bundle, [partition], ScoreSettings(tmp_path / "ray"), MachineSettings(device="cpu", workers=3)
    )

    assert result.status == "written"
    assert submitted == [0, 1, 2, 3, None]  # Ray itself submits the second piece again
    for output in ("scores", "features"):
        files = [tmp_path / name / output / partition.name / "part-0.parquet" for name in ("whole", "ray")]
        assert files[0].read_bytes() == files[1].read_bytes()
