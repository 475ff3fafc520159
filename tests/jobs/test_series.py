"""Windows of a time series through all commands: trained, scored, sampled, reported."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.inference.table_model import TableModel
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

STEPS = 12
JOB = """
name = "pulses"
[data]
path = "."
partition = "dt"
keys = ["id"]
labels = ["broken"]
[model]
family = "{family}"
{model}
[train]
to = "dt=2026-01-01"
epochs = {epochs}
[score]
from = "dt=2026-01-02"
[evaluate]
anomaly = "broken = 1"
[output]
exported = "exported"
"""


def windows(rows: int, seed: int, broken: int) -> pa.Table:
    """Draw waves of 4 to 12 steps whose second channel is minus the first, except at one step of broken waves."""
    rng = np.random.default_rng(seed)
    found = []
    for row in range(rows):
        length = int(rng.integers(4, STEPS, endpoint=True))
        wave = 20 + 3 * np.sin(rng.uniform(0, 6) + 0.7 * np.arange(length)) + 0.1 * rng.standard_normal(length)
        pair = np.stack([wave, -wave], 1)
        if row < broken:
            pair[length // 2, 1] += 5
        found.append(np.round(pair, 2).tolist())
    return pa.table(
        {
            "id": [f"{seed}-{row}" for row in range(rows)],
            "pulse": pa.array(found, pa.list_(pa.list_(pa.float64(), 2))),
            "broken": [int(row < broken) for row in range(rows)],
        }
    )


def make_job(folder: Path, *, family: str, epochs: int, model: str = "") -> Path:
    for day, table in (("dt=2026-01-01", windows(500, 0, 0)), ("dt=2026-01-02", windows(60, 1, 6))):
        (folder / day).mkdir()
        pq.write_table(table, folder / day / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(JOB.format(family=family, epochs=epochs, model=model))
    return job


@pytest.mark.slow
def test_windows_are_learned_scored_encoded_sampled_and_reported(tmp_path: Path) -> None:
    job = make_job(tmp_path, family="vrnn", epochs=12, model="state = 32\nlatent = 3")

    train(job)
    score(job)
    drawn = sample(job, rows=40, partition="dt=2026-01-02")
    page = report(job).path.read_text()

    out = tmp_path / "out" / "pulses"
    scores = pq.read_table(out / "scores" / "dt=2026-01-02" / "part-0.parquet")
    of_broken, of_fine = (scores["score"].to_numpy()[part] for part in (slice(0, 6), slice(6, None)))
    assert np.median(of_broken) > np.quantile(of_fine, 0.9)
    assert " of pulse[1]" in "".join(scores["reason_1"].to_pylist()[:6])
    features = pq.read_table(out / "features" / "dt=2026-01-02" / "part-0.parquet")
    assert features.column_names == [
        "id", *(f"z_{index:03d}" for index in range(3)), *(f"h_{index:03d}" for index in range(32)), "model_version",
    ]  # fmt: skip
    samples = pq.read_table(drawn.path)
    assert samples["pulse"].type == pa.list_(pa.list_(pa.float64(), 2))
    lengths = [len(window) for window in samples["pulse"].to_pylist()]
    assert min(lengths) >= 4
    assert len(set(lengths)) > 3
    assert "pulse" in page
    assert drawn.report is not None
    assert '<section id="facts">' in drawn.report.read_text()
    losses = TableModel.open(tmp_path / "exported" / "pulses").step_losses(windows(60, 1, 6)).to_pandas().to_numpy()
    ends = [len(window) for window in windows(60, 1, 6)["pulse"].to_pylist()]
    assert (~np.isnan(losses)).sum(axis=1).tolist() == ends
    assert [int(np.nanargmax(losses[row])) for row in range(6)] == [ends[row] // 2 for row in range(6)]


@pytest.mark.slow
@pytest.mark.slow
def test_an_autoencoder_takes_windows_too_and_rebuilds_them_in_their_own_type(tmp_path: Path) -> None:
    job = make_job(tmp_path, family="ae", epochs=10, model="state = 32")

    train(job)
    score(job)

    assert Bundle.open(tmp_path / "exported" / "pulses").manifest.trunk == "recurrent"
    model = TableModel.open(tmp_path / "exported" / "pulses")
    table = windows(20, 5, 0)
    expected = model.reconstruct(table)
    assert expected["pulse"].type == table["pulse"].type
    assert model.encode(table).column_names[0] == "z_000"
    bad = model.score(pa.table({"pulse": pa.array([None, [[1.0, 2.0]] * (STEPS + 1)], table["pulse"].type)}))
    assert bad["score"].null_count == 2
    assert bad["invalid_reason"].to_pylist() == [
        "pulse is missing, empty or without any value",
        "pulse has more than 12 steps, which the model takes",
    ]
