"""The Python interface: pandas and Arrow, answers in kind."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.errors import BundleNotFound, SchemaMismatch


@pytest.fixture(scope="module")
def model(trained_cells: Path) -> aepipe.Model:
    return aepipe.load(trained_cells / "exported" / "cells")


@pytest.fixture(scope="module")
def table(trained_cells: Path) -> pa.Table:
    return pq.read_table(trained_cells / "dt=2026-01-07" / "part-0.parquet", partitioning=None)


def test_pandas_is_answered_by_pandas_with_the_same_index(model: aepipe.Model, table: pa.Table) -> None:
    frame = table.to_pandas().set_index("case_id").sort_values("mean_area")

    scored, latents, expected = model.score(frame), model.encode(frame), model.reconstruct(frame)

    for answer in (scored, latents, expected):
        assert isinstance(answer, pd.DataFrame)
        assert answer.index.equals(frame.index)
    assert list(latents.columns) == [f"z_{index:03d}" for index in range(8)]
    assert scored["score"].notna().all()


def test_arrow_is_answered_by_arrow_with_the_same_numbers(model: aepipe.Model, table: pa.Table) -> None:
    answer = model.score(table)

    assert isinstance(answer, pa.Table)
    np.testing.assert_allclose(answer["score"].to_numpy(), model.score(table.to_pandas())["score"])


def test_a_row_is_scored_the_same_alone_and_among_others(model: aepipe.Model, table: pa.Table) -> None:
    together = model.score(table)["score"].to_numpy()

    alone = [model.score(table.slice(row, 1))["score"][0].as_py() for row in range(5)]

    np.testing.assert_allclose(alone, together[:5], rtol=1e-5)


def test_features_are_the_same_every_time(model: aepipe.Model, table: pa.Table) -> None:
    first, second = model.encode(table), model.encode(table)

    assert first.equals(second)


def test_the_reconstruction_is_close_in_the_source_s_units(model: aepipe.Model, table: pa.Table) -> None:
    expected = model.reconstruct(table)

    benign = np.asarray(table["diagnosis"].to_pylist()) == "benign"
    for name in ("mean_radius", "mean_area", "worst_texture"):
        source, found = table[name].to_numpy()[benign], expected[name].to_numpy()[benign]
        assert np.corrcoef(source, found)[0, 1] > 0.5, name


def test_an_invalid_row_is_answered_with_nulls_and_its_reason(model: aepipe.Model, table: pa.Table) -> None:
    frame = table.to_pandas().head(3)
    frame.loc[1, "mean_radius"] = np.inf

    scored, latents, expected = model.score(frame), model.encode(frame), model.reconstruct(frame)

    assert scored["score"].isna().tolist() == [False, True, False]
    assert "infinite" in scored["invalid_reason"][1]
    assert latents.isna().all(axis=1).tolist() == [False, True, False]
    assert expected["mean_radius"].isna().tolist() == [False, True, False]


def test_no_rows_are_answered_with_none(model: aepipe.Model, table: pa.Table) -> None:
    assert model.score(table.slice(0, 0)).num_rows == 0
    assert model.encode(table.slice(0, 0)).num_rows == 0
    assert model.reconstruct(table.slice(0, 0)).num_rows == 0


def test_a_frame_without_the_columns_lists_all_that_are_missing(model: aepipe.Model, table: pa.Table) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        model.score(table.drop_columns(["mean_area", "worst_area"]))

    assert "mean_area" in str(caught.value)
    assert "worst_area" in str(caught.value)


def test_samples_depend_on_the_seed_alone(model: aepipe.Model) -> None:
    assert model.sample(10, seed=1).equals(model.sample(10, seed=1))
    assert not model.sample(10, seed=1).equals(model.sample(10, seed=2))
    assert not model.sample(10, seed=1).equals(model.sample(10, seed=1, prior="normal"))


def test_a_model_that_is_not_there_is_named(trained_cells: Path) -> None:
    with pytest.raises(BundleNotFound, match="challenger"):
        aepipe.load(trained_cells / "exported" / "cells@challenger")


def test_images_are_encoded_and_reconstructed_in_their_bytes(trained_digits: Path) -> None:
    model = aepipe.load(trained_digits / "exported" / "digits")
    frame = pd.read_parquet(trained_digits / "dt=2026-01-07" / "part-0.parquet", partitioning=None)

    expected = model.reconstruct(frame)

    pixels = [np.frombuffer(scan, np.uint8).astype(float) for scan in frame["scan"]]
    found = [np.frombuffer(scan, np.uint8).astype(float) for scan in expected["scan"]]
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(pixels, found, strict=True)]) > 0.6
    assert model.encode(frame).shape == (len(frame), 16)
