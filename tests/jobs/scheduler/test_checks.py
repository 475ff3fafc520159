"""Checks of the Prefect server: by its files, and by the answers of a web server on loopback."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aepipe.jobs.scheduler.checks import Finding, check_scheduler


def findings(**environment: str) -> dict[str, Finding]:
    return {each.what: each for each in check_scheduler(environment)}


@pytest.fixture
def answers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the address of a web server, and its answers by path."""
    found: dict[str, Any] = {"/api/health": True}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in found
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found.get(self.path)).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api", found
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_pid_file_of_a_dead_process_is_found_with_its_remedy(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert findings(PREFECT_HOME=home)["Prefect pid file"].ok
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "prefect"]) as server:
        (tmp_path / "server.pid").write_text(str(server.pid))
        assert findings(PREFECT_HOME=home)["Prefect pid file"].ok
        server.kill()
    (tmp_path / "server.pid").write_text(str(os.getpid()))  # the number of another process
    assert "which is another program: no server can start" in findings(PREFECT_HOME=home)["Prefect pid file"].found

    (tmp_path / "server.pid").write_text("4194305")  # above the largest pid of Linux
    found = findings(PREFECT_HOME=home)["Prefect pid file"]
    assert not found.ok
    assert found.found.endswith(
        f"which is gone: no server can start. Remove it: aepipe doctor --fix, or rm {tmp_path / 'server.pid'}"
    )

    (tmp_path / "server.pid").write_text("x")
    assert not findings(PREFECT_HOME=home)["Prefect pid file"].ok


def test_fix_removes_only_the_pid_file_of_a_dead_server(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    path.write_text("4194305")  # above the largest pid of Linux
    (fixed, *_) = check_scheduler({"PREFECT_HOME": str(tmp_path)}, fix=True)
    assert fixed == ("Prefect pid file", f"removed {path}, which a dead server left", True)
    assert not path.exists()

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "prefect"]) as server:
        path.write_text(str(server.pid))
        (found, *_) = check_scheduler({"PREFECT_HOME": str(tmp_path)}, fix=True)
        server.kill()
    assert found.ok
    assert path.exists()


def test_an_open_server_without_a_password_is_found(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert not findings(PREFECT_HOME=home, PREFECT_SERVER_API_HOST="0.0.0.0")["Prefect server address"].ok
    for safe in ({"PREFECT_SERVER_API_AUTH_STRING": "a:b"}, {"PREFECT_SERVER_API_HOST": "127.0.0.1"}):
        environment = {"PREFECT_HOME": home, "PREFECT_SERVER_API_HOST": "0.0.0.0"} | safe
        assert "Prefect server address" not in {each.what for each in check_scheduler(environment)}


def test_a_server_that_does_not_answer_is_found(tmp_path: Path) -> None:
    found = findings(PREFECT_HOME=str(tmp_path), PREFECT_API_URL="http://127.0.0.1:9/api")["Prefect server"]

    assert not found.ok
    assert found.found.endswith("Start it: prefect server start --host 127.0.0.1")


def test_leases_in_memory_are_found_with_their_remedy(tmp_path: Path, answers: tuple[str, dict[str, Any]]) -> None:
    url, known = answers
    environment = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": url}
    assert "Prefect leases" not in findings(**environment)  # a server without this setting

    def stored(where: str) -> Finding:
        storage = f"prefect.server.concurrency.lease_storage.{where}"
        known["/api/admin/settings"] = {"server": {"concurrency": {"lease_storage": storage}}}
        return findings(**environment)["Prefect leases"]

    assert stored("filesystem") == ("Prefect leases", "in filesystem: a power cut blocks no later run", True)
    assert not stored("memory").ok
    assert "Start it with PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server" in stored("memory").found


def test_deployments_without_runs_and_missing_workers_are_found(
    tmp_path: Path, answers: tuple[str, dict[str, Any]]
) -> None:
    url, known = answers
    environment = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": url}
    assert "aepipe deploy" in findings(**environment)["Prefect objects"].found
    schedule = [{"active": True}]
    known["/api/deployments/filter"] = [
        {"id": "1", "name": "night", "schedules": schedule, "paused": False},
        {"id": "2", "name": "train", "schedules": schedule, "paused": False},
        {"id": "3", "name": "backfill", "schedules": [], "paused": False},
    ]
    known["/api/flow_runs/filter"] = [{"deployment_id": "1"}]
    known["/api/work_pools/aepipe/workers/filter"] = [{"name": "w", "status": "OFFLINE"}]

    found = findings(**environment)

    assert found["deployments"].found == "night, train, backfill"
    assert found["scheduled runs"].found == "none for train. Restart the server"
    assert found["worker of aepipe"].found == "none is online. Start one: prefect worker start --pool aepipe"

    known["/api/flow_runs/filter"] += [{"deployment_id": "2"}]
    known["/api/work_pools/aepipe/workers/filter"] = [{"name": "w", "status": "ONLINE"}]
    assert all(each.ok for each in findings(**environment).values())


def test_a_server_that_no_variable_names_is_said_to_be_unchecked(tmp_path: Path) -> None:
    found = findings(PREFECT_HOME=str(tmp_path))["Prefect server"]

    assert found.ok
    assert found.found.startswith("not checked, nor are deployments and worker: PREFECT_API_URL is not set")
