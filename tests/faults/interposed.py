"""Commands that run with their file operations counted, logged, failed or ended at the n-th one."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

HERE = Path(__file__).parent
KILLED = -signal.SIGKILL
HUNG = 99  # as in fork_server.py
LIMIT_S = float(os.environ.get("FAULTS_LIMIT_S", "120"))
"""Seconds after which a command counts as hung; more are needed on a machine that others use."""

OPEN_READ, OPEN_WRITE, READ, WRITE, SYNC, RENAME, REMOVE, MKDIR, TRUNCATE, LIST = (1 << bit for bit in range(10))
CHANGES = OPEN_WRITE | WRITE | SYNC | RENAME | REMOVE | MKDIR | TRUNCATE
ALL = CHANGES | OPEN_READ | READ | LIST
FAILING = {
    errno.ENOSPC: OPEN_WRITE | WRITE | SYNC | RENAME | MKDIR,
    errno.EIO: ALL,
    errno.EACCES: OPEN_READ | OPEN_WRITE | RENAME | REMOVE | MKDIR | LIST,
}
"""Kinds of operations that end with each error."""

Site: TypeAlias = tuple[str, str]
"""Operation and the one before it: kind and path each, without what differs between partitions, versions and runs."""
_VARYING = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}|[0-9a-f]{8,}|\d+")


class Ending(NamedTuple):
    """End of one command; `count` is 0 after a kill."""

    status: int
    count: int
    hit: bool
    said: str
    seconds: float


class Interposed:
    """Process whose forks run commands."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(
        self,
        root: Path,
        *arguments: str,
        kinds: int = ALL,
        kill_at: int = 0,
        fail_at: int = 0,
        error: int = 0,
        is_lasting: bool = False,
        kill_after_s: float = 0.0,
        log: Path | None = None,
        trace: Path | None = None,
    ) -> Ending:
        """Run a command and return its end.

        Args:
            root: folder whose file operations count.
            arguments: the command and its arguments.
            kinds: kinds of operations that count.
            kill_at: number of the operation before which the process is killed; 0: none.
            fail_at: number of the operation that fails with `error`; 0: none.
            error: number of the error.
            is_lasting: all later operations of these kinds fail too, as on a full disk.
            kill_after_s: seconds until the process is killed; 0: never.
            log: file to which all changes are appended.
            trace: file to which kind and path of each operation that counts are appended.
        """
        faults = {
            "kinds": kinds,
            "kill_at": kill_at,
            "fail_at": fail_at,
            "error": error,
            "is_lasting": int(is_lasting),
            "log": None if log is None else str(log),
            "trace": None if trace is None else str(trace),
        }
        (ending,) = self._ask(root, arguments, faults, [kill_after_s])
        return ending

    def sites(self, root: Path, *arguments: str, kinds: int = ALL, error: int = 0) -> list[Site]:
        """Run a command without faults, and return its operations in order."""
        trace = root.with_name("trace")
        trace.unlink(missing_ok=True)
        ended = self.run(root, *arguments, kinds=kinds, error=error, trace=trace)
        assert ended.status == 0, f"status {ended.status} after {ended.seconds:.0f} s: {ended.said}"
        lines = trace.read_text().splitlines() if trace.exists() else []
        steps = [f"{kind} {_VARYING.sub('#', path.removeprefix(str(root)))}" for kind, path in map(str.split, lines)]
        return list(zip(["", *steps], steps, strict=False))

    def run_together(self, root: Path, *arguments: str, kill_after_s: Sequence[float]) -> list[Ending]:
        """Run one command in several processes at once; each is killed after its seconds, or never if they are 0."""
        return self._ask(root, arguments, {}, kill_after_s)

    def _ask(
        self, root: Path, arguments: tuple[str, ...], faults: dict[str, Any], kill_after_s: Sequence[float]
    ) -> list[Ending]:
        order = {
            "root": str(root),
            "arguments": arguments,
            "kinds": ALL,
            "log": None,
            "trace": None,
            "limit_s": LIMIT_S,
            **dict.fromkeys(("kill_at", "fail_at", "error", "is_lasting"), 0),
            **faults,
            "kill_after_s": kill_after_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return [Ending(**each) for each in json.loads(self._process.stdout.readline())]


def has_compiler() -> bool:
    """Return whether the library can be built on this machine."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def build_library(folder: Path) -> Path:
    """Compile the preloaded library."""
    built = folder / "interpose.so"
    if not built.exists():
        source = HERE / "interpose.c"
        fresh = built.with_suffix(f".{os.getpid()}")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(fresh), str(source), "-ldl", "-lpthread"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        fresh.replace(built)
    return built


@contextmanager
def start(library: Path) -> Iterator[Interposed]:
    """Start the process that runs commands."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", str(HERE / "fork_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready == "ready\n", ready
        yield Interposed(process)
