"""Series of many channels: a network of single steps, from the job to the explanation of a point."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job
from aepipe.errors import JobInvalid
from aepipe.jobs.explain import explain
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.series_rows import read_series
from aepipe.jobs.train.train import train
from aepipe.tables.partitions import discover

STEPS, WINDOW = 400, 20
FAULT = slice(350, 370)
JOB = """
name = "wide"
[data]
path = "{rows}"
event_time = "at"
[series]
window = 20
{series}
[model]
family = "pca"
[train]
to = "part=0"
"""


def _table(channels: int) -> pa.Table:
    """Generate channels that depend on two factors; during the fault the last one does not."""
    rng = np.random.default_rng(0)
    steps = np.arange(STEPS)
    factors = np.stack([np.sin(steps / 5), np.cos(steps / 11)], axis=1)
    values = factors @ rng.normal(size=(2, channels)) + 0.1 * rng.normal(size=(STEPS, channels))
    values[FAULT, -1] = rng.permutation(values[FAULT, -1])[::-1] + 1.5
    at = np.datetime64("2026-01-01", "us") + steps * np.timedelta64(60_000_000, "us")
    return pa.table({"at": at, **{f"c{number}": values[:, number] for number in range(channels)}})


def _job(folder: Path, channels: int, series: str = "") -> Path:
    table = _table(channels)
    for number, part in enumerate((table.slice(0, 300), table.slice(300))):
        path = folder / "rows" / f"part={number}" / "part.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(part, path)
    job = folder / "job.toml"
    job.write_text(JOB.format(rows="rows", series=series))
    return job


@pytest.mark.parametrize(
    ("channels", "series", "length"),
    [(8, "", WINDOW), (9, "", 1), (9, 'reads = "windows"', WINDOW), (2, 'reads = "steps"', 1)],
)
def test_networks_of_more_than_eight_channels_read_single_steps(
    tmp_path: Path, channels: int, series: str, length: int
) -> None:
    raw = {"name": "a", "data": {"path": str(tmp_path / "rows"), "event_time": "at"}, "series": {"window": WINDOW}}
    _job(tmp_path, channels)
    if series:
        raw["series"] |= {"reads": series.split('"')[1]}  # type: ignore[operator]
    job = parse_job(raw, source=tmp_path / "job.toml")

    rows = read_series(job, discover(job)).rows

    assert [column.shape for column in rows.schema.columns] == [(length,)] * channels
    assert rows.train.num_rows == (280 if length == 1 else 261)  # all steps of the training windows, or the windows
    first = _table(channels)["c0"].to_numpy()[:2]
    ours = np.array(rows.train["c0"].to_pylist(), np.float64)[:2, 0]
    assert np.diff(ours)[0] * np.diff(first)[0] > 0


def test_a_network_that_reads_step_by_step_is_refused_in_one_sentence(tmp_path: Path) -> None:
    _job(tmp_path, 9)
    raw = {
        "name": "a",
        "data": {"path": str(tmp_path / "rows"), "event_time": "at"},
        "series": {"window": WINDOW, "reads": "steps"},
        "model": {"family": "ae", "trunk": "recurrent"},
    }
    job = parse_job(raw, source=tmp_path / "job.toml")

    with pytest.raises(JobInvalid, match=r"series\.reads = 'steps' needs trunk mlp, got recurrent\. Set it"):
        read_series(job, discover(job))


def test_a_channel_of_truth_values_is_one_of_0_and_1(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "part.parquet"
    path.parent.mkdir()
    table = _table(2)
    on = pa.array([None if at == 3 else bool(value > 0) for at, value in enumerate(table["c0"].to_numpy())])
    pq.write_table(table.append_column("on", on), path)
    series = {"values": ["c0", "on"], "scale": "none", "window": WINDOW}
    raw = {"name": "a", "data": {"path": str(path.parent), "event_time": "at"}, "series": series}
    job = parse_job(raw, source=tmp_path / "job.toml")

    training = read_series(job, discover(job))

    assert training.stage.source.channels == ("c0", "on")
    found = training.source_rows.values[:, 1]
    assert np.isnan(found[3])
    assert np.delete(found, 3).tolist() == np.delete(table["c0"].to_numpy() > 0, 3).astype(float).tolist()


@pytest.mark.slow
def test_a_fault_of_one_of_twelve_channels_is_found_named_explained_and_drawn(tmp_path: Path) -> None:
    job = _job(tmp_path, 12)

    train(job)
    (_, night) = score(job).nights

    assert night.scores is not None
    scores = pq.ParquetFile(night.scores).read()
    peak = int(np.nanargmax(scores["score"].to_numpy()))
    assert FAULT.start - WINDOW <= peak + 300 < FAULT.stop + WINDOW
    assert scores["score"].null_count == 0
    (found,) = explain(job, row=f"part=1:{peak}")
    assert found.columns[0].name == "c11"
    assert found.point is not None
    assert found.point.terms["deviation"] == 0
    window = found.point.windows[found.point.highest]
    assert sum(found.point.terms.values()) == pytest.approx(window.score, rel=1e-6)
    rows = _table(12).slice(300)
    at = [str(time) for time in rows["at"].to_pylist()]
    of_source = rows.slice(at.index(found.steps[0].time), WINDOW)
    assert [step.read[3] for step in found.steps] == pytest.approx(of_source["c3"].to_pylist(), abs=1e-4)
    assert [step.expected[3] for step in found.steps] == pytest.approx(of_source["c3"].to_pylist(), abs=0.6)
    assert "4 of 12 channels are drawn." in " ".join(report(job).path.read_text().split())
    bundle = Bundle.open(next(path for path in (tmp_path / "exported" / "wide").iterdir() if path.is_dir()))
    assert bundle.encoding.schema.columns[0].shape == (1,)
