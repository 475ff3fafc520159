"""Jobs with `[data] entity`: thresholds per device, and alarms that are rolled up per device."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.registry import Registry
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import read_job
from aepipe.errors import CalibrationInvalid, SchemaMismatch
from aepipe.inference.table_model import TableModel
from aepipe.jobs.alerts.alert import alert
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.explain import explain_rows
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train, training_key
from aepipe.storage import read_parquet
from tests.support.linear_bundle import make_bundle, numbers

SCALES = {"quiet": 1.0, "loud": 5.0, "rare": 1.0}
JOB = """name = "linear"
[data]
path = "rows"
keys = ["id"]
entity = "device"
[calibration]
alpha = 0.05
per = "entity"
"""


def devices(rows: int, *, seed: int) -> pa.Table:
    """Generate numbers of three devices: one has five times the scale, one is rare."""
    names = np.array(["quiet", "loud", "quiet", "loud", "loud"])[np.arange(rows) % 5]
    names[::40] = "rare"
    table = numbers(rows, seed=seed, first_id=seed * 10_000)
    for at, column in enumerate("abc", 1):
        scaled = table[column].to_numpy() * np.array([SCALES[name] for name in names], np.float32)
        table = table.set_column(at, column, pa.array(scaled))
    return table.append_column("device", pa.array(names))


def write_rows(folder: Path, name: str, table: pa.Table) -> None:
    path = folder / "rows" / name / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def a_job(folder: Path, extra: str = "") -> Path:
    trained = devices(400, seed=1)
    bundle = make_bundle(folder, trained, data={"keys": ["id"], "entity": "device"}, per_entity=True)
    Registry(folder / "exported" / "linear").set_alias("champion", bundle.path.name, who="ada", why="a test")
    for day in (1, 2):
        write_rows(folder, f"dt=2026-03-0{day}", devices(300, seed=day + 1))
    job = folder / "job.toml"
    job.write_text(JOB + extra)
    return job


def test_each_device_is_flagged_by_its_own_calibration_rows(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    nights = score(job).nights

    model = TableModel.open(tmp_path / "exported" / "linear")
    trained = devices(400, seed=1)
    held_out = model.score(trained)["score"].to_numpy()
    names = np.array(trained["device"].to_pylist())
    for night in nights:
        table = read_parquet(night.scores)
        assert table.column_names[:2] == ["id", "device"]
        found = np.array(table["device"].to_pylist())
        for device in ("quiet", "loud"):
            alone = Calibration.fit(held_out[names == device], alpha=0.05)
            rows = found == device
            p_values = alone.p_values(table["score"].to_numpy()[rows])
            assert table["p_value"].to_numpy()[rows].tolist() == p_values.tolist()
            assert table["is_anomaly"].to_numpy()[rows].tolist() == (p_values <= 0.05).tolist()
    again = model.score(devices(300, seed=2))
    assert again["p_value"].to_pylist() == read_parquet(nights[0].scores)["p_value"].to_pylist()


def test_rows_without_the_entity_are_refused(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    write_rows(tmp_path, "dt=2026-03-03", devices(50, seed=9).drop_columns(["device"]))

    last = score(job).nights[-1]
    with pytest.raises(SchemaMismatch, match="has no column 'device', by which thresholds are chosen"):
        TableModel.open(tmp_path / "exported" / "linear").score(numbers(5))

    assert last.status == "quarantined"
    assert "has no column 'device' (string), which the job names as entity: restore it" in last.reason


def test_an_alert_has_one_line_per_device(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    nights = score(job).nights

    message = alert(job, partitions=[night.partition for night in nights], dry_run=True).message

    assert message is not None
    assert {line.entity for line in message.lines} <= set(SCALES)
    assert sum(line.rows for line in message.lines) == message.flagged
    assert len(message.lines) < message.flagged


def test_calibrate_regroups_by_the_rows_of_partitions(tmp_path: Path) -> None:
    job = a_job(tmp_path)

    result = calibrate(job, partitions=["dt=2026-03-01"])

    assert result.created
    assert result.path is not None
    groups = json.loads(result.path.read_text())["entities"]
    assert {name: len(scores) for name, scores in groups.items()} == {"loud": 180, "quiet": 112, "rare": 8}
    job.write_text(JOB.replace('per = "entity"\n', ""))
    with pytest.raises(CalibrationInvalid, match="cannot be grouped again: the job wants one threshold"):
        calibrate(job)
    job.write_text(JOB.replace('entity = "device"', 'entity = "id"'))
    with pytest.raises(CalibrationInvalid, match="was trained with other entities: expected id, got device"):
        calibrate(job, partitions=["dt=2026-03-01"])


@pytest.mark.slow
def test_a_trained_model_has_thresholds_and_a_report_per_device(tmp_path: Path) -> None:
    for day in range(1, 5):
        write_rows(tmp_path, f"dt=2026-03-0{day}", devices(600, seed=day))
    job = tmp_path / "job.toml"
    job.write_text(JOB + '[model]\nfamily = "ae"\n[train]\nepochs = 3\nto = "dt=2026-03-03"\n')

    assert train(job).created
    model = TableModel.open(tmp_path / "exported" / "linear")
    assert model.bundle.calibration.own_thresholds == ("loud", "quiet")
    assert "device" not in model.bundle.encoding.layout.sources
    nights = score(job).nights
    page = report(job).path.read_text()

    flagged = sum(night.flagged for night in nights)
    section = page.partition('<section id="entities">')[2].partition("</section>")[0]
    assert all(f'<th scope="row">{name}</th>' in section for name in SCALES)
    assert flagged > 0
    row = devices(600, seed=4).slice(1, 1)
    (found,) = explain_rows(model, row)
    assert found.threshold == model.bundle.calibration.of_entity("loud").threshold


def test_a_model_without_entities_keeps_its_training_key(tmp_path: Path) -> None:
    """Version 0.1.0 hashed no entity: a job that names none must not be trained again."""

    job = a_job(tmp_path)
    named = training_key(read_job(job), ())
    job.write_text(JOB.replace('entity = "device"\n', "").replace('per = "entity"\n', ""))
    bare = read_job(job)

    assert training_key(bare, ()) != named
    assert "entity" not in bare.data.model_dump_json()
    assert "per" not in bare.calibration.model_dump_json()
