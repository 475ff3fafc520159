"""From a job to a bundle: training rows, written files, and runs with nothing to do."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import parse_job, read_job
from aepipe.errors import CalibrationInvalid, DataUnreadable, OptionInvalid, SchemaMismatch
from aepipe.jobs.train.train import train
from aepipe.jobs.train.training_data import read_training_data
from aepipe.tables.partitions import discover, select

PARTS = {"encoder", "decoder", "sampler", "scorer", "prior", "prior_normal"}


def edited(job: Path, old: str, new: str) -> Path:
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new))
    return job


def test_a_bundle_holds_every_part_and_its_parity_at_1_7_and_512_rows(trained_cells: Path) -> None:
    bundle = Bundle.open(trained_cells / "exported" / "cells")

    assert set(bundle.manifest.parts) == PARTS
    for info in bundle.manifest.parts.values():
        assert set(info.parity) == {"1", "7", "512"}
    assert bundle.manifest.train_partitions == tuple(f"dt=2026-01-{day:02d}" for day in range(1, 5))
    assert bundle.golden.rows.num_rows == 16
    curve = json.loads(bundle.files["curve.json"])
    assert 0 < curve["best_epoch"] <= len(curve["epochs"])


def test_labels_and_keys_are_not_features(trained_cells: Path) -> None:
    layout = Bundle.open(trained_cells / "exported" / "cells").encoding.layout

    assert len(layout.numbers) == 30
    assert not layout.categories
    assert {"diagnosis", "case_id"}.isdisjoint(layout.columns)


def test_training_again_on_the_same_rows_does_nothing(cells: Path) -> None:
    result = train(cells)

    assert not result.created
    assert len(Registry(cells.parent / "exported" / "cells").versions()) == 1


@pytest.mark.slow
def test_a_changed_option_or_a_changed_row_is_another_bundle(cells: Path) -> None:
    edited(cells, "latent = 8", "latent = 6")

    result = train(cells)

    assert result.created
    registry = Registry(cells.parent / "exported" / "cells")
    first, second = registry.versions()
    assert result.bundle.name == second
    assert [naming.version for naming in registry.history()] == [first, second]


@pytest.mark.slow
def test_a_later_bundle_is_a_challenger_and_the_champion_stays(cells: Path) -> None:
    registry = Registry(cells.parent / "exported" / "cells")
    champion = registry.resolve("champion")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')

    result = train(cells)

    assert result.alias == "challenger"
    assert registry.resolve("champion") == champion
    assert registry.resolve("challenger") == result.bundle
    assert train(cells).alias == "challenger"


@pytest.mark.slow
def test_the_alias_champion_in_the_job_replaces_the_champion(cells: Path) -> None:
    edited(cells, "[train]\n", '[train]\nalias = "champion"\n')
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')

    result = train(cells)

    registry = Registry(cells.parent / "exported" / "cells")
    assert result.alias == "champion"
    assert registry.resolve("champion") == result.bundle


@pytest.mark.slow
def test_automatic_promotion_replaces_the_champion_if_every_check_passes(cells: Path) -> None:
    edited(cells, "[train]\n", "[promotion]\nautomatic = true\nmax_cost_increase = 10\nmax_auroc_drop = 1\n[train]\n")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')

    result = train(cells)

    registry = Registry(cells.parent / "exported" / "cells")
    assert result.alias == "champion"
    assert registry.resolve("champion") == registry.resolve("challenger") == result.bundle
    assert registry.history()[-1].evidence is not None
    assert registry.faults() == []


@pytest.mark.slow
def test_automatic_promotion_leaves_a_challenger_that_fails_a_check(
    cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edited(cells, "[train]\n", "[promotion]\nautomatic = true\nmin_rows = 1_000_000\n[train]\n")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')

    result = train(cells)

    assert result.alias == "challenger"
    assert "fails 1 of the checks of [promotion]: rows: limit 1e+06" in caplog.text


def test_a_bundle_that_a_crash_left_without_an_alias_gets_it_by_the_next_training(cells: Path) -> None:
    log = cells.parent / "exported" / "cells" / "aliases.jsonl"
    log.unlink()

    result = train(cells)

    assert (result.created, result.alias) == (False, "champion")
    assert Registry(log.parent).resolve("champion") == result.bundle


KILLED = """
import os, signal, sys
from aepipe.bundles.registry import Registry
from aepipe.jobs.train.train import train
Registry.set_alias = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[1])
"""


@pytest.mark.slow
def test_a_training_that_is_killed_before_the_alias_is_finished_by_the_next_one(cells: Path) -> None:
    registry = Registry(cells.parent / "exported" / "cells")
    champion = registry.resolve("champion")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')
    done = subprocess.run([sys.executable, "-c", KILLED, str(cells)], capture_output=True, check=False)

    assert done.returncode == -signal.SIGKILL
    assert len(registry.versions()) == 2
    assert "challenger" not in registry.aliases()
    result = train(cells)
    assert (result.created, result.alias) == (False, "challenger")
    assert registry.resolve("challenger") == result.bundle
    assert registry.resolve("champion") == champion
    assert registry.faults() == []


@pytest.mark.slow
@pytest.mark.parametrize("limits", ["min_rows = 1\nmax_alarm_ratio = 1000", "min_rows = 1_000_000"])
def test_a_training_that_is_killed_before_the_promotion_is_finished_by_the_next_one(
    cells: Path, limits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(cells, "[train]\n", f"[promotion]\nautomatic = true\n{limits}\n[train]\n")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')
    killed = KILLED.replace("Registry.set_alias", "promote.promote_version")
    killed = killed.replace("import train\n", "import train\nfrom aepipe.jobs.promotion import promote\n")
    done = subprocess.run([sys.executable, "-c", killed, str(cells)], capture_output=True, check=False)
    registry = Registry(cells.parent / "exported" / "cells")
    assert done.returncode == -signal.SIGKILL
    assert registry.aliases()["challenger"] != registry.aliases()["champion"]

    result = train(cells)

    assert (result.created, result.alias) == (
        False,
        "champion" if limits.startswith("min_rows = 1\n") else "challenger",
    )
    assert registry.aliases()[result.alias] == result.version
    # compared once: the next training has nothing to do
    monkeypatch.setattr("aepipe.jobs.promotion.promote.promote_version", pytest.fail)
    assert train(cells).alias == result.alias
    assert registry.faults() == []


@pytest.mark.slow
def test_a_bundle_that_is_named_late_is_promoted_too(cells: Path) -> None:
    edited(cells, "[train]\n", "[promotion]\nautomatic = true\nmin_rows = 1\nmax_alarm_ratio = 1000\n[train]\n")
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')
    subprocess.run([sys.executable, "-c", KILLED, str(cells)], capture_output=True, check=False)

    result = train(cells)

    assert (result.created, result.alias) == (False, "champion")


@pytest.mark.slow
def test_an_alias_of_the_job_keeps_the_champion(cells: Path) -> None:
    champion = Registry(cells.parent / "exported" / "cells").resolve("champion")
    edited(cells, "[train]\n", '[train]\nalias = "challenger"\n')
    edited(cells, 'family = "ae"\ntrunk = "mlp"\nlatent = 8', 'family = "pca"\nlatent = 5')

    result = train(cells)

    registry = Registry(cells.parent / "exported" / "cells")
    assert registry.resolve("champion") == champion
    assert registry.resolve("challenger") == result.bundle


def test_the_split_is_disjoint_reproducible_and_only_of_the_chosen_rows(cells: Path) -> None:
    job = read_job(edited(cells, 'to = "2026-01-04"', 'to = "2026-01-06"'))
    partitions = select(discover(job), job.train.first, job.train.last)

    learning, again = (read_training_data(job, partitions) for _ in range(2))

    parts = [learning.train["num"], learning.dev["num"], learning.calibration["num"]]
    rows = [tuple(row) for part in parts for row in part]
    assert len(set(rows)) == len(rows) == learning.rows_read == 318  # benign rows of six nights
    np.testing.assert_array_equal(parts[0], again.train["num"])
    assert 0.6 < len(parts[0]) / len(rows) < 0.8
    assert set(learning.calibration_rows["diagnosis"].to_pylist()) == {"benign"}


def test_with_an_event_time_the_latest_rows_calibrate(cells: Path) -> None:
    moment = np.datetime64("2026-01-01T00:00:00", "us")
    for day in range(1, 5):
        path = cells.parent / f"dt=2026-01-{day:02d}" / "part-0.parquet"
        table = pq.read_table(path, partitioning=None)
        times = moment + np.timedelta64(day, "D") + np.arange(table.num_rows).astype("timedelta64[s]")
        pq.write_table(table.append_column("seen_at", pa.array(times)), path)
    job = read_job(edited(cells, 'partition = "dt"', 'partition = "dt"\nevent_time = "seen_at"'))

    learning = read_training_data(job, select(discover(job), job.train.first, job.train.last))

    held_out = learning.calibration_rows["seen_at"].to_pylist()
    assert len(learning.train["num"]) == 168
    assert len(held_out) == 48
    assert min(held_out).day == 5  # the last of the four nights alone
    assert "seen_at" not in learning.encoding.layout.columns


def test_more_rows_than_max_rows_are_sampled_down(cells: Path) -> None:
    job = read_job(edited(cells, "[train]\n", "[train]\nmax_rows = 120\n"))

    learning = read_training_data(job, select(discover(job), job.train.first, job.train.last))

    assert 80 < learning.rows_read < 160


def test_max_rows_limits_the_rows_that_the_condition_selects(cells: Path) -> None:
    job = read_job(edited(cells, "diagnosis = 'benign'", "mean_area > 500"))
    partitions = select(discover(job), job.train.first, job.train.last)
    rows = sum(pq.ParquetFile(path).metadata.num_rows for each in partitions for path in each.files)
    selected = read_training_data(job, partitions).rows_read
    job = read_job(edited(cells, "[train]\n", f"[train]\nmax_rows = {selected}\n"))

    learning = read_training_data(job, partitions)

    assert 10 < selected < rows
    assert learning.rows_read == selected


def test_rows_beyond_the_memory_are_sampled_down_and_the_log_says_so(
    cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in cells.parent.glob("dt=*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(pa.concat_tables([table] * 20), path)
    job = read_job(edited(cells, "[train]\n", "[train]\nmemory_mb = 1\n"))

    learning = read_training_data(job, select(discover(job), job.train.first, job.train.last))

    allowed = (1 << 20) / (5 * 8 * (len(learning.encoding.layout.columns) + 2))
    assert 0.5 * allowed < learning.rows_read < 1.2 * allowed
    assert "rows are more than [train] memory_mb allows" in caplog.text


def test_every_fault_of_every_training_file_is_named_before_training(cells: Path) -> None:
    for night, column in (("dt=2026-01-02", "mean_area"), ("dt=2026-01-03", "mean_radius")):
        path = cells.parent / night / "part-0.parquet"
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns([column]), path)

    with pytest.raises(SchemaMismatch) as caught:
        train(cells)

    message = str(caught.value)
    assert "dt=2026-01-02" in message
    assert "mean_area" in message
    assert "dt=2026-01-03" in message
    assert "mean_radius" in message


def test_too_few_rows_for_alpha_stop_before_training(cells: Path) -> None:
    with pytest.raises(CalibrationInvalid, match="too few calibration rows: expected at least 999"):
        train(edited(cells, "alpha = 0.05", "alpha = 0.001"))


def test_a_condition_that_no_row_meets_is_named(cells: Path) -> None:
    with pytest.raises(
        DataUnreadable, match="where diagnosis = 'bening' has too few training rows: expected at least 20, got 0"
    ):
        train(edited(cells, "where = \"diagnosis = 'benign'\"", "where = \"diagnosis = 'bening'\""))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("latent = 8", "latnet = 8", "did you mean 'latent'"),
        ("latent = 8", "latent = 0", "latent"),
        ('trunk = "mlp"', 'trunk = "conv"', "conv"),
        ('family = "ae"', 'family = "vea"', "vae"),
    ],
)
def test_bad_options_are_refused_before_training(cells: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(OptionInvalid, match=message):
        train(edited(cells, old, new))


def test_a_row_that_cannot_be_scored_is_left_out_of_training(cells: Path) -> None:
    path = cells.parent / "dt=2026-01-02" / "part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    values = table["mean_radius"].to_numpy().copy()
    values[0] = np.inf
    pq.write_table(table.set_column(table.column_names.index("mean_radius"), "mean_radius", pa.array(values)), path)
    job = read_job(cells)

    learning = read_training_data(job, select(discover(job), job.train.first, job.train.last))

    kept = sum(len(part["num"]) for part in (learning.train, learning.dev, learning.calibration))
    assert kept == learning.rows_read - 1


@pytest.mark.parametrize(
    ("name", "role", "is_taken"),
    [
        ("score", "number", False),
        ("p_value", "number", False),
        ("score", "key", True),
        ("is_anomaly", "key", True),
        ("is_anomaly", "label", False),
        ("seed", "number", True),
        ("model_version", "key", True),
    ],
)
def test_a_name_of_the_outputs_is_refused_where_two_columns_would_have_it(
    tmp_path: Path, name: str, role: str, is_taken: bool
) -> None:
    values = np.random.default_rng(0).normal(size=(2, 50))
    pq.write_table(pa.table({"x": values[0], name: values[1]}), tmp_path / "rows.parquet")
    data = {"path": "rows.parquet"} | ({} if role == "number" else {f"{role}s": [name]})
    job = parse_job({"name": "t", "data": data}, source=tmp_path / "job.toml")

    if is_taken:
        with pytest.raises(SchemaMismatch, match=f"has a column '{name}', a name of the outputs: rename it"):
            read_training_data(job, discover(job))
    else:
        modelled = ("x", name) if role == "number" else ("x",)
        assert read_training_data(job, discover(job)).encoding.layout.columns == modelled
