"""Checks of the Prefect server of this machine, by its HTTP interface and its files: nothing here imports Prefect."""

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aepipe.errors import describe_failure
from aepipe.storage import remove

TIMEOUT_S = 3.0
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
TAG = {"tags": {"all_": ["aepipe"]}}
LEASES = "prefect.server.concurrency.lease_storage"


class Finding(NamedTuple):
    """One check: what, what was found with a remedy, and whether it is fine."""

    what: str
    found: str
    ok: bool


def check_scheduler(environment: Mapping[str, str], *, fix: bool = False) -> Iterator[Finding]:
    """Yield the checks of pid file, exposure, server, deployments and worker.

    Without PREFECT_API_URL only the files are checked, which a finding says: `aepipe` commands need no server.

    Args:
        environment: variables of the environment.
        fix: remove a pid file that a dead server left.
    """
    home = Path(environment.get("PREFECT_HOME") or Path.home() / ".prefect")
    pid_file = _pid_file(home / "server.pid")
    yield pid_file if pid_file.ok or not fix else _remove(home / "server.pid")
    host = environment.get("PREFECT_SERVER_API_HOST")
    if host is not None and host not in LOOPBACK and not environment.get("PREFECT_SERVER_API_AUTH_STRING"):
        remedy = "Set PREFECT_SERVER_API_AUTH_STRING, or bind it to 127.0.0.1."
        yield Finding(
            "Prefect server address", f"{host} is reachable from other machines without a password. {remedy}", False
        )
    url = environment.get("PREFECT_API_URL")
    if not url:
        found = "not checked, nor are deployments and worker: PREFECT_API_URL is not set. Commands need no server"
        yield Finding("Prefect server", found, True)
        return
    yield from _server_checks(url.rstrip("/"), environment.get("PREFECT_WORK_POOL", "aepipe"))


def _pid_file(path: Path) -> Finding:
    """Check the file that makes `prefect server start --background` say that a server is running."""
    what = "Prefect pid file"
    remedy = f"Remove it: aepipe doctor --fix, or rm {path}"
    try:
        pid = int(path.read_text())
    except FileNotFoundError:
        return Finding(what, "no background server", True)
    except (OSError, ValueError):
        return Finding(what, f"{path} cannot be read. {remedy}", False)
    if not _is_running(pid):
        found = f"{path} names process {pid}, which is gone: no server can start. {remedy}"
        return Finding(what, found, False)
    if not _is_prefect(pid):  # the number was given to another process, as after a restart of the machine
        found = f"{path} names process {pid}, which is another program: no server can start. {remedy}"
        return Finding(what, found, False)
    return Finding(what, f"process {pid}", True)


def _remove(path: Path) -> Finding:
    what = "Prefect pid file"
    try:
        remove(path)
    except OSError as error:
        return Finding(what, f"{path} cannot be removed: {describe_failure(error)}. Remove it: rm {path}", False)
    return Finding(what, f"removed {path}, which a dead server left", True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def _is_prefect(pid: int) -> bool:
    """Return whether a process runs Prefect, as far as its command line can be read."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
    return not command or b"prefect" in command  # empty while a process starts


def _server_checks(url: str, pool: str) -> Iterator[Finding]:
    what = "Prefect server"
    try:
        _ask(f"{url}/health")
    except (OSError, ValueError) as error:
        reason = describe_failure(error)
        start = "Start it: prefect server start --host 127.0.0.1"
        yield Finding(what, f"{url} does not answer: {reason}. {start}", False)
        return
    host = urlsplit(url).hostname
    yield Finding(what, f"{url} answers" + ("" if host in LOOPBACK else "; it has to ask for a password"), True)
    yield from _lease_check(url)
    try:
        deployments = _ask(f"{url}/deployments/filter", {"deployments": TAG})
        runs = _ask(
            f"{url}/flow_runs/filter", {"deployments": TAG, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        )
        workers = _ask(f"{url}/work_pools/{pool}/workers/filter", {})
    except (OSError, ValueError) as error:
        yield Finding(
            "Prefect objects", f"cannot be listed: {describe_failure(error)}. Create them: aepipe deploy JOB", False
        )
        return
    scheduled = [each for each in deployments if any(schedule["active"] for schedule in each.get("schedules", []))]
    names = ", ".join(each["name"] for each in deployments) or "none. Create them: aepipe deploy JOB"
    yield Finding("deployments", names, bool(deployments))
    waits = {each["deployment_id"] for each in runs}
    idle = [each["name"] for each in scheduled if each["id"] not in waits and not each.get("paused")]
    if scheduled:
        found = (
            f"none for {', '.join(idle)}. Restart the server"
            if idle
            else f"{len(runs)} of {len(scheduled)} deployments"
        )
        yield Finding("scheduled runs", found, not idle)
    online = [each["name"] for each in workers if each.get("status") == "ONLINE"]
    start = f"none is online. Start one: prefect worker start --pool {pool}"
    yield Finding(f"worker of {pool}", ", ".join(online) or start, bool(online))


def _lease_check(url: str) -> Iterator[Finding]:
    """Check that the place of a run is free again after a power cut; nothing for a server that does not tell."""
    try:
        storage = str(_ask(f"{url}/admin/settings")["server"]["concurrency"]["lease_storage"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    what = "Prefect leases"
    if storage != f"{LEASES}.memory":
        yield Finding(what, f"in {storage.rpartition('.')[2]}: a power cut blocks no later run", True)
        return
    remedy = (
        f"Start it with PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={LEASES}.filesystem, or in a folder with prefect.toml"
    )
    found = "in memory: if a power cut ends server and run, later runs of the deployment wait without end"
    yield Finding(what, f"{found}. {remedy}", False)


def _ask(url: str, body: object = None) -> Any:
    """Return an answer of the server; a POST if there is a body. Proxies are not used."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310  the address of the Prefect server
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)
