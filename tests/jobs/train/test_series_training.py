"""Training of series jobs: the training points, stored steps and calibration of a default job."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import read_job
from aepipe.jobs.score import score
from aepipe.jobs.train.series_rows import read_series
from aepipe.jobs.train.train import train
from aepipe.tables.partitions import discover

START = np.datetime64("2026-01-01T00:00", "us")
JOB = """
name = "machines"
[data]
path = "source"
event_time = "at"
[series]
window = 20
{series}
[train]
to = "part=0"
{train}
"""


def _job(folder: Path, parts: list[pa.Table], *, series: str = "", train: str = "") -> Path:
    for number, part in enumerate(parts):
        file = folder / "source" / f"part={number}" / "rows.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(part, file)
    path = folder / "job.toml"
    path.write_text(JOB.format(series=series, train=train))
    return path


def _rows(values: NDArray[np.float64], minutes: NDArray[np.int64] | None = None, *, first: int = 0) -> pa.Table:
    numbers = first + np.arange(len(values)) if minutes is None else minutes
    return pa.table({"at": START + numbers * np.timedelta64(5, "m"), "x": values})


def _wave(steps: int, seed: int) -> NDArray[np.float64]:
    return np.sin(np.arange(steps) * 2 * np.pi / 48) + 0.1 * np.random.default_rng(seed).normal(size=steps)


def test_few_calibration_points_are_joined_by_all_others(tmp_path: Path) -> None:
    job = read_job(_job(tmp_path, [_rows(_wave(300, 0))]))
    long = read_job(_job(tmp_path / "long", [_rows(_wave(900, 0))]))

    few, many = (read_series(each, discover(each)).calibration for each in (job, long))

    assert few.counts.all()
    assert (few.starts[0], len(few.starts)) == (0, 281)
    assert many.counts.sum() == 180
    assert many.starts[0] >= 630


def test_an_irregular_series_follows_the_order_of_its_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    minutes = np.arange(600) + 10 * (np.arange(600) // 15)  # a gap of ten steps after every 15 points
    job = read_job(_job(tmp_path, [_rows(_wave(600, 0), minutes)]))

    training = read_series(job, discover(job))

    assert training.stage.step is None
    assert "only 0 % of the rows lie in stretches of 20 regular steps" in caplog.text
    assert len(training.grid.segment_starts) == 1


def test_a_few_gaps_keep_the_time(tmp_path: Path) -> None:
    minutes = np.arange(600) + 100 * (np.arange(600) // 300)
    job = read_job(_job(tmp_path, [_rows(_wave(600, 0), minutes)]))

    assert read_series(job, discover(job)).stage.step == 300_000_000


@pytest.mark.slow
def test_the_default_job_is_a_denoising_autoencoder_that_knows_its_training_steps(tmp_path: Path) -> None:
    later = _wave(400, 1)
    later[200:230] = 0.0
    job = _job(tmp_path, [_rows(_wave(960, 0)), _rows(later, first=960)])

    made = train(job)
    (night,) = score(job, partitions=["part=1"]).nights

    bundle = Bundle.open(made.bundle)
    assert (bundle.manifest.family, bundle.manifest.head) == ("ae", "residual")
    assert bundle.memory is not None
    assert bundle.memory.window == 20
    assert night.scores is not None
    scores = pq.ParquetFile(night.scores).read(["score"])["score"].to_numpy()
    assert scores[200:230].min() > np.quantile(np.delete(scores, range(180, 250)), 0.99)


@pytest.mark.slow
def test_a_constant_series_is_learned_and_a_change_is_found(tmp_path: Path) -> None:
    later = np.full(300, 7.0)
    later[150:] = 8.0
    job = _job(tmp_path, [_rows(np.full(960, 7.0)), _rows(later, first=960)])

    train(job)
    (night,) = score(job, partitions=["part=1"]).nights

    assert night.scores is not None
    scores = pq.ParquetFile(night.scores).read(["score"])["score"].to_numpy()
    assert np.isfinite(scores).all()
    assert scores[150:170].min() > scores[:120].max()
