"""Quality gate of sample sets: publication, quarantine and messages."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from aepipe.bundles.bundle import Bundle
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, DataUnreadable, JobInvalid
from aepipe.expressions.condition import Condition
from aepipe.jobs.sample import reference_data as reference
from aepipe.jobs.sample.reference_data import Reference
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train
from aepipe.storage import Outputs
from tests.conftest import UNCHECKED
from tests.support.shop import shop_job


def gated(job: Path, thresholds: str = "") -> Path:
    """Turn on the quality gate of a job."""
    job.write_text(job.read_text().replace(UNCHECKED, f"quality = {{ {thresholds} }}\n"))
    return job


@pytest.mark.slow
def test_passing_set_is_published_with_page_without_privacy_guarantee(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, "quality = { shapes = 0.5, loss = 0.5 }")

    result = sample(job, rows=400, seed=1, partition="dt=2026-02-01")

    assert result.missed == ()
    assert result.created
    measured = {"copies", "near_copies", "closeness", "shapes", "trends", "trees", "logistic", "coverage", "moments"}
    assert set(result.quality) == measured | {"loss", "membership", "exposed"}
    assert result.quality["copies"] == 0.0
    assert 0.5 < result.quality["shapes"] <= 1
    assert result.report == tmp_path / "out" / "reports" / "samples-dt=2026-02-01.html"
    page = result.report.read_text()
    assert "no privacy guarantee" in page
    assert "Published: 7 of 7 checks passed" in page
    assert sample(job, rows=400, seed=1, partition="dt=2026-02-01").quality == result.quality
    unjudged = shop_job(shared_folder, tmp_path, "quality = { check = false }")
    assert sample(unjudged, rows=20, seed=1, partition="dt=2026-02-01").report is None
    assert not result.report.exists()


@pytest.mark.slow
def test_failing_set_is_quarantined_and_previous_set_stays(shared_folder: Path, tmp_path: Path) -> None:
    good = sample(shop_job(shared_folder, tmp_path, "quality = { check = false }"), rows=50, partition="a")
    before = good.path.read_bytes()
    job = shop_job(shared_folder, tmp_path, "quality = { shapes = 0.999, coverage = 1.0 }")

    done = CliRunner().invoke(app, ["sample", str(job), "--rows", "200", "--seed", "1", "--partition", "a"])

    assert done.exit_code == 1
    assert "similarity of columns is 0." in done.stderr
    assert "expected at least 0.999" in done.stderr
    assert "coverage of neighbourhoods" in done.stderr
    assert good.path.read_bytes() == before
    folder = tmp_path / "out" / ".aepipe" / "quarantine" / "_samples" / "a"
    assert sorted(path.name for path in folder.iterdir()) == [
        "part-0.parquet.quarantined",
        "reason.txt",
        "report.html",
    ]
    assert pq.read_table(folder / "part-0.parquet.quarantined").num_rows == 200
    assert "Quarantined: 2 of 7 checks failed" in (folder / "report.html").read_text()
    assert Outputs(tmp_path / "out").quarantined() == {}
    assert not (tmp_path / "out" / "reports").exists()

    sample(shop_job(shared_folder, tmp_path, ""), rows=60, seed=1, partition="a")

    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_few_rows_fail_checks_that_need_more_rows(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, "quality = { trees = 0.9 }")

    result = sample(job, rows=20, seed=1, partition="a")

    assert set(result.quality) == {"copies", "near_copies", "closeness"}
    assert result.missed == (
        "AUROC of boosted trees cannot be measured (too few rows: 20 synthetic and 198 held-out, expected 50 of "
        "each): expected at most 0.9",
    )


@pytest.mark.slow
def test_tstr_is_skipped_if_the_request_fixes_the_column_to_predict(shared_folder: Path, tmp_path: Path) -> None:
    job = shop_job(shared_folder, tmp_path, "quality = { predict = 'kind', closeness = 0.5 }")

    result = sample(job, rows=60, seed=1, where="kind != 'boot' and kind != 'shirt'", partition="a")

    assert result.missed == ()
    assert "loss" not in result.quality
    assert "trees" in result.quality


@pytest.mark.slow
def test_threshold_on_loss_fails_with_the_reason_if_the_request_leaves_one_class(
    shared_folder: Path, tmp_path: Path
) -> None:
    job = shop_job(shared_folder, tmp_path, "quality = { predict = 'kind', closeness = 0.5, loss = 0.1 }")

    result = sample(job, rows=60, seed=1, where="kind != 'boot' and kind != 'shirt'", partition="a")

    assert result.missed == (
        "TSTR loss cannot be measured ('kind' has 1 value in the training rows to compare with, expected at least 2): "
        "expected at most 0.1",
    )


@pytest.mark.slow
def test_model_of_one_epoch_is_refused_by_default_and_a_trained_one_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    town = rng.integers(0, 12, 4_000)
    price = np.round(10 * town + rng.exponential(5, len(town)), 2)
    rows = pa.table(
        {
            "id": np.arange(4_000),
            "town": [f"town {at}" for at in town],
            "price": price,
            "net": np.round(price * 0.7 + rng.normal(0, 1, 4_000), 2),
        }
    )
    (tmp_path / "dt=2026-01-01").mkdir()
    pq.write_table(rows, tmp_path / "dt=2026-01-01" / "part-0.parquet")
    text = '[data]\npath = "."\nkeys = ["id"]\n[model]\nfamily = "tabular_vae"\n[train]\nepochs = EPOCHS\n'

    missed = {}
    for epochs in (1, 60):
        job = tmp_path / f"job{epochs}.toml"
        job.write_text(f'name = "towns{epochs}"\n{text.replace("EPOCHS", str(epochs))}')
        train(job)
        missed[epochs] = sample(job, rows=1_000, seed=1, partition="a").missed

    assert any("(default)" in sentence for sentence in missed[1])
    assert missed[60] == ()


@pytest.mark.slow
def test_distributions_are_not_compared_if_few_held_out_rows_match_the_request(
    shared_folder: Path, tmp_path: Path
) -> None:
    result = sample(shop_job(shared_folder, tmp_path, ""), rows=60, where="kind = 'boot'", partition="a")
    few = Reference(pa.table({"kind": ["boot", "hat"] * 60}), pa.table({"kind": ["boot"] * 49 + ["hat"] * 51}))

    assert "shapes" in result.quality
    assert few.matching(Condition.parse("kind = 'boot'")) is None
    assert few.with_shares("kind", {"boot": 0.9}, 0) is not None
    assert few.with_shares("kind", {"boot": 0.99}, 0) is None
    kept = few.matching(Condition.parse("kind = 'hat'"))
    assert kept is not None
    assert kept.held_out["kind"].unique().to_pylist() == ["hat"]


@pytest.mark.slow
def test_images_are_checked_in_feature_space(digits: Path) -> None:
    result = sample(gated(digits), rows=200, seed=1, partition="a")

    audited = {"copies", "closeness", "membership", "exposed"}
    assert set(result.quality) == audited | {"trees", "logistic", "coverage", "frechet"}
    assert result.missed == ()
    assert result.report is not None
    assert "data:image/png" in result.report.read_text()


def test_images_are_written_as_png_files_of_published_rows(digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "new"

    result = sample(digits, rows=12, seed=1, partition="a", png=folder)

    rows = pq.read_table(result.path, partitioning=None)
    assert [path.name for path in sorted(folder.iterdir())] == [f"{at:06d}.png" for at in range(12)]
    for at, row in enumerate(rows["scan"].to_pylist()):
        with Image.open(folder / f"{at:06d}.png") as picture:
            expected = np.frombuffer(row, np.uint8).astype(np.float64).reshape(8, 8) * (255 / 16)
            assert np.abs(np.asarray(picture, np.float64) - expected).max() <= 0.5
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentInvalid, match="png: expected a folder, got the file"):
        sample(digits, rows=12, seed=1, partition="a", png=tmp_path / "file")


@pytest.mark.slow
def test_png_files_of_a_table_are_refused_before_writing(shared_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match=r"png: .* has neither images nor windows: leave it out"):
        sample(shop_job(shared_folder, tmp_path, ""), rows=10, partition="a", png=tmp_path / "pictures")

    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("shapes = 1.2", r"samples.quality.shapes: expected at most 1, got 1.2"),
        ("predict = 'kid'", r"predict: the model has no column 'kid'; did you mean 'kind'\?"),
        ("frechet = 3.0", "frechet does not apply to tables: leave it out"),
    ],
)
def test_invalid_thresholds_are_rejected_before_writing(
    thresholds: str, message: str, shared_folder: Path, tmp_path: Path
) -> None:
    job = shop_job(shared_folder, tmp_path, f"quality = {{ {thresholds} }}")

    with pytest.raises(JobInvalid, match=message):
        sample(job, rows=50, partition="a")

    assert not (tmp_path / "out").exists()


def test_missing_or_changed_training_rows_are_rejected_before_writing(
    cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = gated(cells)
    (job.parent / "dt=2026-01-02" / "part-0.parquet").rename(job.parent / "kept")
    with pytest.raises(DataUnreadable, match=r"has no partition dt=2026-01-02, which cells/.* was trained on"):
        sample(job, rows=50, partition="a")
    night = pq.read_table(job.parent / "kept", partitioning=None)
    pq.write_table(night.slice(3), job.parent / "dt=2026-01-02" / "part-0.parquet")
    with pytest.raises(DataUnreadable, match="have changed and cannot serve to check synthetic rows"):
        sample(job, rows=50, partition="a")
    (job.parent / "kept").rename(job.parent / "dt=2026-01-02" / "part-0.parquet")
    monkeypatch.setattr(reference, "FEWEST_HELD_OUT", 1_000)
    with pytest.raises(
        DataUnreadable,
        match=r"too few held-out rows to check synthetic rows: expected 1000, got \d+\. .* check = false",
    ):
        sample(job, rows=50, partition="a")

    assert not (job.parent / "out" / "samples").exists()


@pytest.mark.slow
def test_rows_that_training_leaves_out_of_the_calibration_are_not_taken_for_a_change(tmp_path: Path) -> None:
    """A placeholder of 1e30 in every fortieth row is in all three parts."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=800)
    y = np.where(np.arange(800) % 40 == 0, 1e30, x + generator.normal(size=800))
    pq.write_table(pa.table({"x": x, "y": y}), tmp_path / "rows.parquet")
    job = tmp_path / "job.toml"
    job.write_text('name = "t"\n[data]\npath = "rows.parquet"\n[model]\nfamily = "vae"\n[train]\nepochs = 1\n')
    rows = Bundle.open(str(train(job).bundle)).manifest.rows["calibration"]

    result = sample(job, rows=200, seed=1, partition="a")

    assert rows < 160
    assert result.quality
