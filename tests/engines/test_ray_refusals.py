"""Real clusters and workers of Ray that cannot be used: exit code 2 and one sentence, before a partition is started."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aepipe import versions
from aepipe.batch.score_settings import ClusterSettings, MachineSettings
from aepipe.engines.tasks import TaskWorkers
from aepipe.errors import ClusterUnavailable
from tests.engines.test_ray_connection import service
from tests.support.linear_job import make_job
from tests.support.ray_marks import ON_RAY

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

pytestmark = ON_RAY

OTHER_ONNXRUNTIME = "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 9.9\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Yield the address of a cluster of one node with one core, in processes of this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = make_job(tmp_path_factory.mktemp("job"), nights=2)
    job.write_text(f'{job.read_text()}engine = "ray"\n')
    return job


def score(job: Path, options: str, **environment: str) -> tuple[int, list[str]]:
    """Return the exit code of `aepipe score` with more lines of [run.ray], and the lines that it prints to stderr."""
    variant = job.with_name("variant.toml")
    variant.write_text(f"{job.read_text()}[run.ray]\n{options}\n")
    words = [sys.executable, "-m", "aepipe.cli.main", "score", str(variant), "--force"]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


def test_a_night_on_a_cluster_prints_its_progress_alone(job: Path, cluster: str) -> None:
    code, lines = score(job, f'address = "{cluster}"')

    assert code == 0, lines
    assert [line for line in lines if not line.strip().startswith("score: ")] == []


def test_a_worker_without_onnxruntime_is_one_sentence(job: Path, cluster: str, tmp_path: Path) -> None:
    path = tmp_path / "onnxruntime" / "__init__.py"
    path.parent.mkdir()
    path.write_text("raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')\n")

    code, lines = score(job, f'address = "{cluster}"', **workers_path(tmp_path))

    assert code == 2
    assert lines == [
        "error: a worker of the Ray cluster lacks the module onnxruntime. Install the same packages on every node."
    ]


def test_a_worker_with_another_onnxruntime_is_one_sentence(job: Path, cluster: str, tmp_path: Path) -> None:
    metadata = other_onnxruntime(tmp_path)

    code, lines = score(job, f'address = "{cluster}"', **workers_path(metadata))

    assert code == 2
    assert lines == [f"error: {other_packages()}"]


def test_a_trial_on_a_worker_with_another_onnxruntime_is_one_sentence(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in workers_path(other_onnxruntime(tmp_path)).items():
        monkeypatch.setenv(name, value)
    machine = MachineSettings(cluster=ClusterSettings(address=cluster))

    with pytest.raises(ClusterUnavailable) as raised, TaskWorkers("ray", machine) as workers:
        workers.run(abs, [-1, -2], done=lambda _: None)

    assert str(raised.value) == other_packages()


def test_a_gpu_that_no_node_has_is_refused(job: Path, cluster: str) -> None:
    code, lines = score(job, f'address = "{cluster}"\nnum_gpus = 1')

    assert code == 2
    assert lines == [
        "error: no node has the resources of a worker: expected 1 CPUs and 1 GPUs, got at most 1 and 0. Change "
        "num_cpus or num_gpus under [run.ray]."
    ]


def test_a_cluster_of_another_ray_is_one_sentence(job: Path, cluster: str) -> None:
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
    from ray._raylet import GcsClient

    store, key = GcsClient(address=cluster), b"CLUSTER_METADATA"
    true = store.internal_kv_get(key, namespace=KV_NAMESPACE_CLUSTER)
    other = json.dumps({**json.loads(true), "ray_version": "2.50.0"}).encode()
    store.internal_kv_put(key, other, overwrite=True, namespace=KV_NAMESPACE_CLUSTER)
    try:
        code, lines = score(job, f'address = "{cluster}"')
    finally:
        store.internal_kv_put(key, true, overwrite=True, namespace=KV_NAMESPACE_CLUSTER)

    python = ".".join(map(str, sys.version_info[:3]))
    assert code == 2
    assert lines == [
        f"error: the Ray cluster at {cluster} has other versions: expected Ray {ray.__version__} and Python {python}, "
        f"got Ray 2.50.0 and Python {python}. Install the same versions on every node."
    ]


def test_a_cluster_that_does_not_answer_ends_the_command(job: Path) -> None:
    with service(b"") as address:
        by_job = score(job, f'address = "{address}"')
        by_environment = score(job, "", RAY_ADDRESS=address)

    sentence = f"error: the Ray cluster at {address} does not answer: another service listens there. Check"
    assert by_job == (2, [f"{sentence} [run.ray] address, and that the cluster runs."])
    assert by_environment == (2, [f"{sentence} RAY_ADDRESS, and that the cluster runs."])


def workers_path(folder: Path) -> dict[str, str]:
    """Return the variables that let workers, and not the driver, import from a folder first."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"env_vars": {"PYTHONPATH": path}}})}


def other_onnxruntime(folder: Path) -> Path:
    """Put metadata of another version of onnxruntime into a folder, and return it."""
    metadata = folder / "onnxruntime-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(OTHER_ONNXRUNTIME)
    return folder


def other_packages() -> str:
    return (
        f"node {socket.gethostname()} has other packages: expected onnxruntime {versions.version('onnxruntime')}, got "
        "onnxruntime 9.9. Install the same versions on every node."
    )
