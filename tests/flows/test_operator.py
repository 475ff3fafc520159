"""The README's first ten minutes for an operator, command by command, on a clone with its own server and worker."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent
SECTION = "## The first ten minutes of an operator\n"
PARTS = ("aepipe", "flows", "data", "prefect.yaml", "prefect.toml")


class Clone:
    """A clone of the repository that never ran the demo, with an environment, a port and a Prefect home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.folder.mkdir()
        for name in PARTS:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.folder / name)
        for written in [*self.folder.glob("data/*/dt=*"), *self.folder.glob("data/*/out")]:
            shutil.rmtree(written)
        activate = self.folder / ".venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.env = kept | {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_API_PORT": self.port,
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PYTHONPATH": str(self.folder),
        }

    def bash(self, commands: str, timeout_s: float = 600) -> str:
        """Run commands with the variables of the README; all must succeed. Return what they print."""
        prelude = ". .venv/bin/activate\nexport DO_NOT_TRACK=1 PREFECT_API_URL=http://127.0.0.1:4200/api\n"
        # with job control, as a terminal has: without it, a process in the background ignores SIGINT
        script = f"set -meuo pipefail\n{prelude}{commands}".replace("4200", self.port)
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
        logs = "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("prefect-*.log")))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs
        return done.stdout

    def ask(self, path: str, body: object) -> Any:
        """Return an answer of the server's API to a POST."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api{path}",
            headers={"content-type": "application/json"},
            data=json.dumps(body).encode(),
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def pids(self) -> dict[str, int]:
        """Return the processes that the README starts, by name."""
        return {path.stem: int(path.read_text()) for path in self.folder.glob("prefect-*.pid")}


def section() -> str:
    return (ROOT / "README.md").read_text().split(SECTION)[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    clone = Clone(tmp_path_factory.mktemp("operator"))
    try:
        yield clone
    finally:
        for pid in clone.pids().values():
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_first_ten_minutes_end_with_a_deployed_night(clone: Clone) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", section(), flags=re.DOTALL)

    printed = clone.bash(commands)

    assert "BAD" not in printed
    nights = sorted((clone.folder / "out").rglob("scores/*/part-0.parquet"))
    assert [path.parent.name for path in nights] == [f"dt=2013-01-{day:02d}" for day in range(1, 16)]
    source = clone.folder / "warehouse" / "flights" / "dt=2013-01-15" / "part-0.parquet"
    assert pq.read_metadata(nights[-1]).num_rows == pq.read_metadata(source).num_rows
    (run,) = clone.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    assert {"aepipe", "flights", "partition:dt=2013-01-15"} <= set(run["tags"])


def test_deploying_again_changes_nothing_and_the_printed_command_keeps_the_options(clone: Clone) -> None:
    before = {each["name"]: each["id"] for each in clone.ask("/deployments/filter", {})}

    printed = clone.bash('aepipe deploy flights.toml --nightly "30 2 * * *"\n')
    (again,) = re.findall(r"score a partition again: (.*)", printed)
    clone.bash(f"{again} --watch\n")

    assert {each["name"]: each["id"] for each in clone.ask("/deployments/filter", {})} == before
    assert len(clone.ask("/automations/filter", {})) == 1
    assert [pool["name"] for pool in clone.ask("/work_pools/filter", {})] == ["aepipe"]
    finished = clone.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    asked = {"job": str(clone.folder / "flights.toml"), "samples": False, "partitions": ["dt=2013-01-15"]}
    assert asked in [run["parameters"]["options"] for run in finished]


def test_the_deployments_of_prefect_yaml_work_without_the_demo(clone: Clone) -> None:
    clone.bash("prefect deploy --all\nprefect deployment run nightly/nightly-scoring --watch\n")

    scored = sorted((clone.folder / "data" / "cells" / "out" / "scores").rglob("*.parquet"))
    assert [path.parent.name for path in scored] == ["dt=2026-01-05", "dt=2026-01-06", "dt=2026-01-07"]


def test_the_commands_to_stop_end_worker_and_server(clone: Clone) -> None:
    started = clone.pids()
    assert all(is_running(pid) for pid in started.values())

    for command in re.findall(r"`(kill [^`]*)`", section()):
        clone.bash(command)
        (name,) = re.findall(r"(prefect-\w+)\.pid", command)
        until = time.monotonic() + 180  # long, because the machine may be busy
        while is_running(started[name]) and time.monotonic() < until:
            time.sleep(0.2)
        assert not is_running(started[name]), name
    assert not any(is_running(pid) for pid in started.values())
