"""A newcomer's path, from a clone to the first scores of a table of their own: seconds of each step.

python -m benchmarks.newcomer FOLDER clones this repository into FOLDER, installs it there (gigabytes, once), writes a
table as CSV files and scores it. With --python it uses an environment that is there, and measures no installation.
"""

import argparse
import csv
import datetime
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NIGHTS, ROWS = 14, 1_000
WRONG = 7
"""Number of the payment of each night whose fee does not fit its amount."""


class Step(NamedTuple):
    """A step with its wall seconds, and the CPU seconds of all its processes."""

    name: str
    wall_s: float
    cpu_s: float


class StepFailed(RuntimeError):
    """A step ended with an exit code; the message has its last lines."""


def run_step(
    name: str, words: Sequence[str | Path], folder: Path, *, modules: Path | None = None, seconds: float = 1_800
) -> Step:
    """Run a command in a folder, with a folder of modules to import. Raises StepFailed if it fails or hangs."""
    began, before = time.perf_counter(), os.times()
    try:
        done = subprocess.run(
            list(map(str, words)),
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(modules or "")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"{name} took more than {seconds:.0f} s") from error
    if done.returncode:
        raise StepFailed(f"{name} ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Step(name, time.perf_counter() - began, cpu)


def write_exports(folder: Path, *, nights: int = NIGHTS, rows: int = ROWS) -> list[Path]:
    """Write payments as one CSV file per night, the fee 1.5 % of the amount but for one payment; return the files."""
    folder.mkdir(parents=True)
    rng, files = random.Random(0), []
    for night in range(nights):
        day = datetime.date(2026, 3, 1) + datetime.timedelta(days=night)
        path = folder / f"{day}.csv"
        with path.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["payment", "paid_at", "channel", "amount", "fee"])
            for row in range(rows):
                amount = round(rng.lognormvariate(4, 0.8), 2)
                fee = round(amount * (0.2 if row == WRONG else 0.015), 2)
                at = f"{day}T{row % 24:02d}:{row % 60:02d}:00"
                lines.writerow([f"P{night:02d}-{row:05d}", at, rng.choice(["app", "web", "branch"]), amount, fee])
        files.append(path)
    return files


def walk(folder: Path, python: Path | None, *, nights: int = NIGHTS, rows: int = ROWS) -> list[Step]:
    """Go from the clone to the report in an empty folder. Raises StepFailed."""
    clone, work = folder / "aepipe", folder / "work"
    folder.mkdir(parents=True, exist_ok=True)
    steps = [run_step("clone", ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), clone], folder)]
    if python is None:
        python = clone / ".venv" / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        steps += [
            run_step("environment", [sys.executable, "-m", "venv", python.parents[1]], clone),
            run_step("install", [*install, ".[train]"], clone),
        ]
    aepipe = [python, "-c", "from aepipe.cli.main import main; main()"]
    files = write_exports(work / "exports", nights=nights, rows=rows)
    commands = {
        "convert": ["convert", *files, "--out", "warehouse"],
        "init": ["init", "warehouse", "--key", "payment"],
        "train": ["train", "job.toml"],
        "score": ["score", "job.toml"],
        "report": ["report", "job.toml"],
    }
    steps += [run_step(name, [*aepipe, *words], work, modules=clone) for name, words in commands.items()]
    return steps


def table_of(steps: Sequence[Step]) -> str:
    """Return the steps as a table of Markdown, with their sum.

    >>> print(table_of([Step("clone", 1.0, 0.5), Step("init", 2.0, 1.5)]))
    | step | seconds | CPU seconds |
    |---|---|---|
    | clone | 1.0 | 0.5 |
    | init | 2.0 | 1.5 |
    | all | 3.0 | 2.0 |
    """
    whole = Step("all", sum(step.wall_s for step in steps), sum(step.cpu_s for step in steps))
    lines = [f"| {step.name} | {step.wall_s:.1f} | {step.cpu_s:.1f} |" for step in (*steps, whole)]
    return "\n".join(["| step | seconds | CPU seconds |", "|---|---|---|", *lines])


def main() -> None:
    """Walk the path and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.newcomer", description=__doc__)
    parser.add_argument("folder", type=Path, help="empty or new folder")
    parser.add_argument("--python", type=Path, help="interpreter of an environment with aepipe's requirements")
    asked = parser.parse_args()
    if asked.folder.exists() and any(asked.folder.iterdir()):
        sys.exit(f"error: {asked.folder} is not empty. Name a new folder.")
    try:
        print(table_of(walk(asked.folder.absolute(), asked.python and asked.python.absolute())))
    except StepFailed as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
