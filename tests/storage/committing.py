"""Commit partitions on request and die at a requested step: a process run by test_crashes.

Each line of its input is an order in JSON; a fork carries it out, and its exit status is the line of the answer.
A step is a change of a file or folder below the outputs, an fsync, or a write of rows; the fork dies just before it.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aepipe.errors import Busy
from aepipe.storage import RUN_KINDS, Commit, CommitGroup, Outputs, SampleDetails, ScoreDetails

WRITTEN, DONE, BUSY, DISK_FULL, FAILED = 0, 10, 11, 12, 13
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
KINDS = {kind.name: kind for kind in RUN_KINDS}
DETAILS = {"score": ScoreDetails(), "sample": SampleDetails()}
fsync = os.fsync


def batches_of(generation: int) -> Iterator[pa.RecordBatch]:
    """Make three batches, each large enough to be written at once; their rows hold the generation."""
    random = np.random.default_rng(generation)
    for rows in (20_000 + generation, 17_000, 100):
        yield pa.record_batch({"generation": np.full(rows, generation), "z": random.normal(size=rows)})


class Steps:
    """Counts steps, records their names, and exits before the requested one."""

    def __init__(self, out: str, kill_at: int) -> None:
        self.out = out
        self.kill_at = kill_at
        self.names: list[tuple[str, ...]] = []
        self.turn = threading.RLock()  # several threads sync files

    def take(self, *name: str) -> None:
        with self.turn:
            self.names.append(name)
            if len(self.names) == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not writes and event not in CHANGES:
            return
        paths = [os.fspath(path) for path in arguments[:2] if isinstance(path, str | os.PathLike)]
        if paths and paths[0].startswith(self.out) and (event != "os.remove" or Path(paths[0]).exists()):
            self.take(event, *paths)

    def sync(self, descriptor: int) -> None:
        self.take("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)


def carry_out(order: dict[str, Any]) -> int:
    steps = Steps(order["out"], order.get("kill_at", 0))
    sys.addaudithook(steps.audit)
    os.fsync = steps.sync
    if "largest_file" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    try:
        return commit_group(order, steps) if "partitions" in order else commit(order, steps)
    except Busy:
        return BUSY
    except OSError:
        return DISK_FULL
    finally:
        if "trace" in order:
            Path(order["trace"]).write_text(json.dumps(steps.names))


def commit(order: dict[str, Any], steps: Steps) -> int:
    outputs = Outputs(Path(order["out"]))
    generation = order["generation"]
    key = f"key {generation}"
    with outputs.commit(KINDS[order["run"]], "dt=1/hour=2", key, wait_s=order.get("wait_s", 0)) as begun:
        if "hold_until" in order:
            hold(Path(order["hold_until"]))
        if begun.done is not None:
            return DONE
        write(begun, order, steps)
        begun.publish(model_version=f"m/{generation}", details=DETAILS[order["run"]])
    return WRITTEN


def commit_group(order: dict[str, Any], steps: Steps) -> int:
    """Commit several partitions together, those that are not done."""
    outputs, group, key = Outputs(Path(order["out"])), CommitGroup(), f"key {order['generation']}"
    for partition in order["partitions"]:
        with ExitStack() as held:
            begun = held.enter_context(outputs.commit(KINDS[order["run"]], partition, key))
            if begun.done is None:
                write(begun, order, steps)
                begun.stage(model_version=f"m/{order['generation']}", details=DETAILS[order["run"]])
                group.add(begun, held.pop_all())
    status = WRITTEN if len(group) else DONE
    group.publish()
    return status


def write(begun: Commit[Any], order: dict[str, Any], steps: Steps) -> None:
    generation = order["generation"]
    for output in order["outputs"]:
        sink = begun.open(output, next(batches_of(generation)).schema)
        for batch in batches_of(generation):
            sink.write(batch)
            steps.take("rows", output)


def hold(until: Path) -> None:
    until.with_name("held").touch()
    while not until.exists():
        time.sleep(0.01)


def fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        status = carry_out(order)
    finally:
        os._exit(status)


def main() -> None:
    next(batches_of(0))  # Arrow imports pandas on its first array: once here, not in every fork
    for line in sys.stdin:
        order = json.loads(line)
        pids = [fork(order) for _ in range(order.get("processes", 1))]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
