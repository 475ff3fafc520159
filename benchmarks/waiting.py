"""CPU and wall seconds of the steps that users wait for: training, export, reports, small nights, runs without work.

python -m benchmarks.waiting [--before CHECKOUT] [--nights N] [--folder FOLDER] [--only STEP ...] [--no-page]

Each step runs in a process of its own, one after the other. With --before, each runs with the code of another checkout
as well, in turn, on the same data and in the same run; training there writes its own bundle. With --folder, data and
results stay there, and later calls measure further steps, which need the bundle of the step `train`.
"""

import argparse
import io
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tarfile
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
IMAGES, MIXED = 16_384, 262_144
"""Rows of the nights of images of 28 x 28 bytes, and of 54 numbers and 10 categories"""
DEMO = "demo"
"""Step that needs a fresh copy of the checkout"""

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
_NIGHT = (
    "import time\n"
    "from pathlib import Path\n"
    "from benchmarks.throughput_tables import KINDS, PARTS, Night, ready\n"
    "night = Night(KINDS['{kind}'], PARTS, {rows}, Path('graphs').absolute())\n"
    "ready(night)\n"
)
_TIMED = (
    "cpu, wall = time.process_time(), time.perf_counter()\n"
    "work()\n"
    "print('SECONDS', time.process_time() - cpu, time.perf_counter() - wall)\n"
)
_GRAPH = f"{_NIGHT}from benchmarks.throughput_floors import infer\nwork = infer(night)\n{_TIMED}"
_WHOLE = (
    f"{_NIGHT}import shutil\n"
    "from benchmarks.throughput_contenders import CONTENDERS, OURS\n"
    "work = CONTENDERS[OURS](night)\n"
    "shutil.rmtree(night.out, ignore_errors=True)\n"
    f"{_TIMED}"
)
_REASONS = (
    f"{_NIGHT}from benchmarks.throughput_costs import costs\n"
    "found = costs(night)()\n"
    "print('SECONDS', found['reasons in the graph_s'] + found['reasons written_s'], 'nan')\n"
)
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
    "graph of images": _GRAPH.format(kind="images", rows=IMAGES),
    "graph of a table": _GRAPH.format(kind="mixed", rows=MIXED),
    "night of a table": _WHOLE.format(kind="mixed", rows=MIXED),
    "reasons of a table": _REASONS.format(kind="mixed", rows=MIXED),
    DEMO: "from flows.demo import main; main()",
}
_ROWS = {"graph of images": IMAGES} | dict.fromkeys(
    ("graph of a table", "night of a table", "reasons of a table"), MIXED
)
"""Rows of the steps whose seconds are given per row"""


class Step(NamedTuple):
    """Seconds of a step."""

    cpu: float
    wall: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write it to the page."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options, Path(options.folder or temporary).absolute())
    text = "\n".join(lines(found, nights=options.nights)) + "\n"
    print(text)
    if not options.no_page:
        put_into(PAGE, text, name="waiting")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, Step]]:
    """Measure the steps that are asked for, and return them with the results that the folder has."""
    here = Path(__file__).parents[1]
    checkouts = {**({"before": options.before.resolve()} if options.before else {}), "now": here}
    kept, data = folder / "steps.json", folder / "data"
    found: dict[str, dict[str, Step]] = {}
    if kept.exists():
        known = json.loads(kept.read_text())
        found = {step: {name: Step(*each) for name, each in steps.items()} for step, steps in known.items()}
    if not data.exists():
        write_nights(data, nights=options.nights)
    for name in checkouts:
        write_job(folder / name, data)
    for step in options.only or _CODE:
        for name, checkout in checkouts.items():
            place = fresh_copy(checkout, folder / f"{name}-demo") if step == DEMO else folder / name
            found.setdefault(step, {})[name] = run(step, folder=place, checkout=place if step == DEMO else checkout)
            print(f"{step} ({name}): {found[step][name].cpu:.2f} CPU s", file=sys.stderr, flush=True)
        kept.write_text(json.dumps(found))
    return {step: found[step] for step in _CODE if step in found}


def fresh_copy(checkout: Path, folder: Path) -> Path:
    """Write the last commit of a checkout into an empty folder."""
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=checkout, capture_output=True, check=True).stdout
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


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
    folder.mkdir(parents=True, exist_ok=True)
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
        "graph of images": "graph of a convolutional `ae` of 28 x 28 pixels, per image",
        "graph of a table": "graph of an `ae` of 54 numbers and 10 categories, per row",
        "night of a table": "all of a night of that table, per row",
        "reasons of a table": "its reasons, computed and written, per row",
        DEMO: "`make demo`, installed",
    }
    names = list(dict.fromkeys(name for steps in found.values() for name in steps))
    yield "## What people wait for"
    yield ""
    yield f"{COLUMNS} columns, 9 of numbers and 4 of categories. {measured()} `python -m benchmarks.waiting`"
    yield ""
    header = ["step", *(f"{name}, {kind}" for name in names for kind in ("CPU s", "wall s"))]
    rows = ([what[step], *_cells(step, steps, names, nights=nights)] for step, steps in found.items())
    yield from table(header, rows)
    for name in names:
        parts = [
            found[step][name].cpu for step in ("reasons of a table", "night of a table") if name in found.get(step, {})
        ]
        if len(parts) == 2:
            yield ""
            share = 100 * parts[0] / parts[1]
            yield f"Reasons take {share:.0f} % of that night's CPU seconds ({name}), without the alarm for cells."


def _cells(step: str, steps: Mapping[str, Step], names: Sequence[str], *, nights: int) -> Iterator[str]:
    """Yield the seconds of each checkout: of a whole step, in ms per night or in us per row."""
    for name in names:
        for seconds in steps.get(name, Step(math.nan, math.nan)):
            if math.isnan(seconds):
                yield ""
            elif step in _ROWS:
                yield f"{1e6 * seconds / _ROWS[step]:.2f} us"
            else:
                yield f"{1e3 * seconds / nights:.1f} ms" if step == "score" else f"{seconds:.2f}"


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    made.add_argument("--before", type=Path, help="another checkout, which is measured in turn")
    made.add_argument("--nights", type=int, default=365, help="nights to score")
    made.add_argument("--folder", type=Path, help="where data and results are kept for later calls; default: nowhere")
    made.add_argument("--only", nargs="+", choices=_CODE, metavar="STEP", help=f"of {', '.join(_CODE)}; default: all")
    made.add_argument("--no-page", action="store_true", help="print the table only")
    return made


if __name__ == "__main__":
    main()
