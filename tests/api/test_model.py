"""The Python interface: pandas in, pandas out; Arrow in, Arrow out."""

import xml.etree.ElementTree as ET
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aepipe
from aepipe.errors import ArgumentInvalid, BundleNotFound, JobInvalid, SchemaMismatch
from aepipe.jobs.calibrate import calibrate


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


def test_no_rows_give_no_rows(model: aepipe.Model, table: pa.Table) -> None:
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


WRONG_CALLS = {
    "rows: expected a whole number of at least 0, got -5": lambda model: model.sample(-5),
    "rows: expected a whole number of at least 0, got 2.5": lambda model: model.sample(2.5),
    "rows: expected a whole number of at least 0, got True": lambda model: model.sample(True),
    "rows: expected a whole number of at least 0, got None": lambda model: model.sample(None),
    "seed: expected a whole number from 0 to 9223372036854775807, got -1": lambda model: model.sample(2, seed=-1),
    "prior: expected mixture or normal, got 'uniform'": lambda model: model.sample(2, prior="uniform"),
    "where: expected text such as": lambda model: model.sample(2, where={"diagnosis": "benign"}),
    "format: expected pandas or arrow or polars": lambda model: model.sample(2, format="csv"),
    "steps: expected a whole number of at least 2, got 1": lambda model: model.traverse(None, steps=1),
    "dimensions: expected text": lambda model: model.traverse(None, [3]),
    "how: expected lerp or slerp, got 'arc'": lambda model: model.interpolate(None, None, how="arc"),
    "amount: expected a finite number, got 'far'": lambda model: model.shift(None, "mean_area > 3", "far"),
    "attribute: expected a condition": lambda model: model.shift(None, 3),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_a_wrong_argument_is_one_sentence(model: aepipe.Model, message: str) -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        WRONG_CALLS[message](model)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["encode", "score", "reconstruct", "explain", "step_losses", "fill", "traverse"])
def test_every_method_refuses_what_is_not_a_table(model: aepipe.Model, method: str) -> None:
    with pytest.raises(TypeError, match=r"rows are not a table: expected .* got a dict"):
        getattr(model, method)({"mean_radius": 1.0})


def test_numpy_whole_numbers_are_numbers(model: aepipe.Model) -> None:
    assert len(model.sample(np.int64(3), seed=np.uint8(1))) == 3
    assert model.sample(0).columns.equals(model.sample(3).columns)


def test_samples_are_arrow_on_request(model: aepipe.Model) -> None:
    drawn = model.sample(5, seed=1, format="arrow")

    assert isinstance(drawn, pa.Table)
    assert drawn.to_pandas().equals(model.sample(5, seed=1))


def test_a_row_without_score_has_no_flag(model: aepipe.Model, table: pa.Table) -> None:
    frame = table.to_pandas().head(3)
    frame.loc[1, "mean_radius"] = np.inf

    flags = model.score(frame)["is_anomaly"]

    assert flags.isna().tolist() == [False, True, False]
    assert model.score(pa.Table.from_pandas(frame))["is_anomaly"].null_count == 1
    assert model.score(frame.head(1))["is_anomaly"].dtype == bool


def test_explain_agrees_with_the_reasons_of_the_score(model: aepipe.Model, table: pa.Table) -> None:
    frame = table.to_pandas().head(2)

    found, scored = model.explain(frame), model.score(frame)

    assert isinstance(found, pd.DataFrame)
    for row in range(2):
        lines = found[found["row"] == row]
        reasons = lines.dropna(subset="reason").sort_values("reason")
        assert reasons["column"].tolist() == scored.iloc[row][["reason_1", "reason_2", "reason_3"]].tolist()
        np.testing.assert_allclose(reasons["z"].iloc[0], scored["reason_1_z"].iloc[row], rtol=1e-4)
        assert set(lines["column"]) == set(model.bundle.encoding.layout.columns)
    assert model.explain(table.slice(0, 0)).num_rows == 0


def test_empty_frames_have_empty_answers(model: aepipe.Model, table: pa.Table) -> None:
    empty = pd.DataFrame(columns=table.column_names)

    assert len(model.score(empty)) == 0
    assert len(model.encode(empty)) == 0
    with pytest.raises(SchemaMismatch, match="has no column 'mean_radius'"):
        model.score(pd.DataFrame())


def test_a_column_of_another_type_is_named_with_both_types(model: aepipe.Model, table: pa.Table) -> None:
    frame = table.to_pandas().assign(mean_radius="wide")

    with pytest.raises(
        SchemaMismatch, match=r"has column 'mean_radius' as .*string, but the model was trained on double"
    ):
        model.score(frame)


def test_a_job_opens_its_champion_with_its_calibration(scored_cells: Path, table: pa.Table) -> None:
    by_bundle = aepipe.load(scored_cells.parent / "exported" / "cells")

    for path in (scored_cells, str(scored_cells), scored_cells.parent):
        assert aepipe.load(path).version == by_bundle.version
    assert aepipe.load(scored_cells).score(table).equals(by_bundle.score(table))
    calibrate(scored_cells, partitions=["dt=2026-01-06"])
    active = aepipe.load(scored_cells).bundle.calibration
    assert active.threshold != by_bundle.bundle.calibration.threshold
    assert active == aepipe.load(by_bundle.bundle.path, outputs=scored_cells.parent / "out").bundle.calibration


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (5, ArgumentInvalid, r"path: expected a path such as .*, got 5"),
        (None, ArgumentInvalid, "path: expected a path"),
        ("nowhere/job.toml", JobInvalid, "file does not exist"),
        ("nowhere", BundleNotFound, "does not exist"),
    ],
)
def test_load_says_what_it_expects(path: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aepipe.load(path)  # type: ignore[arg-type]


def test_load_refuses_an_unknown_device(trained_cells: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="device: expected auto or cuda or cpu, got 'gpu'"):
        aepipe.load(trained_cells / "exported" / "cells", device="gpu")  # type: ignore[arg-type]


def test_the_package_lists_its_public_names() -> None:
    assert {"Model", "load", "errors", "__version__"} <= set(dir(aepipe))
    assert all(getattr(aepipe, name) is not None for name in dir(aepipe))
    assert aepipe.errors.AepipeError.__name__ == "AepipeError"


def test_a_model_says_what_it_is(model: aepipe.Model) -> None:
    text = repr(model)

    for fact in (model.version, "family ae", "25 more columns", "latents 8", "alpha 0.05", "trained on 176 rows"):
        assert fact in text
    assert "mean_radius" in text
    assert "\n" not in text


def test_the_notebook_page_of_a_model_is_escaped(model: aepipe.Model) -> None:
    shown = copy(model)
    shown._tables = copy(model._tables)
    shown._tables.bundle = replace(model.bundle, path=model.bundle.path.with_name("<script>a&b"))

    page = shown._repr_html_()

    assert "<script>" not in page
    assert ET.fromstring(page).findtext(".//td") == "cells/<script>a&b"
