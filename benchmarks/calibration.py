"""False alarms of split-conformal thresholds on real tables, compared with the distribution that theory predicts.

python -m benchmarks.calibration [--page docs/benchmarks.md], with AEPIPE_ADBENCH_DATA naming the folder of tables (npz
with X and y, 1 for an anomaly). Which score is calibrated does not matter to the law, so a cheap one is taken.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from aepipe.calibration.conformal import Calibration, rows_needed
from aepipe.jobs.train.split import CALIBRATION, TRAIN
from benchmarks.detection_tables import PATH_VARIABLE, data_path, load, names
from benchmarks.page import measured, put_into, table

Floats = NDArray[np.float64]

ALPHA = 0.01
SEEDS = 20
MOST_ROWS = 10_000
GOAL = 0.97
SHARES = {TRAIN: 0.7, CALIBRATION: 0.2}
"""Share of the rows to learn from that train; the others are the dev split."""


class Case(NamedTuple):
    """One table and seed: counts among `fresh` normal rows that neither the score nor its threshold has seen."""

    table: str
    calibration: int
    fresh: int
    flagged: int
    by_training: int
    """flagged by the quantile of the training rows' own scores, for comparison"""
    by_tail: int
    """p <= alpha / 10, most of it extrapolated"""

    @property
    def is_inside(self) -> bool:
        """Return True if the count lies within the central 99 % of its distribution."""
        low, high = band(self.calibration, self.fresh, ALPHA)
        return low <= self.flagged <= high


def band(calibration: int, fresh: int, alpha: float) -> tuple[int, int]:
    """Return the central 99 % interval of the number of flagged rows among `fresh` rows.

    A threshold that k of n + 1 exchangeable rows exceed lets through a share that is Beta(k, n + 1 - k) (Vovk 2012).
    """
    k = int(np.floor(alpha * (calibration + 1) + 1e-9))
    low, high = betabinom(fresh, k, calibration + 1 - k).ppf([0.005, 0.995])
    return int(low), int(high)


def measure(name: str, normal: Floats, seed: int) -> Case:
    """Learn from half of the normal rows and count the alarms in the other half."""
    rows = np.random.default_rng(seed).permutation(normal)[:MOST_ROWS]
    learned, fresh = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    at = int(SHARES[TRAIN] * len(learned))
    train, held_out = learned[:at], learned[at : at + int(SHARES[CALIBRATION] * len(learned))]
    score = mahalanobis(train)
    calibration = Calibration.fit(score(held_out), alpha=ALPHA)
    found = score(fresh)
    p_values = calibration.p_values(found)
    return Case(
        table=name,
        calibration=len(held_out),
        fresh=len(fresh),
        flagged=int(calibration.is_anomaly(p_values).sum()),
        by_training=int((found > np.quantile(score(train), 1 - ALPHA)).sum()),
        by_tail=int((p_values <= ALPHA / 10).sum()),
    )


def mahalanobis(train: Floats) -> Callable[[Floats], Floats]:
    """Return a function that computes the Mahalanobis distance from the mean of these rows, in directions that vary."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    _, spread, directions = np.linalg.svd((train - mean) / scale, full_matrices=False)
    kept = spread > 1e-6 * spread[0]
    whitening = directions[kept].T / spread[kept]
    return lambda rows: np.linalg.norm((rows - mean) / scale @ whitening, axis=1)


def tables(folder: Path) -> Iterator[tuple[str, Floats]]:
    """Yield the name and the normal rows of each table that has enough rows to calibrate alpha."""
    for name in names(folder):
        found = load(folder, name)
        normal = found.rows[~found.is_anomaly]
        if int(SHARES[CALIBRATION] * (min(len(normal), MOST_ROWS) // 2)) >= rows_needed(ALPHA):
            yield name.partition("_")[2], normal


def section(cases: Sequence[Case]) -> str:
    """Return the table of all cases."""
    names = list(dict.fromkeys(case.table for case in cases))
    groups = [[case for case in cases if case.table == name] for name in names]
    inside = np.mean([case.is_inside for case in cases])
    lines = [
        "## Calibration",
        "",
        f"Made by `python -m benchmarks.calibration`: {len(names)} tables of ADBench with enough rows, {SEEDS} seeds "
        "each. Half of the normal rows (of at most 10,000) are learned from, 70 % of those by the score (a Mahalanobis "
        f"distance), 20 % by the calibration; the other half is fresh. Flagged at alpha {ALPHA:.0%}, in per cent of "
        "the fresh rows: by the conformal p-value, and by the 99 % quantile of the score's own training rows; and "
        f"those with p <= {ALPHA / 10:.1%}, which below 999 calibration rows are extrapolated along the tail.",
        "",
        f"{measured()} **Within the beta-binomial 99 % band of its table and seed: {inside:.1%} of {len(cases)} "
        f"cases** (goal: at least {GOAL:.0%}, {'met' if inside >= GOAL else 'not met'}).",
        "",
        *table(
            (
                "table",
                "calibration rows",
                "flagged, mean and worst",
                "within the band",
                "by training quantile",
                "p <= 0.1 %",
            ),
            [*map(_line, groups), ("**all**", "", *_shares(cases))],
        ),
    ]
    return "\n".join(lines) + "\n"


def _line(cases: Sequence[Case]) -> tuple[str, ...]:
    return cases[0].table, f"{cases[0].calibration:,}", *_shares(cases)


def _shares(cases: Sequence[Case]) -> tuple[str, str, str, str]:
    def of(counts: Sequence[int]) -> Floats:
        return np.array([100 * count / case.fresh for count, case in zip(counts, cases, strict=True)])

    flagged, trained = of([case.flagged for case in cases]), of([case.by_training for case in cases])
    beyond = of([case.by_tail for case in cases])
    return (
        f"{flagged.mean():.2f}, {flagged.max():.2f}",
        f"{np.mean([case.is_inside for case in cases]):.0%}",
        f"{trained.mean():.2f}, {trained.max():.2f}",
        f"{beyond.mean():.3f}",
    )


def main() -> None:
    """Measure, print, and put the table into a page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--page", type=Path, help="put the table there too, such as docs/benchmarks.md")
    page = arguments.parse_args().page
    folder = data_path()
    cases = [measure(name, normal, seed) for name, normal in tables(folder) for seed in range(SEEDS)]
    if not cases:
        raise SystemExit(f"{folder} holds no table with enough rows: name the folder in {PATH_VARIABLE}")
    text = section(cases)
    print(text)
    if page is not None:
        put_into(page, text, name="calibration")


if __name__ == "__main__":
    main()
