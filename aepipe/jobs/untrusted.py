"""Verification of a bundle of unknown origin in a child process with limits on memory and time."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

MEMORY_MB, TIMEOUT_S = 2_048, 60.0
"""Limits of the child process: memory beyond its libraries, and seconds of wall clock and of CPU."""

_REMEDY = "Do not use this bundle."


class Outcome(NamedTuple):
    """Result of the child process: the version if the bundle is intact, else the fault."""

    version: str
    fault: str | None


def verify_untrusted(folder: Path, *, memory_mb: int = MEMORY_MB, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Open a bundle and run its golden rows in a child process; a hostile bundle can only end the child.

    Args:
        folder: folder of the version.
        memory_mb: memory that the child may use, beyond that of its libraries.
        timeout_s: seconds after which the child is ended.
    """
    command = [sys.executable, "-P", "-m", "aepipe.jobs.untrusted", str(folder.resolve()), str(memory_mb)]
    try:
        # in the folder of the bundle: relative names lead to its own files (-P keeps Python from importing them)
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return Outcome("", f"{folder} takes too long: expected {timeout_s:g} s at most. {_REMEDY}")
    if done.returncode == 0:
        return Outcome(**json.loads(done.stdout))
    cause = f"exit code {done.returncode}"
    if done.returncode < 0:
        cause = f"signal {signal.Signals(-done.returncode).name}"
    return Outcome(
        "", f"{folder} ends the process that opens it ({cause}), or needs more than {memory_mb:,} MB. {_REMEDY}"
    )


def _limit(memory_mb: int) -> None:
    """Limit this process once its libraries are loaded: memory, and no files written or dumped."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, mapped + (memory_mb << 20)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _main(folder: str, memory_mb: str) -> None:
    from aepipe.bundles.bundle import Bundle
    from aepipe.errors import AepipeError
    from aepipe.inference.golden_check import check_every_part

    _limit(int(memory_mb))
    try:
        bundle = Bundle.open(folder)
        check_every_part(bundle)
        outcome = Outcome(bundle.version, None)
    except AepipeError as error:
        outcome = Outcome("", str(error))
    sys.stdout.write(json.dumps(outcome._asdict()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
