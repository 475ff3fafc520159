"""Conditional model through the real jobs: trained, scored and sampled under a condition."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import aepipe
from aepipe.bundles.bundle import Bundle
from aepipe.cli.main import app
from aepipe.errors import JobInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.sampler import draw
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import lock

CENTERS = {"sandal": -6.0, "boot": 6.0, "shirt": 0.0}
NIGHTS = ("dt=2026-01-01", "dt=2026-01-02")
TABLE_JOB = """
name = "shop"
[data]
path = "."
keys = ["id"]
[columns]
kind = "condition"
[model]
family = "cvae"
latent = 2
[train]
epochs = 15
to = "dt=2026-01-01"
[run]
device = "cpu"
[samples]
quality = { check = false }
"""
IMAGE_JOB = TABLE_JOB.replace('kind = "condition"', 'kind = "condition"\nscan = {kind = "image", shape = [1, 8, 8]}')


def goods(rows: int, seed: int) -> pa.Table:
    """Generate sizes and weights that depend on a kind, and an independent colour."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(CENTERS), rows)
    centers = np.array([CENTERS[kind] for kind in kinds])
    return pa.table(
        {
            "id": np.arange(rows),
            "size": centers + rng.standard_normal(rows),
            "weight": (2 * centers + 30 + rng.standard_normal(rows)).astype(np.float32),
            "kind": pa.array(kinds).dictionary_encode(),
            "colour": rng.choice(["red", "green"], rows),
        }
    )


