"""Baselines that are kept with the outputs: used if nothing that they depend on has changed, else computed again."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.evaluate import kept_baselines as module
from aepipe.jobs.evaluate.baselines import fit_baselines
from aepipe.jobs.evaluate.compare import Comparison, compare
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.evaluate.kept_baselines import KeptBaselines, NightScores
from aepipe.jobs.feedback.verdicts import Verdict, append_verdicts
from aepipe.jobs.forget import forget
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.train.train import train
from aepipe.storage import put_parquet
from aepipe.storage.paths import baselines_folder

ROOT = Path(__file__).parents[3]
NIGHT = "dt=2026-01-05"
FOREST = "isolation forest"


def kept_file(job: Path) -> Path:
    (found,) = baselines_folder(read_job(job).out_path).iterdir()
    return found


def keep_ones(job: Path) -> None:
    """Replace all kept scores by ones, which rank nothing."""
    scored = ScoredPartitions(read_job(job), TableModel.open(job.parent / "exported" / "cells"))
    kept = fit_baselines(scored, alpha=scored.model.bundle.calibration.alpha).kept
    assert kept is not None
    assert kept.nights
    kept.keep({key: NightScores(each.rows, np.ones_like(each.scores)) for key, each in kept.nights.items()})


def forest_auroc(found: Comparison) -> float:
    return next(each.auroc.value for each in found.evaluation.contenders if each.name == FOREST)


@pytest.fixture
def compared(scored_cells: Path) -> Path:
    """Compare a scored job with its baselines, which are kept; return the path of its job."""
    compare(scored_cells)
    return scored_cells


def test_kept_scores_are_used_and_give_the_same_comparison(compared: Path) -> None:
    first = compare(compared)
    baselines_folder(read_job(compared).out_path).joinpath(kept_file(compared).name).unlink()
    fresh = compare(compared)
    keep_ones(compared)

    assert first == fresh
    assert forest_auroc(compare(compared)) == 0.5 != forest_auroc(fresh)
    rivals = {each.name: each.auroc.value for each in evaluate(compared).contenders}
    assert rivals[FOREST] == 0.5 != rivals["random"]


def edit_source(job: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = job.parent / NIGHT / "part-0.parquet"
    put_parquet(path, change(pq.read_table(path, partitioning=None)))
    score(job)


def with_zeros(table: pa.Table) -> pa.Table:
    at = table.column_names.index("mean_area")
    return table.set_column(at, "mean_area", pa.array(np.zeros(table.num_rows), table["mean_area"].type))


def with_label(table: pa.Table, label: str | None) -> pa.Table:
    """Change the label of the first row."""
    at, labels = table.column_names.index("diagnosis"), table["diagnosis"].to_pylist()
    return table.set_column(at, "diagnosis", pa.array([label, *labels[1:]], table["diagnosis"].type))


def say_anomaly(job: Path) -> None:
    table = pq.read_table(job.parent / NIGHT / "part-0.parquet", partitioning=None)
    normal = table.filter(pa.compute.equal(table["diagnosis"], "benign"))["case_id"][0].as_py()
    when = datetime(2026, 3, 5, tzinfo=UTC)
    append_verdicts(read_job(job), [Verdict(key=str(normal), verdict="anomaly", who="ada", when=when)])


def calibrate_at(job: Path, alpha: float) -> None:
    job.write_text(re.sub(r"^alpha = .*$", f"alpha = {alpha}", job.read_text(), flags=re.MULTILINE))
    calibrate(job)


def train_again(job: Path) -> None:
    job.write_text(job.read_text().replace("[train]\n", "[train]\nseed = 5\n"))
    version = train(job).version
    Registry(read_job(job).bundle_path).set_alias("champion", version, who="ada", why="a test")
    score(job)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a rewritten partition": lambda job: edit_source(job, with_zeros),
    "a label that came late": lambda job: edit_source(job, lambda table: with_label(table, "benign")),
    "a label that was taken back": lambda job: edit_source(job, lambda table: with_label(table, None)),
    "fewer rows": lambda job: edit_source(job, lambda table: table.slice(5)),
    "a verdict": say_anomaly,
    "an alpha": lambda job: calibrate_at(job, 0.2),
    "a bundle": train_again,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_as_without_kept_baselines(compared: Path, change: str) -> None:
    before = compare(compared)

    CHANGES[change](compared)
    found = compare(compared)

    for path in baselines_folder(read_job(compared).out_path).iterdir():
        path.unlink()
    assert found == compare(compared)
    assert found != before


@pytest.mark.slow
def test_scores_of_other_versions_of_packages_are_not_used(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = compare(compared)
    for packages in (module._PACKAGES[1:], module._PACKAGES[:-1]):
        keep_ones(compared)
        monkeypatch.setattr(module, "_PACKAGES", packages)

        assert compare(compared) == fresh


@pytest.mark.slow
def test_a_changed_training_partition_is_learned_from_again(compared: Path) -> None:
    keep_ones(compared)
    path = compared.parent / "dt=2026-01-02" / "part-0.parquet"
    put_parquet(path, with_zeros(pq.read_table(path, partitioning=None)))

    found = compare(compared)

    assert forest_auroc(found) != 0.5
    kept_file(compared).unlink()
    assert compare(compared) == found


def damage(data: bytes, how: str) -> bytes:
    at = len(data) // 2
    return {
        "empty": b"",
        "half": data[:at],
        "no digest": data[4:],
        "one bit": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        "longer": data + b"\0",
        "text": b"{}",
    }[how]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "half", "no digest", "one bit", "longer", "text"])
def test_a_damaged_file_is_ignored_and_replaced(compared: Path, how: str) -> None:
    fresh, path = compare(compared), kept_file(compared)
    whole = path.read_bytes()
    keep_ones(compared)
    path.write_bytes(damage(path.read_bytes(), how))

    assert compare(compared) == fresh

    assert path.read_bytes() == whole


def test_forgetting_a_partition_removes_its_scores(compared: Path) -> None:
    path = kept_file(compared)

    forget(compared, [NIGHT], is_confirmed=True)

    assert not path.exists()


def test_a_folder_that_cannot_be_written_costs_only_time(scored_cells: Path) -> None:
    baselines_folder(read_job(scored_cells).out_path).write_bytes(b"")  # a file in place of the folder

    assert compare(scored_cells) == compare(scored_cells)


def test_scores_of_too_many_rows_are_not_kept(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEPT_ROWS", 10)
    compare(compared)
    scored = ScoredPartitions(read_job(compared), TableModel.open(compared.parent / "exported" / "cells"))

    kept = fit_baselines(scored, alpha=scored.model.bundle.calibration.alpha).kept

    assert kept is not None
    assert kept.nights == {}


def test_rows_that_were_not_scored_have_no_kept_scores() -> None:
    kept = NightScores(np.array([1, 4, 6]), np.array([[0.1, 0.4, 0.6]]))

    assert np.array_equal(kept.of(np.array([1, 6])), [[0.1, 0.6]])
    assert kept.of(np.array([1, 5])) is None
    assert kept.of(np.array([7])) is None
    assert NightScores(np.zeros(0, np.int64), np.zeros((1, 0))).of(np.array([0])) is None


@pytest.mark.slow
def test_a_report_of_kept_baselines_imports_no_library_of_training_and_no_matplotlib(compared: Path) -> None:
    code = f"""
import json, sys
from aepipe.jobs.report.report import report
report({str(compared)!r})
print(json.dumps(sorted({{"matplotlib", "pandas", "scipy", "sklearn", "torch"}} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_what_is_kept_has_the_numbers_that_were_fitted(compared: Path) -> None:
    scored = ScoredPartitions(read_job(compared), TableModel.open(compared.parent / "exported" / "cells"))
    alpha = scored.model.bundle.calibration.alpha
    kept = fit_baselines(scored, alpha=alpha)
    kept_file(compared).unlink()
    fresh = fit_baselines(scored, alpha=alpha)

    rows = pq.read_table(compared.parent / NIGHT / "part-0.parquet", partitioning=None)
    assert kept.random == fresh.random
    for first, second in zip(kept.learned, fresh.learned, strict=True):
        assert (first.name, first.threshold) == (second.name, second.threshold)
        np.testing.assert_array_equal(first.score(rows), second.score(rows))
    assert isinstance(kept.kept, KeptBaselines)
