"""Compare the scores of the tutorial of docs/waveforms.md with detectors that see no spectrum.

python -m benchmarks.waveforms FOLDER             # the folder in which the tutorial was run
python -m benchmarks.waveforms FOLDER --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import kurtosis
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from benchmarks.command import PAGE
from benchmarks.page import measured, put_into, table

TRAIN, TEST = range(1, 5), range(5, 7)
"""Nights of the tutorial."""

Doubles = NDArray[np.float64]


class Areas(NamedTuple):
    """AUROC on the recordings of the new nights, by what is scored."""

    model: float
    statistics: float
    statistics_forest: float
    samples_forest: float
    flagged: float
    false_alarms: float


def statistics(samples: Doubles) -> Doubles:
    """Return root mean square, peak, crest factor and kurtosis of recordings (B, N), (B, 4)."""
    root, peak = np.sqrt(np.square(samples).mean(axis=1)), np.abs(samples).max(axis=1)
    return np.stack([root, peak, peak / root, kurtosis(samples, axis=1)], axis=1)


def measure(folder: Path) -> Areas:
    """Compare the scores in a folder with detectors that learn from the same nights."""
    old, new = _read(folder / "bearings", TRAIN), _read(folder / "bearings", TEST)
    scored = _read(folder / "out" / "bearings" / "scores", TEST)
    damaged = new["is_damaged"].to_numpy().astype(bool)
    seen, unseen = (np.stack(part["vibration"].to_numpy()).astype(np.float64) for part in (old, new))
    known, found = statistics(seen), statistics(unseen)
    far = np.abs((found - known.mean(axis=0)) / known.std(axis=0)).max(axis=1)
    flags = scored["is_anomaly"].to_numpy()
    return Areas(
        float(roc_auc_score(damaged, scored["score"].to_numpy())),
        float(roc_auc_score(damaged, far)),
        _forest(known, found, damaged),
        _forest(seen, unseen, damaged),
        float(flags[damaged].mean()),
        float(flags[~damaged].mean()),
    )


def main(words: Sequence[str] | None = None) -> int:
    """Print the table and write it to the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waveforms", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="the folder in which the tutorial was run")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args(words)
    text = "\n".join(_section(measure(asked.folder))) + "\n"
    print(text)
    if not asked.no_page:
        put_into(PAGE, text, name="waveforms")
    return 0


def _section(found: Areas) -> Iterator[str]:
    yield from ("## Waveforms", "")
    yield (
        "Made by `python -m benchmarks.waveforms FOLDER` in the folder of the [tutorial](waveforms.md): recordings of "
        "generated bearings; a tenth is damaged in the two new nights. All detectors learn from the four "
        "nights before. One seed."
    )
    yield from ("", measured(), "")
    yield from table(
        ("what is scored", "AUROC"),
        [
            ("`vibration` as waveform and `speed`, default job", f"{found.model:.3f}"),
            ("root mean square, peak, crest factor and kurtosis: greatest z", f"{found.statistics:.3f}"),
            ("the same four, isolation forest", f"{found.statistics_forest:.3f}"),
            ("the samples, isolation forest", f"{found.samples_forest:.3f}"),
        ],
    )
    yield ""
    yield f"The job flags {found.flagged:.0%} of the damaged and {found.false_alarms:.1%} of the other recordings."


def _forest(known: Doubles, found: Doubles, truth: NDArray[np.bool_]) -> float:
    forest = IsolationForest(random_state=0).fit(known)
    return float(roc_auc_score(truth, -forest.score_samples(found)))


def _read(folder: Path, nights: range) -> pa.Table:
    parts = (pq.ParquetFile(folder / f"dt=2026-01-{night:02d}" / "part-0.parquet") for night in nights)
    return pa.concat_tables([part.read() for part in parts])


if __name__ == "__main__":
    raise SystemExit(main())
