"""Models trained once a test session and shared by its processes; tests that write work on copies."""

import gc
import hashlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

# Before torch and onnxruntime are imported: the processes of a test run share the cores, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import onnxruntime
import pytest
from hypothesis import HealthCheck, settings

from aepipe.bundles.bundle import Bundle
from aepipe.jobs.evaluate.compare import compare
from aepipe.jobs.example_data import write_cells, write_digits
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import HIDDEN, lock
from aepipe.stores.object_client import google_bucket
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.machines import write_machines
from tests.support.object_store import (
    Emulator,
    FaultyServer,
    Store,
    environment,
    forget_connections,
    missing_emulator,
    new_bucket,
    running_emulator,
    running_server,
)
from tests.support.workspace import Workspace

settings.register_profile("random", deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("repeatable", settings.get_profile("random"), derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
WRITERS: dict[str, Callable[[Path], object]] = {"cells": write_cells, "digits": write_digits}
UNCHECKED = "quality = { check = false }\n"
"""Quality checks take seconds; the tests of the quality gate enable them."""
SHORTER = {"cells": "epochs = 60\n", "digits": "epochs = 4\n"}


def fitted_baselines(trained: Path, folder: Path) -> Path:
    """Score a copy of a job and fit its baselines, in the first process only; return the folder of the baselines."""
    with lock(folder.with_name(f"{folder.name}.lock"), wait_s=300):
        if not (folder / "done").exists():
            job = Path(shutil.copytree(trained, folder)) / "job.toml"
            score(job)
            compare(job)
            (folder / "done").touch()
    return folder / "out" / HIDDEN / "yardsticks"


def make_example(folder: Path, name: str) -> Path:
    """Write an example table and its job, with a local bundle folder and a shorter training; return the job's path."""
    WRITERS[name](folder)
    text = (ROOT / "data" / name / "job.toml").read_text()
    text = text.replace('"../../exported"', '"exported"').replace("[train]\n", f"[train]\n{SHORTER[name]}")
    text = re.sub(r"^quality = .*\n", "", text, flags=re.MULTILINE).replace("[samples]\n", f"[samples]\n{UNCHECKED}")
    job = folder / "job.toml"
    job.write_text(text)
    return job


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder that all processes of a test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


EXPORT_SOURCES = ("config", "encoding", "export", "heads", "metrics", "models", "storage", "tables", "training")
EXPORT_PACKAGES = ("numpy", "onnx", "onnxscript", "torch")
KEPT_CACHES = 3


def _export_key() -> str:
    """Compute a digest of all that exported test models depend on: sources, support modules, versions of packages."""
    folders = [ROOT / "aepipe" / name for name in EXPORT_SOURCES] + [
        ROOT / "tests" / "support",
        ROOT / "tests" / "export",
    ]
    files = [path for folder in folders for path in folder.rglob("*.py")] + list((ROOT / "aepipe").glob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    for text in (onnxruntime.__version__, *(f"{name}={version(name)}" for name in EXPORT_PACKAGES)):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def export_cache() -> Path:
    """Return the folder of exported test models for the present sources; older folders are kept up to a number."""
    root = ROOT / ".cache" / "exports"
    folder = root / _export_key()
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    with lock(root / ".lock", wait_s=60):
        latest = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for old in latest[:-KEPT_CACHES]:
            shutil.rmtree(old)
    return folder


def _trained(shared: Path, name: str) -> Path:
    folder = shared / name
    with lock(shared / f"{name}.lock", wait_s=300):
        if not (folder / "done").exists():
            train(make_example(folder, name))
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def trained_cells(shared_folder: Path) -> Path:
    """Return the folder of the cells example with its champion; read only."""
    return _trained(shared_folder, "cells")


@pytest.fixture(scope="session")
def trained_digits(shared_folder: Path) -> Path:
    """Return the folder of the digits example with its champion; read only."""
    return _trained(shared_folder, "digits")


@pytest.fixture(scope="session")
def trained_machines(shared_folder: Path) -> Path:
    """Return the folder of a series job with its champion and scored nights; read only. The last night has a fault."""
    folder = shared_folder / "machines"
    with lock(shared_folder / "machines.lock", wait_s=300):
        if not (folder / "done").exists():
            job = write_machines(folder, days=7, machines=2, fault_on=6, learned=5)
            train(job)
            score(job)
            (folder / "done").touch()
    return folder


@pytest.fixture
def machines(trained_machines: Path, tmp_path: Path) -> Path:
    """Copy the trained and scored series job; return the path of its job file."""
    return Path(shutil.copytree(trained_machines, tmp_path / "machines")) / "job.toml"


@pytest.fixture(scope="session")
def cells_baselines(shared_folder: Path, trained_cells: Path) -> Path:
    """Fit the baselines for the outputs of the cells example, once per test run; read only."""
    return fitted_baselines(trained_cells, shared_folder / "cells_baselines")


@pytest.fixture
def cells_with_baselines(cells: Path, cells_baselines: Path) -> Path:
    """Copy the trained cells example with its fitted baselines; return the path of its job."""
    shutil.copytree(cells_baselines, cells.parent / "out" / HIDDEN / "yardsticks")
    return cells


@pytest.fixture
def scored_cells(cells_with_baselines: Path) -> Path:
    """Score the nights of a copy of the trained cells example; return the path of its job."""
    score(cells_with_baselines)
    return cells_with_baselines


@pytest.fixture
def cells(trained_cells: Path, tmp_path: Path) -> Path:
    """Copy the trained cells example; return the path of its job."""
    return Path(shutil.copytree(trained_cells, tmp_path / "cells")) / "job.toml"


@pytest.fixture
def digits(trained_digits: Path, tmp_path: Path) -> Path:
    """Copy the trained digits example; return the path of its job."""
    return Path(shutil.copytree(trained_digits, tmp_path / "digits")) / "job.toml"


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle made by hand, without training."""
    return make_bundle(tmp_path_factory.mktemp("linear"), numbers(500), data={"keys": ["id"]})


@pytest.fixture
def workspace(tmp_path: Path, linear: Bundle) -> Workspace:
    """Return a folder in which partitions are scored with the bundle `linear`."""
    return Workspace(tmp_path, linear)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory, where syncing is fast: tests kill processes, not the machine."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def store_server() -> Iterator[tuple[FaultyServer, str]]:
    """Yield an S3 server on loopback for the whole session."""
    pytest.importorskip("moto.server")
    with running_server() as server:
        yield server


@pytest.fixture
def store(store_server: tuple[FaultyServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a new bucket of the S3 server; the environment of the test names the server."""
    yield from bucket_of(store_server, monkeypatch)


def emulator(kind: Emulator) -> Iterator[tuple[FaultyServer, str]]:
    pytest.importorskip("werkzeug")
    pytest.importorskip("obstore", reason="the extra 'stores' is not installed")
    if reason := missing_emulator(kind):
        pytest.skip(reason)
    with running_emulator(kind) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server() -> Iterator[tuple[FaultyServer, str]]:
    """Yield MinIO for the whole session."""
    yield from emulator("minio")


@pytest.fixture(scope="session")
def abfs_server() -> Iterator[tuple[FaultyServer, str]]:
    """Yield an emulator of Azure for the whole session."""
    yield from emulator("abfs")


@pytest.fixture(scope="session")
def gs_server() -> Iterator[tuple[FaultyServer, str]]:
    """Yield an emulator of Google Cloud Storage for the whole session."""
    yield from emulator("gs")


@pytest.fixture(params=["s3", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("minio", "abfs", "gs"))])
def any_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a new bucket of each kind of store."""
    name = "store_server" if request.param == "s3" else f"{request.param}_server"
    yield from bucket_of(request.getfixturevalue(name), monkeypatch)


@pytest.fixture
def minio_store(minio_server: tuple[FaultyServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a new bucket of MinIO."""
    yield from bucket_of(minio_server, monkeypatch)


@pytest.fixture
def abfs_store(abfs_server: tuple[FaultyServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a new container of the emulator of Azure."""
    yield from bucket_of(abfs_server, monkeypatch)


@pytest.fixture
def gs_store(gs_server: tuple[FaultyServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield a new bucket of the emulator of Google Cloud Storage."""
    yield from bucket_of(gs_server, monkeypatch)


def bucket_of(serving: tuple[FaultyServer, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    server, url = serving
    for name, value in environment(server.kind, url).items():
        monkeypatch.setenv(name, value)
    store = new_bucket(server, url)
    yield store
    server.faults.clear()
    if server.kind == "gs":
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            # Google's library does not read responses to requests that it repeats
            google_bucket(store.bucket.place).client.close()
            forget_connections()
            gc.collect()
    forget_connections()
