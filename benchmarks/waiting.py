"""CPU and wall seconds of what people wait for: training, export, reports, many small nights, runs without work.

python -m benchmarks.waiting [--before CHECKOUT] [--nights N] [--no-page]

Each step runs in a process of its own, one after the other. With --before, each runs with the code of another checkout
as well, in turn, on the same data and in the same run; training there writes its own bundle.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.command import PAGE
from benchmarks.page import measured, put_into, table

SMALL_ROWS = 900
COLUMNS = 13
TRAINING_NIGHTS = 21
REPORTED = 31

_JOB = """name = "nights"

[data]
path = "{data}"
keys = ["id"]
labels = ["is_faulty"]

[train]
to = "night={last:04d}"

[evaluate]
anomaly = "is_faulty = true"
"""
_CODE = {
    "import aepipe.jobs.score": "import aepipe.jobs.score",
    "train": "from aepipe.jobs.train.train import train; train('job.toml')",
    "export": (
        "import time, aepipe.jobs.train.build_bundle as b\n"
        "f = b.export_model\n"
        "def timed(*a, **k):\n"
        "    cpu, wall = time.process_time(), time.perf_counter()\n"
        "    made = f(*a, **k)\n"
        "    print('SECONDS', time.process_time() - cpu, time.perf_counter() - wall)\n"
        "    return made\n"
        "b.export_model = timed\n"
        "from aepipe.jobs.train.train import train; train('short.toml')"
    ),
    "score": "from aepipe.jobs.score import score; score('job.toml')",
    "score again": "from aepipe.jobs.score import score; score('job.toml')",
    "first nightly run": "from aepipe.jobs.nightly import night; night('job.toml')",
    "nightly run without work": "from aepipe.jobs.nightly import night; night('job.toml')",
    "report with baselines": "from aepipe.jobs.report.report import report; report('job.toml')",
    "report": "from aepipe.jobs.report.report import report; report('job.toml')",
}


class Step(NamedTuple):
    """Seconds of a step."""

    cpu: float
    wall: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write it to the page."""
    options = _parser().parse_args(arguments)
    here = Path(__file__).parents[1]
    checkouts = {**({"before": options.before.resolve()} if options.before else {}), "now": here}
    found: dict[str, dict[str, Step]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary, "data")
        write_nights(data, nights=options.nights)
        for name in checkouts:
            write_job(Path(temporary, name), data)
        for step in _CODE:
            for name, checkout in checkouts.items():
                found.setdefault(step, {})[name] = run(step, folder=Path(temporary, name), checkout=checkout)
                print(f"{step} ({name}): {found[step][name].cpu:.2f} CPU s", file=sys.stderr, flush=True)
    text = "\n".join(lines(found, nights=options.nights)) + "\n"
    print(text)
    if not options.no_page:
        put_into(PAGE, text, name="waiting")


def write_nights(folder: Path, *, nights: int, rows: int = SMALL_ROWS) -> None:
    """Write nights of nine related numbers and four categories; 2 % of the rows have a fault in one column."""
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(4, COLUMNS - 4)) / 2
    for night in range(nights):
        numbers = generator.normal(size=(rows, 4)) @ mix + generator.normal(size=(rows, COLUMNS - 4)) / 2
        faulty = generator.random(rows) < 0.02
        numbers[faulty, 0] += 4
        columns: dict[str, object] = {"id": np.arange(rows) + night * rows}
        columns |= {f"x{at}": numbers[:, at] for at in range(COLUMNS - 4)}
        columns |= {f"c{at}": generator.choice(list("abcdefghij"), rows) for at in range(4)}
        path = folder / f"night={night:04d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({**columns, "is_faulty": faulty}), path)


def write_job(folder: Path, data: Path) -> None:
    """Write the job file of a checkout, and one that trains for one epoch only."""
    folder.mkdir()
    text = _JOB.format(data=data, last=TRAINING_NIGHTS - 1)
    (folder / "job.toml").write_text(text)
    short = text.replace('name = "nights"', 'name = "short"').replace("[train]", "[train]\nepochs = 1")
    (folder / "short.toml").write_text(short)


def run(step: str, *, folder: Path, checkout: Path) -> Step:
    """Run a step as `run_code` does."""
    return run_code(_CODE[step], folder=folder, checkout=checkout)


def run_code(code: str, *, folder: Path, checkout: Path) -> Step:
    """Run code in a process of its own, with the modules of a checkout.

    Code that prints `SECONDS`, CPU and wall seconds names what counts; else the whole process does.

    Raises:
        SystemExit: the code failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{code} failed with the code of {checkout.name}: {done.stderr[-2_000:]}")
    for line in done.stdout.splitlines():
        if line.startswith("SECONDS"):
            cpu, seconds = line.split()[1:]
            return Step(float(cpu), float(seconds))
    return Step(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def lines(found: Mapping[str, Mapping[str, Step]], *, nights: int) -> Iterator[str]:
    """Yield the section of the page."""
    what = {
        "import aepipe.jobs.score": "start of `aepipe score` (imports)",
        "train": f"train on {TRAINING_NIGHTS * SMALL_ROWS:,} rows, `vae`, all defaults, with export",
        "export": "export of its graphs alone",
        "score": f"score {nights} nights of {SMALL_ROWS} rows, per night",
        "score again": f"score again, {nights} nights done",
        "first nightly run": f"first nightly run, {nights} nights done: synthetic rows and a report",
        "nightly run without work": f"nightly run, {nights} nights done",
        "report with baselines": f"first report of {REPORTED} labelled nights, with its baselines",
        "report": f"next report of {REPORTED} labelled nights",
    }
    names = list(next(iter(found.values())))
    yield "## What people wait for"
    yield ""
    yield f"{COLUMNS} columns, 9 of numbers and 4 of categories. {measured()} `python -m benchmarks.waiting`"
    yield ""
    header = ["step", *(f"{name}, {kind}" for name in names for kind in ("CPU s", "wall s"))]
    yield from table(header, ([what[step], *_cells(steps, step, nights=nights)] for step, steps in found.items()))


def _cells(steps: Mapping[str, Step], step: str, *, nights: int) -> Iterator[str]:
    share = nights if step == "score" else 1
    for measured_step in steps.values():
        for seconds in measured_step:
            yield f"{1e3 * seconds / share:.1f} ms" if share > 1 else f"{seconds:.2f}"


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    made.add_argument("--before", type=Path, help="another checkout, which is measured in turn")
    made.add_argument("--nights", type=int, default=365, help="nights to score")
    made.add_argument("--no-page", action="store_true", help="print the table only")
    return made


if __name__ == "__main__":
    main()
