"""Throughput on a GPU: scorer graphs alone, training alone, and a night with its Parquet.

python -m benchmarks.device [--quick]. The goals are set for an H200 with 16 cores; on any other machine, the table
is printed and the page is not written.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.inference.session import CPU, CUDA, cuda_options, usable_device
from aepipe.layout import Layout, Number
from aepipe.models import families
from aepipe.training.loop import fit
from benchmarks import command
from benchmarks.page import measured, put_into, table
from benchmarks.throughput import Task, perform
from benchmarks.throughput_contenders import OURS
from benchmarks.throughput_tables import COLUMNS, KINDS, PARTS, Night, ready

NAME = "device"
QUICK_SHARE = 50
NIGHTS = ("numbers", "images")
BATCH_ROWS, BATCH_IMAGES = 65_536, 8_192
LEARNED_ROWS, EPOCHS = 10_000_000, 5
_SECONDS = 5.0


class Figure(NamedTuple):
    """A measured figure, and its goal on an H200."""

    title: str
    value: float
    goal: float

    @property
    def is_met(self) -> bool:
        return self.value >= self.goal


def scored(night: Night, device: str) -> float:
    """Return rows per second of the night's scorer, with inputs and outputs on the device."""
    bundle = Bundle.open(night.bundle)
    size = min(BATCH_IMAGES if night.kind.name == "images" else BATCH_ROWS, night.rows)
    rows = next(pq.ParquetFile(night.files[0]).iter_batches(size))
    encoded = bundle.encoding.encode(rows).arrays
    providers = [(CUDA, cuda_options(None)), CPU] if device == "cuda" else [CPU]
    session = ort.InferenceSession(bundle.part("scorer")[0], providers=providers)
    binding = session.io_binding()
    for node in session.get_inputs():
        values = np.resize(encoded[node.name], (size, *encoded[node.name].shape[1:]))
        binding.bind_ortvalue_input(node.name, ort.OrtValue.ortvalue_from_numpy(values, device, 0))
    for node in session.get_outputs():
        binding.bind_output(node.name, device)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return size * calls_a_second(call)


def calls_a_second(call: Callable[[], object]) -> float:
    """Return calls per second, measured for some seconds after two warm-up calls."""
    call()
    call()
    begun, made = time.perf_counter(), 0
    while time.perf_counter() - begun < _SECONDS:
        call()
        made += 1
    return made / (time.perf_counter() - begun)


def learned(rows: int, device: str) -> float:
    """Return training rows per second of an autoencoder 64-128-64-16 whose rows are all on the device."""
    names = tuple(f"c{column}" for column in range(COLUMNS))
    layout = Layout(columns=names, numbers=tuple(Number(name=name, column=at) for at, name in enumerate(names)))
    model = families.build(layout, Section.model_validate({"family": "ae", "hidden": (128, 64), "latent": 16}), 0)
    values: NDArray[np.float32] = np.random.default_rng(0).standard_normal((rows, COLUMNS), dtype=np.float32)
    options = Train(epochs=EPOCHS, batch_rows=BATCH_ROWS, patience=EPOCHS, max_rows=rows, seed=0)
    curve = fit(model, {"num": values}, {"num": values[:1_000]}, options, device=device)
    return curve.rows_per_s or 0.0


def over_parquet(night: Night) -> float:
    """Return the rows per second of a whole night, divided by the rate of reading and writing alone on all cores."""
    alone = sum(perform(Task(floor, night))["cpu_s"] for floor in ("read", "write"))
    return alone / (os.cpu_count() or 1) / perform(Task(OURS, night))["wall_s"]


def figures(folder: Path, device: str, share: int) -> Iterator[Figure]:
    """Yield all figures, measured one after the other."""
    nights = {name: Night(KINDS[name], PARTS, KINDS[name].rows // share, folder) for name in NIGHTS}
    for night in nights.values():
        ready(night)
    yield Figure("rows/s through the scorer 64-128-64-16, alone", scored(nights["numbers"], device), 50e6)
    yield Figure("images/s of 28 x 28 through the convolutional scorer, alone", scored(nights["images"], device), 1e6)
    yield Figure("rows/s of training 64-128-64-16, batches of 65,536", learned(LEARNED_ROWS // share, device), 20e6)
    yield Figure("a night's rows/s over reading and writing alone", over_parquet(nights["numbers"]), 0.9)


def section(found: Sequence[Figure], device: str) -> str:
    """Return the table of the figures."""
    lines = [
        "## On a device",
        "",
        f"Made by `python -m benchmarks.device`: {LEARNED_ROWS:,} rows of {COLUMNS} numbers are trained on, a night "
        f"has {KINDS['numbers'].rows:,} rows in 8 partitions. The goals are for an H200 with 16 cores.",
        "",
        f"{measured()} Graphs and training ran on {device}.",
        "",
        *table(("figure", "found", "goal", "met"), map(_line, found)),
    ]
    return "\n".join(lines) + "\n"


def _line(figure: Figure) -> tuple[str, ...]:
    numbers = (f"{value:,.0f}" if value > 100 else f"{value:.2f}" for value in (figure.value, figure.goal))
    return figure.title, *numbers, "yes" if figure.is_met else "**no**"


def main() -> None:
    """Measure, print, and put the table into the page where a GPU was measured."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=command.RESULTS / "throughput", help="where the tables are kept")
    parser.add_argument("--quick", action="store_true", help="few rows; the page stays as it is")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    device, why = usable_device("auto")
    print(f"on {device}: {why}", flush=True)
    found: list[Figure] = []
    for figure in figures(folder, device, QUICK_SHARE if asked.quick else 1):
        found.append(figure)
        print(f"{figure.title}: {figure.value:,.4g}", flush=True)
    text = section(found, device)
    print(text)
    if device == "cuda" and not asked.quick:
        put_into(command.PAGE, text, name=NAME)


if __name__ == "__main__":
    main()
