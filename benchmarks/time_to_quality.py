"""Loss of dev rows against CPU seconds: the default training, the one of small tables, and a plain loop in torch.

python -m benchmarks.time_to_quality                  # about 40 minutes of CPU time
python -m benchmarks.time_to_quality --only flights   # or others; the page keeps the rows of those left out
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.optim import AdamW

from aepipe.config.job import Train, read_job
from aepipe.heads import scores as heads
from aepipe.jobs.example_data import write_digits
from aepipe.jobs.example_flights import write_flights
from aepipe.jobs.train.bundle_plan import plan_bundle
from aepipe.jobs.train.training_data import TrainingData, read_training_data, rows_of
from aepipe.models import families
from aepipe.models.base import Model, StepContext
from aepipe.tables.partitions import discover
from aepipe.training import loop
from aepipe.training.device_dataset import DeviceDataset
from benchmarks import adult, command, fashion
from benchmarks.page import measured, put_into, table

NAME = "time-to-quality"
OURS, SMALL, PLAIN = "default", "schedule of small tables", "plain loop"
SHARES = (0.1, 0.25, 0.5, 1.0)
"""Shares of the time of the default at which losses are shown."""
_BATCH_ROWS, _RATE = 256, 1e-3
_DEV_ROWS = 8_192
_ROWS_BETWEEN_POINTS = 65_536
_TIMES_AS_LONG = 4
"""The plain loop runs this many times as long as the default, on images as long."""
_GENERATED_ROWS, _COLUMNS, _FACTORS = 1_000_000, 30, 8
_IMAGES = 3_000
_HALF_A_YEAR = datetime.date(2013, 6, 30)


class Point(NamedTuple):
    """Lowest loss of dev rows so far, and the CPU seconds that it took."""

    seconds: float
    loss: float


Curve = tuple[Point, ...]


class Case(NamedTuple):
    """A table, and the section [model] of its job."""

    write: Callable[[Path], object]
    model: str
    data: str = ""
    as_codes: bool = False
    times_as_long: int = _TIMES_AS_LONG
    former: Train = Train(batch_rows=_BATCH_ROWS)
    """Options of the schedule of small tables."""


def write_numbers(folder: Path) -> None:
    """Write columns that depend on a few factors, with noise."""
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((_GENERATED_ROWS, _FACTORS))
    mixings = generator.standard_normal((2, _FACTORS, _COLUMNS))
    noise = generator.standard_normal((_GENERATED_ROWS, _COLUMNS))
    rows = np.tanh(factors @ mixings[0]) + 0.5 * np.sin(factors @ mixings[1]) + 0.3 * noise
    columns = {f"x{column}": rows[:, column].astype(np.float32) for column in range(_COLUMNS)}
    _write(pa.table(columns), folder)


def write_adult(folder: Path) -> None:
    """Write the census table."""
    _write(adult.read(adult.data_path()), folder)


def write_half_a_year(folder: Path) -> None:
    """Write the flights of January to June 2013."""
    write_flights(folder, last=_HALF_A_YEAR)


def write_fashion(folder: Path) -> None:
    """Write images of Fashion-MNIST, in the order that all benchmarks shuffle them to."""
    images = fashion.load(fashion.data_path(), train_rows=_IMAGES, held_out_rows=1, classifier_rows=1).train.images
    _write(pa.table({"image": pa.array([image.tobytes() for image in images], pa.binary(images[0].nbytes))}), folder)


def _write(rows: pa.Table, folder: Path) -> None:
    folder.mkdir()
    pq.write_table(rows, folder / "part-0.parquet")


_FORMER_OF_IMAGES = Train(batch_rows=_BATCH_ROWS, learning_rate=3e-3)
_IMAGE_COLUMN = "[columns]\n{} = {{ kind = 'image', shape = [1, {}, {}], top = {} }}\n"

CASES: Mapping[str, Case] = {
    "flights": Case(write_half_a_year, "", 'keys = ["flight_id"]\nlabels = ["status"]\nevent_time = "scheduled"\n'),
    "numbers": Case(write_numbers, ""),
    "adult": Case(write_adult, 'family = "tabular_vae"\n', as_codes=True),
    "digits": Case(
        write_digits,
        "",
        'partition = "dt"\nkeys = ["scan_id"]\nlabels = ["digit"]\n' + _IMAGE_COLUMN.format("scan", 8, 8, 16),
        times_as_long=1,
        former=_FORMER_OF_IMAGES,
    ),
    "fashion": Case(
        write_fashion, "", _IMAGE_COLUMN.format("image", 28, 28, 255), times_as_long=1, former=_FORMER_OF_IMAGES
    ),
}


class Training:
    """Encoded rows of a case, and a new network for each run."""

    def __init__(self, name: str, case: Case, folder: Path) -> None:
        case.write(folder / "rows")
        path = folder / "job.toml"
        path.write_text(f'name = "{name}"\n[data]\npath = "rows"\n{case.data}[model]\n{case.model}')
        self._job = read_job(path)
        self.data: TrainingData = read_training_data(self._job, discover(self._job), as_codes=case.as_codes)
        self._plan = plan_bundle(self._job, self.data, head=heads.resolve_for(self._job))

    def network(self) -> Model:
        """Build the network of the job with new weights."""
        return families.build(self.data.encoding.layout, self._plan.model, 0)

    @property
    def rows(self) -> int:
        """Number of training rows."""
        return rows_of(self.data.train)

    def fit(self, options: Train) -> Curve:
        """Train by aepipe, and return the curve."""
        began, seconds = time.process_time(), list[float]()
        found = loop.fit(
            self.network(),
            self.data.train,
            self.data.dev,
            options,
            progress=lambda *_: seconds.append(time.process_time() - began),
        )
        return lowest(zip(seconds, (epoch.dev for epoch in found.epochs), strict=True))

    def fit_plainly(self, most_s: float) -> Curve:
        """Train the network as most people write it: AdamW at .001, all rows in random batches, no schedule."""
        torch.manual_seed(0)
        model, generator = self.network(), torch.Generator().manual_seed(0)
        rows, dev = (
            DeviceDataset(model.preprocessing, part, torch.device("cpu")) for part in (self.data.train, self.data.dev)
        )
        model.training_rows = rows.rows
        objective = model.objectives()[0]
        optimizer = AdamW(objective.parameters, lr=_RATE)
        few = dev.everything[:: max(1, dev.rows // _DEV_ROWS)]
        points, spent, began = list[tuple[float, float]](), 0.0, time.process_time()
        while spent < most_s:
            model.train()
            order = torch.randperm(rows.rows, generator=generator)[:_ROWS_BETWEEN_POINTS]
            for start in range(0, len(order), _BATCH_ROWS):
                batch = order[start : start + _BATCH_ROWS]
                loss = objective.loss(rows.pick(batch), StepContext(1.0, generator))
                optimizer.zero_grad()
                loss.total.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if loss.misfit is not None:
                    model.likelihood.sigma.follow(loss.misfit)
            points.append((time.process_time() - began, loop.evaluate(model, objective, dev, 0, kept=few)[0]))
            spent = points[-1][0]
        return lowest(points)


def lowest(points: Iterator[tuple[float, float]] | Sequence[tuple[float, float]]) -> Curve:
    """Return the lowest loss up to each point.

    >>> [point.loss for point in lowest([(1.0, 5.0), (2.0, 3.0), (3.0, 4.0)])]
    [5.0, 3.0, 3.0]
    """
    found: list[Point] = []
    for seconds, loss in points:
        found.append(Point(seconds, min(loss, found[-1].loss) if found else loss))
    return tuple(found)


def reached(curve: Curve, loss: float) -> float | None:
    """Return the seconds until a loss is reached; None if it never is.

    >>> curve = lowest([(1.0, 5.0), (2.0, 3.0)])
    >>> reached(curve, 4.0), reached(curve, 2.0)
    (2.0, None)
    """
    return next((point.seconds for point in curve if point.loss <= loss), None)


def at(curve: Curve, seconds: float) -> float | None:
    """Return the lowest loss within these seconds; None if no epoch had ended.

    >>> at(lowest([(1.0, 5.0), (2.0, 3.0)]), 1.5)
    5.0
    """
    return next((point.loss for point in reversed(curve) if point.seconds <= seconds), None)


def measure(name: str, case: Case) -> tuple[int, dict[str, Curve]]:
    """Return the number of training rows, and the curve of each contender."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(name, case, Path(folder))
    curves = {OURS: training.fit(Train())}
    if not case.as_codes:  # `tabular_vae` has one schedule for all sizes
        curves[SMALL] = training.fit(case.former)
    curves[PLAIN] = training.fit_plainly(case.times_as_long * curves[OURS][-1].seconds)
    return training.rows, curves


