"""The documented setup of one machine: a server, prefect.yaml deployed, scheduled runs, a worker, Parquet."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from aepipe.jobs.score import score
from aepipe.storage import SCORE, Outputs
from tests.support.two_models import DAYS, write_job, write_partition

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent
NOWHERE = "http://127.0.0.1:9"  # nothing listens there: every connection outside this machine is refused


class Server:
    """A Prefect server on loopback, with a home of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.env = kept | {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_UI_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "HTTPS_PROXY": NOWHERE,
            "HTTP_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": str(ROOT),
        }

    def prefect(self, *arguments: str) -> list[str]:
        """Return the command line of `prefect` with this interpreter."""
        return [sys.executable, "-m", "prefect", *arguments]

    def run(self, *arguments: str) -> str:
        """Run a `prefect` command, which must succeed; return what it prints."""
        done = subprocess.run(
            self.prefect(*arguments), cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: object = None) -> Any:
        """Request a path of the server's API, by POST if there is a body."""
        request = urllib.request.Request(self.url + path, headers={"content-type": "application/json"})
        request.data = None if body is None else json.dumps(body).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def wait_for(self, what: str, found: Callable[[], Any], *, timeout_s: float) -> Any:
        """Call `found` until its answer is true, and return that answer."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                if answer := found():
                    return answer
            except OSError:  # it does not listen yet
                pass
            time.sleep(0.2)
        raise AssertionError(f"no {what} within {timeout_s:.0f} s")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder / "home")
    host, port = server.url.removeprefix("http://").removesuffix("/api").split(":")
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            server.prefect("server", "start", "--host", host, "--port", port),
            cwd=ROOT, env=server.env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            server.wait_for("server", lambda: server.ask("/health"), timeout_s=120)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def own_schedule(folder: Path, job: Path) -> Path:
    """Copy the project's prefect.yaml for another job."""
    schedule = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in schedule["deployments"]:
        deployment["parameters"]["options"]["job"] = str(job)
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump(schedule))
    return path


def scheduled(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Return the scheduled runs by deployment; empty until every deployment has one."""
    names = {deployment["id"]: deployment["name"] for deployment in server.ask("/deployments/filter", {})}
    runs = server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        if run["auto_scheduled"]:
            found.setdefault(names[run["deployment_id"]], []).append(run)
    return found if len(found) == len(names) > 0 else {}


def bring_forward(server: Server, run: dict[str, Any]) -> None:
    """Make a scheduled run due now."""
    now = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
    assert server.ask(f"/flow_runs/{run['id']}/set_state", {"state": now, "force": True})["status"] == "ACCEPT"


def test_scheduled_run_is_created_and_a_worker_completes_it(server: Server, plain_cells: Path, tmp_path: Path) -> None:
    server.run("work-pool", "create", "aepipe", "--type", "process")
    server.run("deploy", "--all", "--prefect-file", str(own_schedule(tmp_path, plain_cells)))

    runs = server.wait_for("scheduled run of each deployment", lambda: scheduled(server), timeout_s=60)

    due = {name: datetime.fromisoformat(some[0]["expected_start_time"]) for name, some in runs.items()}
    assert {name: (time.hour, time.minute) for name, time in due.items()} == {
        "nightly-scoring": (2, 30), "weekly-training": (4, 0), "weekly-sampling": (6, 0)
    }  # fmt: skip
    assert (due["weekly-training"].isoweekday(), due["weekly-sampling"].isoweekday()) == (6, 7)

    bring_forward(server, runs["nightly-scoring"][0])
    server.run("worker", "start", "--pool", "aepipe", "--run-once")

    run = server.ask(f"/flow_runs/{runs['nightly-scoring'][0]['id']}")
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]
    assert run["auto_scheduled"]
    tables = sorted((plain_cells.parent / "out" / "scores").rglob("*.parquet"))
    assert [path.parent.name for path in tables] == ["dt=2026-01-05", "dt=2026-01-06", "dt=2026-01-07"]
    assert all("score" in pq.read_schema(path).names for path in tables)
    assert {artifact["key"] for artifact in server.ask("/artifacts/filter", {})} == {
        "night-cells",
        "report-cells",
        "summary-cells",
    }


def test_server_reads_prefect_toml(server: Server) -> None:
    settings = server.ask("/admin/settings")["server"]

    assert settings["analytics_enabled"] is False
    assert settings["concurrency"]["lease_storage"].endswith(".filesystem")


def engine_of(worker: int) -> int | None:
    """Return the process of the flow that a worker runs."""
    for child in Path(f"/proc/{worker}/task/{worker}/children").read_text().split():
        if b"prefect.engine" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


@pytest.mark.parametrize(("how", "state"), [(signal.SIGTERM, "CRASHED"), (signal.SIGKILL, "RUNNING")])
def test_a_night_that_is_killed_leaves_nothing_half_done(
    server: Server, tmp_path: Path, how: signal.Signals, state: str
) -> None:
    job = write_job(tmp_path, "[samples]\nrows = 0\n")
    deployed = subprocess.run(
        [sys.executable, "-m", "flows.deploy", "--job", str(job), "--pool", "killed"],
        cwd=ROOT, env=server.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    score(job)
    write_partition(tmp_path, "dt=2026-03-04", seed=4, rows=4_000_000)
    (deployment,) = [each for each in server.ask("/deployments/filter", {}) if each["name"] == "linear-nightly"]
    run = server.ask(f"/deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    staged = tmp_path / "out" / "linear" / ".aepipe" / "staging" / "score" / "dt=2026-03-04"
    with subprocess.Popen(server.prefect("worker", "start", "--pool", "killed"), cwd=ROOT, env=server.env) as worker:
        try:
            server.wait_for("half a partition", staged.exists, timeout_s=120)
            engine = engine_of(worker.pid)
            assert engine is not None
            if how == signal.SIGKILL:
                worker.kill()  # with the flow, as a power cut does: no process is left to report
            os.kill(engine, how)
            if how == signal.SIGTERM:
                server.wait_for(
                    "end", lambda: server.ask(f"/flow_runs/{run['id']}")["state"]["type"] == state, timeout_s=60
                )
        finally:
            worker.kill()

    assert server.ask(f"/flow_runs/{run['id']}")["state"]["type"] == state
    outputs = Outputs(tmp_path / "out" / "linear")
    assert [manifest.partition for manifest in outputs.manifests(SCORE)] == list(DAYS)
    assert not (outputs.root / "scores" / "dt=2026-03-04").exists()
    (night,) = [each for each in score(job).nights if each.status == "written"]
    assert (night.partition, night.rows) == ("dt=2026-03-04", 4_000_000)
    assert not staged.exists()
