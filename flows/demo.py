"""Demo: run the nightly flow on two real tables and compare the results with the baselines."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from aepipe.cli.console import print_table
from aepipe.jobs.example_data import NIGHTS, write_cells, write_digits
from flows.nightly import NightlyResult, NightOptions, nightly

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES: dict[str, Callable[[Path], object]] = {"digits": write_digits, "cells": write_cells}


def main() -> None:
    """Write missing tables, run the nightly flow on each and print the results."""
    began = time.perf_counter()
    nights = {}
    for name, write in EXAMPLES.items():
        folder = ROOT / "data" / name
        if not all((folder / night).is_dir() for night in NIGHTS):
            write(folder)
        print(f"== {name}: the nightly flow", flush=True)
        nights[name] = nightly(NightOptions(job=folder / "job.toml"))
    for name, night in nights.items():
        _show(name, night)
    print(f"\ntotal time: {time.perf_counter() - began:.0f} s")


def _show(name: str, night: NightlyResult) -> None:
    from aepipe.jobs.evaluate.compare import compare

    found = compare(ROOT / "data" / name / "job.toml")
    title = (
        f"{name}: {found.evaluation.anomalies:,} anomalies among {found.evaluation.rows:,} rows of the later partitions"
    )
    header = ("score", "AUROC", "average precision", "precision", "recall")
    lines = [
        (line.name, *(each.value for each in (line.auroc, line.average_precision, line.precision, line.recall)))
        for line in found.evaluation.contenders
    ]
    print_table(title, header, lines)
    features = [(line.name, line.width, line.accuracy) for line in found.features]
    print_table(f"{name}: logistic regression predicting {found.label}", ("features", "width", "accuracy"), features)
    print_table(f"{name}: stages", ("stage", "seconds", "rows", "rows/s"), _stages(night))
    out = ROOT / "data" / name / "out"
    paths = {"scores": out / "scores", "features": out / "features", "samples": out / "samples"}
    paths |= {} if night.report is None else {"report": night.report.path}
    for what, path in (paths | {"bundle": ROOT / "exported" / name}).items():
        print(f"  {what:<9} {os.path.relpath(path)}")


def _stages(night: NightlyResult) -> list[tuple[object, ...]]:
    stages: list[tuple[object, ...]] = []
    if night.train is not None and night.train.created:
        learned = night.train.rows["train"]
        stages += [
            (stage, round(seconds, 2), learned, learned / seconds) for stage, seconds in night.train.seconds.items()
        ]
    for scored in night.nights:
        seconds = scored.rows / scored.rows_per_s if scored.rows_per_s else 0.0
        stages.append(
            (f"score {scored.partition} ({scored.status})", round(seconds, 3), scored.rows, scored.rows_per_s)
        )
    if night.sample is not None:
        stages.append(("sample", round(night.sample.seconds, 3), night.sample.rows, night.sample.rows_per_s))
    return stages


if __name__ == "__main__":
    main()