def scans(rows: int, seed: int) -> pa.Table:
    """Generate images whose kind determines which half is bright."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["low", "high"], rows)
    pixels = rng.integers(0, 60, (rows, 8, 8), dtype=np.uint8)
    pixels[kinds == "low", 4:] += 180
    pixels[kinds == "high", :4] += 180
    bytes_of = [picture.tobytes() for picture in pixels]
    return pa.table({"id": np.arange(rows), "kind": kinds, "scan": pa.array(bytes_of, pa.binary())})


def trained(shared: Path, name: str, text: str) -> Path:
    """Train a model once per test run; return the path of its job."""
    folder = shared / name
    with lock(shared / f"{name}.lock", wait_s=300):
        if not (folder / "done").exists():
            for seed, night in enumerate(NIGHTS):
                (folder / night).mkdir(parents=True, exist_ok=True)
                table = (goods if text == TABLE_JOB else scans)(1_000 if seed == 0 else 200, seed)
                pq.write_table(table, folder / night / "part-0.parquet")
            (folder / "job.toml").write_text(text)
            train(folder / "job.toml")
            (folder / "done").touch()
    return folder / "job.toml"


@pytest.fixture(scope="session")
def shop(shared_folder: Path) -> Path:
    return trained(shared_folder, "conditional-shop", TABLE_JOB)


@pytest.fixture(scope="session")
def pictures(shared_folder: Path) -> Path:
    return trained(shared_folder, "conditional-scans", IMAGE_JOB)


def read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def test_samples_have_conditions_of_training_rows_and_depend_on_them(shop: Path) -> None:
    drawn = read(sample(shop, rows=2_000, seed=1, partition="all").path).to_pandas()

    shares = drawn["kind"].value_counts(normalize=True)
    assert set(shares.index) == set(CENTERS)
    assert shares.between(0.27, 0.4).all()
    for kind, center in CENTERS.items():
        of_kind = drawn[drawn["kind"] == kind]
        assert abs(of_kind["size"].mean() - center) < 0.5, kind
        assert abs(of_kind["weight"].mean() - 2 * center - 30) < 1, kind
        assert of_kind["size"].std() < 2, kind


def test_samples_have_source_columns_and_types(shop: Path) -> None:
    drawn = read(sample(shop, rows=10, seed=1, partition="types").path)

    source = read(shop.parent / NIGHTS[0] / "part-0.parquet")
    assert drawn.select(source.column_names).schema.types == source.schema.types


def test_samples_satisfy_the_condition(shop: Path) -> None:
    result = sample(shop, rows=300, seed=1, where="kind = 'boot'", partition="boots")

    drawn = read(result.path).to_pandas()
    assert result.where == "kind = 'boot'"
    assert set(drawn["kind"]) == {"boot"}
    assert abs(drawn["size"].mean() - CENTERS["boot"]) < 0.5


def test_other_condition_gives_other_samples_and_same_condition_writes_nothing(shop: Path) -> None:
    first = sample(shop, rows=20, seed=1, where="kind = 'boot'", partition="twice")
    again = sample(shop, rows=20, seed=1, where="kind = 'boot'", partition="twice")
    other = sample(shop, rows=20, seed=1, where="kind != 'boot'", partition="twice")

    assert [first.created, again.created, other.created] == [True, False, True]
    assert "boot" not in read(other.path)["kind"].to_pylist()


def test_python_command_and_job_draw_the_same_rows(shop: Path, tmp_path: Path) -> None:
    where = "kind in ('boot', 'shirt')"
    job = tmp_path / "job.toml"
    exported = f'where = "{where}"\n[output]\nexported = "{shop.parent / "exported"}"\n'
    job.write_text(shop.read_text().replace('path = "."', f'path = "{shop.parent}"') + exported)
    plain = tmp_path / "plain.toml"
    plain.write_text(job.read_text().replace(f'where = "{where}"\n', ""))

    written = read(sample(job, rows=30, seed=5, partition="a").path)
    words = ["sample", str(plain), "--rows", "30", "--seed", "5", "--partition", "b", "--where", where]
    command = CliRunner().invoke(app, words)
    drawn = aepipe.load(shop.parent / "exported" / "shop").sample(30, seed=5, where=where)

    assert command.exit_code == 0, command.output
    assert read(tmp_path / "out" / "shop" / "samples" / "b" / "part-0.parquet").equals(written)
    assert drawn["kind"].tolist() == written["kind"].to_pylist()
    np.testing.assert_allclose(drawn["size"], written["size"])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("knid = 'boot'", r"where: 'knid' is not a column of shop/\S+; did you mean 'kind'\?"),
        ("kind = 'hat'", r"where: kind = 'hat' holds for none of the training rows of shop/\S+"),
    ],
)
def test_unsatisfiable_condition_is_rejected_before_writing(shop: Path, where: str, message: str) -> None:
    with pytest.raises(JobInvalid, match=message):
        sample(shop, rows=5, where=where, partition="refused")

    assert not list((shop.parent / "out").rglob("*refused*"))


@pytest.mark.parametrize("where", ["weight > 43", "kind = 'boot' and weight > 43"])
def test_condition_on_other_columns_filters_rows_of_the_model(shop: Path, where: str) -> None:
    """The first rows without a condition that match are expected: rows are independent."""
    condition = Condition.parse(where)
    every = read(sample(shop, rows=8_000, seed=3, partition="every").path)
    expected = every.filter(condition.mask(every.combine_chunks().to_batches()[0]))

    drawn = read(sample(shop, rows=200, seed=3, where=where, partition="filtered").path)

    names = ["kind", "size", "weight"]
    assert drawn.num_rows == 200
    assert drawn.select(names).to_pydict() == expected.select(names).slice(0, 200).to_pydict()


def test_condition_on_a_label_that_is_not_sampled_is_rejected(cells: Path) -> None:
    with pytest.raises(JobInvalid, match=r"where: 'diagnosis' is a label that cells/\S+ does not sample. Set labels"):
        sample(cells, rows=5, where="diagnosis = 'benign'", partition="refused")

    assert not list((cells.parent / "out").rglob("*refused*"))


def test_job_condition_on_unknown_column_is_rejected_before_training(shop: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    text = shop.read_text().replace('path = "."', f'path = "{shop.parent}"')
    job.write_text(text + "where = \"hue = 'red'\"\n")

    with pytest.raises(JobInvalid, match=r"\[samples\] where: 'hue' is not a column of synthetic rows: expected one"):
        train(job)


def test_scores_depend_on_the_condition_of_the_row(shop: Path) -> None:
    model = aepipe.load(shop.parent / "exported" / "shop")
    weights = np.array([42, 42], np.float32)
    boots = pd.DataFrame({"size": [6.0, 6.0], "weight": weights, "kind": ["boot", "sandal"], "colour": ["red"] * 2})

    answers = model.score(boots)
    rebuilt = model.reconstruct(boots)

    assert answers["is_anomaly"].tolist() == [False, True]
    assert abs(rebuilt["size"][0] - 6) < 1
    assert rebuilt["kind"].tolist() == ["boot", "sandal"]


@pytest.mark.parametrize("start", [1, 2_047, 2_048, 2_500])
def test_conditions_of_a_sample_depend_only_on_seed_and_row_number(shop: Path, start: int) -> None:
    bundle = Bundle.open(shop.parent / "exported" / "shop")
    whole = pa.Table.from_batches(draw(bundle, 3_000, seed=3))

    rest = pa.Table.from_batches(draw(bundle, 3_000 - start, seed=3, start=start))

    assert rest.equals(whole.slice(start))
    other = pa.Table.from_batches(draw(bundle, 3_000, seed=4))
    assert not other["kind"].equals(whole["kind"])


def test_bundle_keeps_only_the_conditions_of_training_rows(shop: Path) -> None:
    bundle = Bundle.open(shop.parent / "exported" / "shop")

    kept = pq.read_table(pa.BufferReader(bundle.files["conditions.parquet"]))

    source = read(shop.parent / NIGHTS[0] / "part-0.parquet")
    assert kept.schema.names == ["kind"]
    assert kept.schema.types == source.select(["kind"]).schema.types
    assert kept.num_rows == bundle.manifest.rows["train"]


def test_partition_is_scored_and_reported(shop: Path) -> None:
    result = score(shop)
    sample(shop, rows=50, partition="reported")

    page = report(shop)

    assert not result.failed
    assert page.path.exists()
    assert "kind" not in pq.read_schema(shop.parent / "out" / "shop" / "scores" / NIGHTS[1] / "part-0.parquet").names


@pytest.mark.slow
def test_images_are_sampled_under_their_condition(pictures: Path) -> None:
    drawn = read(sample(pictures, rows=100, seed=1, where="kind = 'low'", partition="low").path)

    shades = np.stack([np.frombuffer(scan, np.uint8).reshape(8, 8) for scan in drawn["scan"].to_pylist()])
    assert set(drawn["kind"].to_pylist()) == {"low"}
    assert shades[:, 4:].mean() > 150
    assert shades[:, :4].mean() < 90