def lines(name: str, rows: int, curves: Mapping[str, Curve]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a case for the table of the page."""
    whole, goal = curves[OURS][-1].seconds, curves[SMALL if SMALL in curves else OURS][-1].loss
    for contender, curve in curves.items():
        seconds = reached(curve, goal)
        losses = (at(curve, share * whole) for share in SHARES)
        yield (
            f"{name}, {rows:,} rows" if contender == OURS else "",
            contender,
            *("" if loss is None else f"{loss:.3f}" for loss in losses),
            f"{curve[-1].loss:.3f} after {curve[-1].seconds:.0f} s",
            "not reached" if seconds is None else f"{seconds:.0f} s",
        )


def page_lines() -> dict[str, list[tuple[str, ...]]]:
    """Return the lines of the page that were measured before."""
    after = command.PAGE.read_text(encoding="utf-8").partition(f"<!-- {NAME}:begin -->")[2]
    return kept_lines(after.partition(f"<!-- {NAME}:end -->")[0])


def kept_lines(page: str) -> dict[str, list[tuple[str, ...]]]:
    """Return the lines of each case that stand in the table of the page.

    >>> kept_lines("| table | training |\\n|---|---|\\n| adult, 9 rows | default |\\n|  | plain loop |")
    {'adult': [('adult, 9 rows', 'default'), ('', 'plain loop')]}
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in page.splitlines():
        cells = tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
        name = cells[0].partition(",")[0]
        if line.startswith("|") and name in CASES:
            found[name] = []
        if line.startswith("|") and found and (name in CASES or not name):
            found[list(found)[-1]].append(cells)
    return found


def section(found: Mapping[str, Sequence[tuple[str, ...]]]) -> str:
    """Return the text of the page, from the lines of each case."""
    shares = (f"loss at {share:.0%}" for share in SHARES)
    header = ("table", "training", *shares, "lowest loss", f"time to the loss of the {SMALL}")
    rows = [line for name in CASES for line in found.get(name, ())]
    return "\n".join(
        [
            "## Time to quality",
            "",
            f"Made by `python -m benchmarks.{NAME.replace('-', '_')}`: losses of at most {_DEV_ROWS:,} dev rows in "
            "nats per row, and CPU seconds of one thread, with the evaluation of dev rows. Losses are shown at shares "
            "of the time that the default takes as a whole. Tables: flights of January to June 2013 (`vae`, 8 columns),"
            f" generated numbers (`vae`, {_COLUMNS} columns of {_FACTORS} factors), adult (`tabular_vae`, compared "
            f"with its own lowest loss), and images, by `vae` with convolutions: the digits of scikit-learn, and "
            f"{_IMAGES:,} of Fashion-MNIST. The schedule of small tables has batches of "
            f"{_BATCH_ROWS} rows and a rate that halves on plateaus, for at most 200 epochs: the default before large "
            f"tables had their own, and before images did. The plain loop trains the same "
            f"network by AdamW at {_RATE:g} in batches of {_BATCH_ROWS}, from random weights, for {_TIMES_AS_LONG} "
            "times as long as the default, on images as long. The schedule of large tables was chosen on flights and "
            "numbers, that of images on the digits 0 to 4 and on other images of Fashion-MNIST; "
            "docs/performance.md has tables that they were not chosen on. Trainers of other libraries have other "
            "losses; their rows per second stand under Training. Rows stay until their table is measured again.",
            "",
            measured(),
            "",
            *table(header, rows),
            "",
        ]
    )


def main() -> None:
    """Measure the tables one after another, print, and put them into the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), help="these tables")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = page_lines()
    for name, case in CASES.items():
        if name in (asked.only or CASES):
            found[name] = list(lines(name, *measure(name, case)))
            for line in found[name]:
                print(" | ".join(line), flush=True)
    if not asked.no_page:
        put_into(command.PAGE, section(found), name=NAME)


if __name__ == "__main__":
    main()
