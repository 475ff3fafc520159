"""Latent traversals on disk, and clusters among the features."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, JobInvalid, OptionInvalid
from aepipe.jobs.row_lookup import find_rows
from aepipe.jobs.sample.traverse import interpolate, shift, traverse
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.jobs.verify import verify
from tests.conftest import make_example


def _source(job: Path) -> pa.Table:
    return pq.read_table(job.parent / "dt=2026-01-07" / "part-0.parquet", partitioning=None)


def _keys(job: Path, rows: int) -> list[str]:
    return _source(job).column(0).to_pylist()[:rows]


def test_interpolation_has_source_columns_and_position_of_each_row(cells: Path) -> None:
    a, b = _keys(cells, 2)

    result = interpolate(cells, a, b, steps=5)

    walk, source = pq.read_table(result.path, partitioning=None), _source(cells)
    assert result.path == cells.parent / "out" / "walks" / "interpolation" / "part-0.parquet"
    assert walk.column_names[: len(source.column_names)] == source.column_names
    assert walk.column_names[len(source.column_names) :] == [
        "walk_row", "walk_to", "walk_step", "walk_share", "model_version",
    ]  # fmt: skip
    assert all(walk.schema.field(name).type == source.schema.field(name).type for name in source.column_names)
    assert walk["case_id"].to_pylist() == [a] * 5
    assert walk["walk_to"].to_pylist() == [b] * 5
    assert walk["diagnosis"].null_count == 5


def test_interpolation_ends_at_the_two_reconstructed_rows_also_in_python(cells: Path) -> None:
    a, b = _keys(cells, 2)
    model, source = aepipe.load(cells.parent / "exported" / "cells"), _source(cells)

    written = pq.read_table(interpolate(cells, a, b, how="lerp").path, partitioning=None)
    in_python = model.interpolate(source.slice(0, 1).to_pandas(), source.slice(1, 1).to_pandas(), how="lerp")

    rebuilt = model.reconstruct(source.slice(0, 2))
    for name in ("mean_area", "worst_texture"):
        ends = written[name].take([0, 7]).to_numpy()
        np.testing.assert_allclose(ends, rebuilt[name].to_numpy(), rtol=1e-3)
        np.testing.assert_allclose(in_python[name], written[name].to_numpy())


def test_repeated_call_writes_nothing_and_other_traversal_replaces_the_first(cells: Path) -> None:
    a, b, c = _keys(cells, 3)

    first, again, other = interpolate(cells, a, b), interpolate(cells, a, b), interpolate(cells, a, c)
    aside = interpolate(cells, a, b, partition="kept")

    assert [first.created, again.created, other.created, aside.created] == [True, False, True, True]
    assert first.path == other.path != aside.path
    assert verify(cells).faults == ()


def test_changed_source_row_is_traversed_again(cells: Path) -> None:
    (key,) = _keys(cells, 1)
    before = traverse(cells, key, dimensions=["z_000"])
    table = _source(cells)
    moved = table.set_column(2, "mean_radius", pa.array(table["mean_radius"].to_numpy() + 1))
    pq.write_table(moved, cells.parent / "dt=2026-01-07" / "part-0.parquet")

    after = traverse(cells, key, dimensions=["z_000"])

    assert before.created
    assert after.created


def test_rows_shifted_towards_malignant_get_larger_nuclei(cells: Path) -> None:
    benign = _source(cells).filter(pc.field("diagnosis") == "benign")["case_id"].to_pylist()[:4]

    result = shift(cells, "diagnosis = 'malignant'", benign, amount=1.0)

    walk = pq.read_table(result.path, partitioning=None)
    assert walk["case_id"].to_pylist() == [key for key in benign for _ in range(2)]
    assert walk["walk_amount"].to_pylist() == [0, 1] * 4
    area = walk["worst_area"].to_numpy().reshape(4, 2)
    assert (area[:, 1] > area[:, 0]).all()
    assert result.changes[0].size >= result.changes[-1].size > 0


def test_traversal_has_one_path_per_latent(cells: Path) -> None:
    (key,) = _keys(cells, 1)

    every, two = traverse(cells, key), traverse(cells, key, dimensions=["z_003", "z_000"], steps=3)

    walk = pq.read_table(two.path, partitioning=None)
    assert every.rows == 8 * 7
    assert walk["walk_dimension"].to_pylist() == ["z_003"] * 3 + ["z_000"] * 3
    assert {change.strip for change in two.changes} <= {"z_000", "z_003"}


def test_traversed_images_have_the_format_of_the_source(digits: Path) -> None:
    a, b = _keys(digits, 2)

    walk = pq.read_table(interpolate(digits, a, b).path, partitioning=None)

    assert {len(scan) for scan in walk["scan"].to_pylist()} == {64}
    assert len(set(walk["scan"].to_pylist())) > 4


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda job, a: interpolate(job, a, "absent"), "no row of .* has the key case_id = 'absent'"),
        (lambda job, a: interpolate(job, a, a, how="arc"), "slerp or lerp, got 'arc'"),
        (lambda job, a: traverse(job, a, dimensions=["z_9"]), "no latent 'z_9'"),
        (lambda job, a: shift(job, "diagnosi = 'x'", [a]), "no column 'diagnosi'; did you mean 'diagnosis'"),
        (lambda job, a: shift(job, "diagnosis = 'x'", [a]), "holds for none of"),
        (lambda job, a: shift(job, "diagnosis = 'malignant'", []), "Name the rows to shift"),
    ],
)
def test_invalid_traversal_is_rejected_before_writing(cells: Path, ask, message: str) -> None:
    with pytest.raises(AepipeError, match=message):
        ask(cells, _keys(cells, 1)[0])

    assert not (cells.parent / "out" / "walks").exists()


def test_ambiguous_key_is_rejected(cells: Path) -> None:
    table = _source(cells)
    pq.write_table(table.slice(0, 1), cells.parent / "dt=2026-01-06" / "part-1.parquet")

    with pytest.raises(OptionInvalid, match=r"expected one row, got 2: dt=2026-01-06:\d+, dt=2026-01-07:\d+\."):
        traverse(cells, _keys(cells, 1)[0])


def test_job_without_keys_is_rejected(cells: Path) -> None:
    cells.write_text(cells.read_text().replace('keys = ["case_id"]', ""))

    with pytest.raises(JobInvalid, match=r"\[data\] keys is missing"):
        traverse(cells, "case-000")


def test_partition_without_the_key_column_is_skipped_with_a_warning(
    cells: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = cells.parent / "dt=2026-01-06" / "part-0.parquet"
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["case_id"]), file)

    traverse(cells, "case-000")

    assert "dt=2026-01-06" in caplog.text
    assert "'case_id'" in caplog.text


def test_composite_keys_are_split_at_commas_and_compared_by_type(tmp_path: Path) -> None:
    shops = pa.array(["north", "it's", "a,b"]).dictionary_encode()
    table = pa.table({"shop": shops, "id": [1, 1, 2], "day": pa.array([1, 2, 3], pa.date32()), "x": [0.1, 0.2, 0.3]})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "job.toml").write_text('name = "t"\n[data]\npath = "rows.parquet"\nkeys = ["shop", "id", "day"]\n')
    job = read_job(tmp_path / "job.toml")

    found = find_rows(job, ['"a,b", 2, 1970-01-04', "it's,1,1970-01-03"], columns=["x"])

    assert found.to_pydict() == {"x": [0.3, 0.2]}
    with pytest.raises(OptionInvalid, match=r"expected 3 \(shop, id, day\), got 2"):
        find_rows(job, ["north,1"], columns=["x"])
    with pytest.raises(OptionInvalid, match=r"key 'north,x,1970-01-02' cannot be compared with .*id \(int64\)"):
        find_rows(job, ["north,x,1970-01-02"], columns=["x"])


@pytest.mark.slow
def test_features_include_cluster_and_distance_of_each_row(tmp_path: Path) -> None:
    job = make_example(tmp_path, "cells")
    text = job.read_text().replace("[score]\n", "[score]\nclusters = true\nreasons = 1\n")
    job.write_text(text.replace('family = "ae"\ntrunk = "mlp"\n', 'family = "pca"\n'))
    bundle = train(job).bundle
    (night, *_) = score(job).nights

    assert night.features is not None
    features = pq.read_table(night.features, partitioning=None)
    assert features.schema.field("cluster").type == pa.int32()
    assert features.schema.field("cluster_distance").type == pa.float32()
    assert min(features["cluster"].to_pylist()) >= 0
    assert min(features["cluster_distance"].to_pylist()) > 0
    model = aepipe.load(bundle)
    again = model.encode(_night(job, night.partition))
    np.testing.assert_array_equal(again["cluster"], features["cluster"])
    np.testing.assert_allclose(again["cluster_distance"], features["cluster_distance"], rtol=1e-5)
    assert "cluster" not in model.bundle.manifest.latent.columns


def _night(job: Path, partition: str) -> pa.Table:
    return pq.read_table(job.parent / partition / "part-0.parquet", partitioning=None)


def test_clusters_of_discrete_latents_are_rejected_before_training(tmp_path: Path) -> None:
    job = make_example(tmp_path, "digits")
    text = job.read_text().replace("[score]\n", "[score]\nclusters = true\n")
    job.write_text(text.replace('family = "vae"', 'family = "vq_vae"').replace("latent = 16\n", ""))

    with pytest.raises(OptionInvalid, match="clusters = true needs real latents"):
        train(job)

    assert not list(tmp_path.rglob("*.onnx"))
