"""A job whose data, outputs and bundle lie in an object store has the same results as a local one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.batch import pieces
from aepipe.bundles.bundle import Bundle, copy_bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import parse_job
from aepipe.engines import local, processes
from aepipe.engines.fleet import Fleet, split_partitions
from aepipe.engines.local import MachineSettings, ScoreSettings
from aepipe.errors import DataUnreadable, StoreUnavailable
from aepipe.storage import SCORE, Outputs
from aepipe.stores import StorePath
from aepipe.tables.partitions import Partition, discover
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.object_store import Store

SIZES = (50, 0, 700)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


@pytest.fixture(autouse=True)
def local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def job_of(store: Store, folder: Path) -> list[Partition]:
    return list(discover(parse_job({"name": "t", "data": {"path": str(store.bucket / "rows")}}, source=folder / "j")))


def put_nights(store: Store) -> None:
    for day, size in enumerate(SIZES, start=1):
        store.put_table(f"rows/dt=2026-01-0{day}/p.parquet", numbers(size, seed=day), row_group_size=64)


def run(bundle: Bundle, partitions: list[Partition], out: Path, engine: object = local) -> list[str]:
    settings, machine = ScoreSettings(out), MachineSettings(device="cpu", workers=2)
    return [found.status for found in engine.run(bundle, partitions, settings, machine)]  # type: ignore[attr-defined]


def test_partitions_are_found_by_one_listing(store: Store, tmp_path: Path) -> None:
    put_nights(store)
    for key in ("rows/dt=2026-01-01/_temporary/x.parquet", "rows/dt=2026-01-01/.x.parquet", "rows/notes.txt"):
        store.put(key, b"")
    store.server.requests.clear()

    found = job_of(store, tmp_path)

    assert [partition.name for partition in found] == ["dt=2026-01-01", "dt=2026-01-02", "dt=2026-01-03"]
    assert found[0].files == (store.bucket / "rows" / "dt=2026-01-01" / "p.parquet",)
    lists = [request for request in store.server.requests if "list-type" in request and "max-keys=1000" in request]
    assert len(lists) == 1


def test_outputs_of_the_job_below_its_data_are_not_data(store: Store, tmp_path: Path) -> None:
    store.put_table("rows/a.parquet", numbers(5))
    store.put_table("rows/out/b.parquet", numbers(5))
    raw = {
        "name": "t",
        "data": {"path": str(store.bucket / "rows")},
        "output": {"path": str(store.bucket / "rows/out")},
    }

    found = discover(parse_job(raw, source=tmp_path / "job.toml"))

    assert [partition.name for partition in found] == ["a"]


def test_absent_data_are_one_sentence(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=rf"^{store.bucket / 'rows'} does not exist\. Set data\.path"):
        job_of(store, tmp_path)


@pytest.mark.parametrize("engine", [local, pytest.param(processes, marks=pytest.mark.slow)])
def test_scores_equal_those_of_local_files(store: Store, bundle: Bundle, tmp_path: Path, engine: object) -> None:
    put_nights(store)
    partitions = job_of(store, tmp_path)
    copies = []
    for partition in partitions:
        path = tmp_path / "rows" / partition.name / "p.parquet"
        path.parent.mkdir(parents=True)
        path.write_bytes(partition.files[0].read_bytes())
        copies.append(Partition(partition.name, (path,)))

    assert run(bundle, partitions, store.bucket / "out", engine) == ["written"] * 3
    assert run(bundle, copies, tmp_path / "out") == ["written"] * 3

    there, here = Outputs(store.bucket / "out"), Outputs(tmp_path / "out")
    for manifest in here.manifests(SCORE):
        for output in manifest.files:
            path = there.path(output, manifest.partition)
            assert path.read_bytes() == here.path(output, manifest.partition).read_bytes()
    details = [manifest.details.model_dump(include={"rows", "flagged", "alpha"}) for manifest in there.manifests(SCORE)]
    assert details == [m.details.model_dump(include={"rows", "flagged", "alpha"}) for m in here.manifests(SCORE)]
    assert there.verify() == []


@pytest.mark.slow
def test_pieces_lie_in_the_store_until_they_are_joined(
    store: Store, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PIECE_ROWS", 64), ("PIECE_BYTES", 1), ("_BLOCK_ROWS", 8)):
        monkeypatch.setattr(pieces, name, value)
    rows = numbers(400)
    store.put_table("rows/dt=2026-01-01/p.parquet", rows, row_group_size=64)
    (partition,) = job_of(store, tmp_path)
    settings = ScoreSettings(store.bucket / "out")
    fleet = Fleet([partition], settings, pieces=split_partitions(bundle, [partition], settings, workers=2))
    engine, seen = local.LocalEngine(bundle, MachineSettings("cpu", workers=1)), list[int]()

    while (task := fleet.take()) is not None:
        seen.append(len(list((store.bucket / "out" / ".aepipe" / "pieces").rglob("*.json"))))
        fleet.complete(task, lambda task=task: engine.run([partition], task.settings))  # type: ignore[misc]

    assert seen == list(range(len(seen)))
    assert len(seen) > 3
    assert fleet.results()[0].status == "written"
    assert Outputs(store.bucket / "out").path("scores", partition.name).exists()
    assert not list((store.bucket / "out" / ".aepipe" / "pieces").rglob("*"))


def test_only_the_columns_of_the_model_are_read_and_a_second_run_reads_a_footer(
    store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    rows = numbers(2_000)
    random = np.random.default_rng(0)
    noise = pa.array([random.bytes(2_000) for _ in range(rows.num_rows)])
    path = store.put_table("rows/a.parquet", rows.append_column("blob", noise), compression="none")
    assert path.stat().st_size > 4_000_000
    partitions = job_of(store, tmp_path)
    store.server.requests.clear()

    run(bundle, partitions, store.bucket / "out")

    assert 0 < bytes_read(store) < path.stat().st_size / 6
    store.server.requests.clear()
    assert run(bundle, partitions, store.bucket / "out") == ["already done"]
    assert bytes_read(store) < 200_000


def bytes_read(store: Store) -> int:
    spans = [
        request.partition("bytes=")[2].split("-") for request in store.server.requests if "a.parquet  b" in request
    ]
    return sum(int(last) - int(first) + 1 for first, last in spans)


@pytest.mark.slow
def test_an_object_that_is_written_again_is_scored_again(store: Store, bundle: Bundle, tmp_path: Path) -> None:
    store.put_table("rows/a.parquet", numbers(20))
    run(bundle, job_of(store, tmp_path), store.bucket / "out")

    store.put_table("rows/a.parquet", numbers(20, seed=1))

    assert run(bundle, job_of(store, tmp_path), store.bucket / "out") == ["written"]


@pytest.mark.slow
def test_a_read_that_breaks_off_is_repeated(store: Store, bundle: Bundle, tmp_path: Path) -> None:
    store.put_table("rows/a.parquet", numbers(3_000), row_group_size=1_000)
    partitions = job_of(store, tmp_path)
    for count in (1, 1):
        store.fail("GET .*a.parquet", count=count)

    assert run(bundle, partitions, store.bucket / "out") == ["written"]

    assert Outputs(store.bucket / "out").manifests(SCORE)[0].details.rows == 3_000


@pytest.mark.slow
def test_a_store_that_refuses_stops_the_run_and_quarantines_nothing(
    store: Store, bundle: Bundle, tmp_path: Path
) -> None:
    put_nights(store)
    partitions = job_of(store, tmp_path)
    store.fail("(GET|HEAD) .*dt=2026-01-03/p.parquet", status=403, code="AccessDenied")

    with pytest.raises(StoreUnavailable, match="lack the permission"):
        run(bundle, partitions, store.bucket / "out")

    store.server.faults.clear()
    outputs = Outputs(store.bucket / "out")
    assert outputs.quarantined() == {}
    assert set(run(bundle, partitions, store.bucket / "out")) <= {"written", "already done"}
    assert len(outputs.manifests(SCORE)) == 3


@pytest.mark.slow
def test_a_damaged_object_costs_its_partition(store: Store, bundle: Bundle, tmp_path: Path) -> None:
    put_nights(store)
    store.put("rows/dt=2026-01-02/p.parquet", b"PAR1 not parquet PAR1")

    assert run(bundle, job_of(store, tmp_path), store.bucket / "out") == ["written", "quarantined", "written"]

    (reason,) = Outputs(store.bucket / "out").quarantined().values()
    assert "is not a complete Parquet file" in reason


def test_a_bundle_is_published_named_and_opened(store: Store, bundle: Bundle) -> None:
    registry = Registry(store.bucket / "exported" / "linear")

    version = copy_bundle(bundle, registry.folder)
    assert registry.versions() == (version.name,)
    registry.set_alias("champion", version.name, who="me", why="first")

    for url in (registry.folder, f"{registry.folder}@champion", f"{registry.folder}/{version.name}"):
        assert Bundle.open(url).manifest == bundle.manifest
    assert Bundle.open(str(registry.folder)).files == bundle.files
    assert registry.faults() == []
    registry.remove([version.name])
    assert registry.versions() == ()


def test_a_version_without_its_manifest_is_not_listed(store: Store, bundle: Bundle) -> None:
    registry = Registry(store.bucket / "linear")
    version = copy_bundle(bundle, registry.folder)
    assert isinstance(version, StorePath)
    version.file_system.delete_file((version / "MANIFEST.json").in_store)

    assert registry.versions() == ()
