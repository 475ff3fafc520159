"""Train on generated tables of 1,555 columns and score them: CPU seconds, and how far seeds differ.

python -m benchmarks.wide
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command import PAGE
from benchmarks.detection_detectors import Detector, measured, warm_up
from benchmarks.detection_ours import OUR_RECIPE, detectors
from benchmarks.detection_tables import PROTOCOLS, Doubles, Table
from benchmarks.page import put_into, table
from benchmarks.store import machine

NORMAL, ANOMALIES, NUMBERS, FLAGS = 1_600, 360, 3, 1_552
TOPICS, ODD_TOPICS = 8, 3
OWN_FLAGS = 0.03
"""Share of the flags that a topic has at rates of its own."""

MOST_CPU_S, MOST_POINTS = 20.0, 2.0
"""Goals: of a training, and between the least and the greatest AUROC of the seeds."""


class Found(NamedTuple):
    """Measures of the seeds of one protocol."""

    protocol: str
    auroc: Doubles
    ap: Doubles
    fit_cpu_s: Doubles


def main(words: Sequence[str] | None = None) -> None:
    """Measure both protocols, print and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wide", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each protocol")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args(words)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    detector = next(each for each in detectors() if each.name == OUR_RECIPE)
    warm_up(detector)
    rows = advertisements(0)
    text = "\n".join(_section([_measured(detector, rows, name, asked.seeds) for name in PROTOCOLS])) + "\n"
    print(text)
    if not asked.no_page:
        put_into(PAGE, text, name="wide")


def advertisements(seed: int) -> Table:
    """Return images of pages: three sizes and many rare flags, whose rates depend on the topic of a page."""
    rng = np.random.default_rng(seed)
    common = rng.beta(0.15, 12, size=FLAGS)

    def topics(count: int) -> Doubles:
        own = rng.beta(1, 3, size=(count, FLAGS))
        return np.where(rng.random((count, FLAGS)) < OWN_FLAGS, own, common)

    def draw(count: int, rates: Doubles, shift: float) -> Doubles:
        rates = rates[rng.integers(len(rates), size=count)] * np.exp(0.3 * rng.normal(size=(count, 1)))
        flags = rng.random(rates.shape) < np.clip(rates, 0, 0.95)
        height, width = np.exp(rng.normal([4 + shift, 4.5 - shift], [0.6, 0.7], size=(count, 2))).T
        return np.column_stack([height, width, rng.gamma(2, 1 + shift, size=count), flags])

    usual, odd = topics(TOPICS), topics(ODD_TOPICS)
    values = np.concatenate([draw(NORMAL, usual, 0.0), draw(ANOMALIES, odd, 0.5)])
    return Table(values, np.arange(len(values)) >= NORMAL)


def _measured(detector: Detector, rows: Table, protocol: str, seeds: int) -> Found:
    found = [measured(detector, PROTOCOLS[protocol](rows, 0), seed) for seed in range(seeds)]
    for each in found:
        print(protocol, {name: round(value, 4) for name, value in each.items()}, flush=True)
    return Found(protocol, *(np.array([each[name] for each in found]) for name in ("auroc", "ap", "fit_cpu_s")))


def _section(found: Sequence[Found]) -> Iterator[str]:
    yield "## Tables of very many columns"
    yield ""
    yield (
        f"Made by `python -m benchmarks.wide`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, one thread. A generated "
        f"table like InternetAds of ADBench: {NUMBERS} sizes and {FLAGS:,} rare flags of pages, {NORMAL:,} normal rows "
        f"of {TOPICS} topics and {ANOMALIES} anomalies of {ODD_TOPICS} others. Default jobs and protocols of the "
        f"anomaly scores; one split, {len(found[0].auroc)} seeds of training. Goals: at most {MOST_CPU_S:.0f} CPU s "
        f"for a training, and {MOST_POINTS:.0f} points between the seeds' AUROC."
    )
    yield ""
    lines = []
    for each in found:
        spread = 100 * float(np.ptp(each.auroc))
        met = each.fit_cpu_s.max() <= MOST_CPU_S, spread <= MOST_POINTS
        auroc, ap = (", ".join(f"{100 * value:.1f}" for value in values) for values in (each.auroc, each.ap))
        cpu_s = ", ".join(f"{value:.1f}" for value in each.fit_cpu_s)
        lines.append((each.protocol, auroc, f"{spread:.1f}", ap, cpu_s, *("yes" if is_met else "no" for is_met in met)))
    header = ("protocol", "AUROC", "spread", "AP", "CPU s of training", "time met", "spread met")
    yield from table(header, lines)


if __name__ == "__main__":
    main()
