"""Drift after a real training: a change of the source that the training rows contain is not drift."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.drift.monitor import StreamDrift, measure_drift
from aepipe.jobs.nightly import night
from aepipe.jobs.promotion.promote import promote
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

JOB = """\
name = "parcels"
[data]
path = "rows"
keys = ["id"]
[columns]
id = "key"
[model]
family = "pca"
[drift]
min_rows = 100
"""
NIGHTS = 16


def deliver(folder: Path, day: int, *, terminal: bool, shift: float = 0.0) -> None:
    """Write 300 parcels of a day; terminal: with the column `terminal`; shift: of their weight."""
    generator = np.random.default_rng(day)
    columns = {
        "id": pa.array([f"{day}-{row}" for row in range(300)]),
        "weight": pa.array(generator.normal(shift, 1, 300)),
        "length": pa.array(generator.normal(0, 1, 300)),
    }
    if terminal:
        columns["terminal"] = pa.array(generator.choice(["A", "B"], 300))
    path = folder / "rows" / f"dt=2026-03-{day:02d}" / "part-0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), path)


def next_night(folder: Path, day: int, *, terminal: bool, shift: float = 0.0) -> dict[str, StreamDrift]:
    """Deliver, score and compare one more day; return its streams by name."""
    deliver(folder, day, terminal=terminal, shift=shift)
    score(folder / "job.toml")
    (found,) = measure_drift(folder / "job.toml", partitions=[f"dt=2026-03-{day:02d}"]).partitions
    return {stream.name: stream for stream in found.streams}


@pytest.mark.slow
def test_a_column_that_older_partitions_lack_is_compared_with_those_that_have_it(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    for day in range(1, NIGHTS + 1):
        deliver(tmp_path, day, terminal=day > NIGHTS - 4)
    train(tmp_path / "job.toml")

    streams = next_night(tmp_path, NIGHTS + 1, terminal=True)

    assert streams["terminal"].distance < 0.15  # two codes, 300 against at most 1,200 rows
    assert not any(stream.alarm for stream in streams.values())


@pytest.mark.slow
def test_a_training_after_a_lasting_change_compares_with_the_nights_since(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(JOB)
    for day in range(1, NIGHTS + 1):
        deliver(tmp_path, day, terminal=False, shift=0.0 if day <= NIGHTS - 7 else 3.0)
    train(tmp_path / "job.toml")

    later = next_night(tmp_path, NIGHTS + 1, terminal=False, shift=3.0)["weight"]
    back = next_night(tmp_path, NIGHTS + 2, terminal=False)["weight"]

    assert later.distance < 0.15
    assert not later.alarm
    assert back.distance > 0.8
    assert back.alarm


@pytest.mark.slow
def test_a_lasting_change_trains_one_challenger_and_its_promotion_ends_the_alarm(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(JOB + 'retrain = "lasting"\ncool_down = 6\n')
    for day in range(1, 9):
        deliver(tmp_path, day, terminal=False)
    night(job)
    nights = []
    for day in range(9, 17):
        deliver(tmp_path, day, terminal=False, shift=3.0)
        nights.append(night(job))
    promote(job, force=True)
    for day in range(17, 26):
        deliver(tmp_path, day, terminal=False, shift=3.0)
        nights.append(night(job))

    alarmed = [at for at, each in enumerate(nights) if any(s.name == "weight" for _, s in each.drift.alarms)]
    assert alarmed == [0, 7]  # the second after the cool-down
    assert [at for at, each in enumerate(nights) if each.challenger is not None] == [7]
