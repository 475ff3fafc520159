"""Run commands in forks of a warm process whose file operations the preloaded library counts, logs, fails or ends.

Each line of its input is an order in JSON, see `interposed.py`; the line of the answer holds the exit status of each
command, the number of operations that it made, and what it printed.
"""

import ctypes
import hashlib
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aepipe.export.export import ExportCase

MODULES = (
    "aepipe.cli.main",
    "aepipe.cli.operation_commands",
    "aepipe.cli.sample_commands",
    "aepipe.cli.score_output",
    "aepipe.jobs.backfill.backfill",
    "aepipe.jobs.calibrate",
    "aepipe.jobs.evaluate.evaluate",
    "aepipe.jobs.forget",
    "aepipe.jobs.nightly",
    "aepipe.jobs.report.report",
    "aepipe.jobs.sample.impute",
    "aepipe.jobs.sample.sample",
    "aepipe.jobs.score",
    "aepipe.jobs.train.build_bundle",
    "aepipe.jobs.verify",
    "torch.onnx",
)
"""Imported once, so that a fork starts at once; modules that a command imports follow after its first run."""


def run_command(order: dict[str, Any]) -> int:
    """Run one command of the command line in this process."""
    from aepipe.cli import main
    from aepipe.cli.interrupts import raise_on_signals

    sys.argv = ["aepipe", *order["arguments"]]
    raise_on_signals()
    library = ctypes.CDLL(None)
    log, trace = (
        os.open(order[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666) if order.get(name) else -1
        for name in ("log", "trace")
    )
    library.faults_arm(
        os.fsencode(order["root"]),
        order["kinds"],
        ctypes.c_long(order["kill_at"]),
        ctypes.c_long(order["fail_at"]),
        order["error"],
        order["is_lasting"],
        log,
        trace,
    )
    return main._run()


def fork(order: dict[str, Any], said: Path, counted: int) -> int:
    """Run the command of an order in a fork; return the process id."""
    pid = os.fork()
    if pid:
        return pid
    status, known = 70, set(sys.modules)
    try:
        with said.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        status = run_command(order)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        library = ctypes.CDLL(None)
        library.faults_count.restype = ctypes.c_long
        os.write(counted, b"%d %d" % (library.faults_count(), library.faults_hit()))
        said.with_suffix(".modules").write_text("\n".join(sys.modules.keys() - known))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, began: float, kill_after_s: float, limit_s: float) -> int:
    """Return the exit status; kill the process after its seconds, and record a hang as status 99."""
    end = began + kill_after_s if kill_after_s else None
    limit = began + limit_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if (end is not None and now >= end) or now >= limit:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGKILL if now < limit else 99
        time.sleep(0.002)


def import_again(path: Path) -> None:
    """Import the modules that a command imported, so that the next one starts with them."""
    if path.exists():
        for name in sorted(path.read_text().split()):
            with suppress(Exception):  # some exist only within the process that made them
                importlib.import_module(name)
        path.unlink()


def remember_graphs() -> None:
    """Convert equal networks to ONNX once, which is most of a training and touches no file of the job."""
    from aepipe.export import export

    for name in ("_recorded_files", "_trace"):
        setattr(export, name, remembered(getattr(export, name)))


def remembered(convert: Callable[[Sequence["ExportCase"]], Any]) -> Callable[[Sequence["ExportCase"]], Any]:
    """Return a function that converts the same parts with the same weights and inputs only once."""
    known: dict[str, Any] = {}

    def converted(cases: Sequence["ExportCase"]) -> Any:
        digest = hashlib.sha256()
        for part, inputs in cases:
            digest.update(f"{part.name} {part.module}".encode())
            tensors = [*part.module.named_parameters(), *part.module.named_buffers()]
            for name, array in [*((name, tensor.numpy()) for name, tensor in tensors), *enumerate(inputs)]:
                digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        key = digest.hexdigest()
        if key not in known:
            known[key] = convert(cases)
        return known[key]

    return converted


def prepare_training(scratch: Path) -> None:
    """Train the job of `train` once, so that forks know its graphs."""
    from tqdm import tqdm

    from aepipe.jobs.train.train import train
    from tests.faults import commands

    tqdm.monitor_interval = 0  # its thread would be lost in the forks
    remember_graphs()
    commands.retrainable(scratch / "job")
    train(scratch / "job" / "job.toml")


def answer(order: dict[str, Any], scratch: Path) -> list[dict[str, Any]]:
    """Run one process for each delay of the order at the same time."""
    began = time.monotonic()
    started = []
    for index, kill_after_s in enumerate(order["kill_after_s"]):
        reading, writing = os.pipe()
        said = scratch / f"said-{index}"
        said.write_bytes(b"")  # a process may be killed before it opens the file
        started.append((fork(order, said, writing), kill_after_s, reading, said))
        os.close(writing)
    answers = []
    for pid, kill_after_s, reading, said in sorted(started, key=lambda each: each[1] or float("inf")):
        status = wait(pid, began, kill_after_s, order["limit_s"])
        with os.fdopen(reading) as counts:
            count, hit = [int(word) for word in counts.read().split()] or [0, 0]
        text = said.read_text(errors="replace")
        seconds = time.monotonic() - began
        import_again(said.with_suffix(".modules"))
        answers.append({"status": status, "count": count, "hit": bool(hit), "said": text, "seconds": seconds})
    return answers


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as scratch:
        print("ready", flush=True)
        can_train = False
        for line in sys.stdin:
            order = json.loads(line)
            if order["arguments"][0] == "train" and not can_train:
                with redirect_stdout(io.StringIO()):
                    prepare_training(Path(scratch))
                can_train = True
            print(json.dumps(answer(order, Path(scratch))), flush=True)


if __name__ == "__main__":
    main()
