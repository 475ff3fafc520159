"""Worker processes: the same outputs as threads, and a process that dies costs its partition at most."""

import os
import pickle
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.engines import local, processes
from aepipe.engines.engine import find_engine
from aepipe.engines.fleet import Fleet
from aepipe.engines.local import MachineSettings, PartitionResult, ScoreSettings
from aepipe.errors import Busy
from aepipe.storage import Outputs
from aepipe.tables.partitions import Partition
from tests.support.committed_outputs import manifests_without_times
from tests.support.linear_bundle import make_bundle, numbers


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


def write(folder: Path, sizes: tuple[int, ...]) -> list[Partition]:
    found = []
    for index, size in enumerate(sizes, start=1):
        path = folder / f"dt=2026-01-{index:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(numbers(size, seed=index), path, row_group_size=64)
        found.append(Partition(path.parent.name, (path,)))
    return found


class DyingEngine(local.LocalEngine):
    """Engine that ends its process on the second partition, as often as the file `times` says."""

    def run(self, partitions, settings, *, progress=None):  # type: ignore[no-untyped-def]
        left = settings.out.parent / "times"
        if partitions[0].name.endswith("02") and int(left.read_text()):
            left.write_text(str(int(left.read_text()) - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(partitions, settings, progress=progress)


def open_dying_engine(bundle: Bundle, machine: MachineSettings) -> None:
    processes._worker = DyingEngine(bundle, machine)


@pytest.mark.slow
def test_processes_write_the_same_bytes_as_threads(tmp_path: Path, bundle: Bundle) -> None:
    partitions = write(tmp_path, (50, 0, 700, 120))
    machine, shares = MachineSettings(device="cpu", workers=2), []

    threads = local.run(bundle, partitions, ScoreSettings(tmp_path / "threads"), machine)
    others = processes.run(
        bundle,
        partitions,
        ScoreSettings(tmp_path / "processes"),
        machine,
        progress=lambda _, share: shares.append(share),
    )

    assert [result.status for result in others] == ["written"] * 4
    assert [result.rows for result in others] == [result.rows for result in threads]
    assert shares == [0.25, 0.5, 0.75, 1.0]
    for partition in partitions:
        files = [tmp_path / name / "scores" / partition.name / "part-0.parquet" for name in ("threads", "processes")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert manifests_without_times(tmp_path / "threads") == manifests_without_times(tmp_path / "processes")


@pytest.mark.slow
@pytest.mark.parametrize(("times", "status"), [(1, "written"), (9, "quarantined")])
def test_a_process_that_dies_costs_no_other_partition(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, times: int, status: str
) -> None:
    partitions = write(tmp_path, (50, 60, 70, 80))
    (tmp_path / "times").write_text(str(times))
    monkeypatch.setattr(processes, "_open", open_dying_engine)

    results = processes.run(bundle, partitions, ScoreSettings(tmp_path / "out"), MachineSettings("cpu", workers=2))

    found = ["written" if result.status == "already done" else result.status for result in results]
    assert found == ["written", status, "written", "written"]
    if status == "quarantined":
        assert results[1].reason == "its worker process ended twice while scoring it"
        assert set(Outputs(tmp_path / "out").quarantined()) == {partitions[1].name}
    assert Outputs(tmp_path / "out").verify() == []


def test_a_fleet_keeps_the_order_and_raises_busy_last(tmp_path: Path) -> None:
    partitions = write(tmp_path, (1, 1, 1))
    fleet = Fleet(partitions, ScoreSettings(tmp_path / "out"))

    def busy() -> list[PartitionResult]:
        raise Busy("dt=2026-01-02 is being written")

    first, second, third = (fleet.take() for _ in range(3))
    assert first and second and third
    fleet.complete(third, lambda: [PartitionResult(partition=partitions[2].name, status="written")])
    fleet.complete(second, busy)
    assert fleet.unfinished == 1
    fleet.quarantine(first.index, "it is damaged")

    assert fleet.unfinished == 0
    assert fleet.take() is None
    with pytest.raises(Busy, match="dt=2026-01-02 is being written"):
        fleet.results()


@pytest.mark.parametrize("name", ["local", "processes"])
def test_engines_without_partitions_return_nothing(tmp_path: Path, bundle: Bundle, name: str) -> None:
    assert find_engine(name)(bundle, [], ScoreSettings(tmp_path), MachineSettings("cpu")) == []


def test_a_bundle_survives_pickling_to_another_process(bundle: Bundle) -> None:
    again = pickle.loads(pickle.dumps(bundle))

    assert again.manifest == bundle.manifest
    assert again.calibration == bundle.calibration
    assert dict(again.files) == dict(bundle.files)
    assert again.golden.rows.equals(bundle.golden.rows)
