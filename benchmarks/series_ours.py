"""Scores of a series by the default series job: train on the beginning, score the rest."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from benchmarks.series_baselines import WINDOW
from benchmarks.series_data import LabelledSeries

OURS = "aepipe"
_LEARNED, _REST = "part=0", "part=1"
_JOB = """
name = "series"
[data]
path = "source"
event_time = "at"
[series]
window = {window}
reads = "{reads}"
[train]
to = "part=0"
seed = {seed}
"""


class Scored(NamedTuple):
    """Scores and flags of T points; NaN and False for points without a score."""

    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]


def score_by_default_job(series: LabelledSeries, seed: int, *, reads: str = "auto") -> Scored:
    """Train a bundle on the beginning of a series in a temporary folder, and score the rest.

    reads: what the network reads, windows or single steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        job.write_text(_JOB.format(window=WINDOW, seed=seed, reads=reads))
        channels = {f"channel_{at}": pa.array(column) for at, column in enumerate(series.values.T)}
        table = pa.table({"at": pa.array(series.times.astype("datetime64[us]")), **channels})
        parts = {_LEARNED: table.slice(0, series.learned), _REST: table.slice(series.learned)}
        for name, part in parts.items():
            path = Path(folder) / "source" / name
            path.mkdir(parents=True)
            pq.write_table(part, path / "part.parquet")
        train(job)
        (night,) = score(job, partitions=[_REST]).nights
        if night.scores is None:
            raise RuntimeError(f"{series.name} was not scored: {night.reason}")
        found = pq.ParquetFile(night.scores).read(["score", "is_anomaly"])
    scores, flagged = np.full(len(series.values), np.nan), np.zeros(len(series.values), np.bool_)
    scores[series.learned :] = found["score"].to_numpy()
    flagged[series.learned :] = found["is_anomaly"].to_numpy(zero_copy_only=False)
    return Scored(scores, flagged)
