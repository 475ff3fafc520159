"""Latent traversals through identity encoder and decoder, so that results are known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.errors import ArgumentInvalid, OptionInvalid, SchemaMismatch
from aepipe.inference.traversal import Traverser
from aepipe.tables.schema_check import infer
from tests.support.linear_bundle import make_bundle, numbers

Arrays = Mapping[str, np.ndarray]


def _run(part: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Run a part: z is the row itself, and the prior draws from N(0, 1)."""
    answers = {"encoder": ("z", "num"), "decoder": ("num", "z"), "prior": ("z", "eps")}
    to, of = answers[part]
    return {to: arrays[of]}


def _traverser(bundle: Bundle) -> Traverser:
    return Traverser(bundle, encode=lambda rows: bundle.encoding.encode_table(rows, rows=1_000), run=_run)


@pytest.fixture
def table() -> pa.Table:
    return numbers(200, columns=2)


@pytest.fixture
def traverser(tmp_path: Path, table: pa.Table) -> Traverser:
    return _traverser(make_bundle(tmp_path, table, data={"keys": ["id"]}))


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in "ab"], axis=1)


def test_an_interpolation_connects_each_pair_of_rows(traverser: Traverser, table: pa.Table) -> None:
    first, last = table.slice(0, 3), table.slice(3, 3)

    walk = traverser.interpolate(first, last, steps=5, how="lerp")

    t = np.linspace(0, 1, 5)[None, :, None]
    wanted = (1 - t) * matrix(first)[:, None] + t * matrix(last)[:, None]
    np.testing.assert_allclose(matrix(walk), wanted.reshape(15, 2), atol=1e-6)
    assert walk["walk_row"].to_pylist() == np.repeat(range(3), 5).tolist()
    assert walk["walk_step"].to_pylist() == list(range(5)) * 3
    assert walk["walk_share"].to_pylist() == [0, 0.25, 0.5, 0.75, 1] * 3
    assert walk.schema.field("a").type == table.schema.field("a").type


def test_a_shift_adds_multiples_of_the_attribute(traverser: Traverser, table: pa.Table) -> None:
    having, lacking = table.slice(0, 50), table.slice(50)
    vector = traverser.attribute_vector((having, lacking), table)

    walk = traverser.shift(table.slice(7, 2), vector, amounts=[0, 0.5])

    by = matrix(having).astype(float).mean(axis=0) - matrix(lacking).astype(float).mean(axis=0)
    found = matrix(walk).reshape(2, 2, 2)
    np.testing.assert_allclose(found[:, 0], matrix(table.slice(7, 2)), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], matrix(table.slice(7, 2)) + 0.5 * by, atol=1e-6)
    assert walk["walk_amount"].to_pylist() == [0, 0.5, 0, 0.5]


def test_a_condition_splits_the_rows_like_two_tables(traverser: Traverser, table: pa.Table) -> None:
    found = traverser.attribute_vector("id < 50", table)

    np.testing.assert_allclose(found, traverser.attribute_vector((table.slice(0, 50), table.slice(50)), table))


def test_a_traversal_covers_the_range_of_the_prior(traverser: Traverser, table: pa.Table) -> None:
    walk = traverser.traverse(table.slice(0, 2), dimensions=["z_001"], steps=3)

    np.testing.assert_allclose(walk["walk_value"].to_numpy()[:3], [-1.96, 0, 1.96], atol=0.06)
    np.testing.assert_allclose(walk["b"].to_numpy(), walk["walk_value"].to_numpy(), atol=1e-6)
    np.testing.assert_allclose(walk["a"].to_numpy(), np.repeat(matrix(table)[:2, 0], 3), atol=1e-6)
    assert set(walk["walk_dimension"].to_pylist()) == {"z_001"}
    assert traverser.traverse(table.slice(0, 2), steps=3).num_rows == 2 * 2 * 3


def test_rows_keep_their_conditions_and_interpolations_those_of_the_first_row(tmp_path: Path) -> None:
    table = numbers(200)
    job = parse_job(
        {"name": "t", "data": {"path": ".", "keys": ["id"]}, "columns": {"c": "condition"}},
        source=tmp_path / "job.toml",
    )
    encoding = fit(infer(table.schema, job, table), table.to_batches())
    traverser = _traverser(replace(make_bundle(tmp_path, table.drop_columns(["c"])), encoding=encoding))
    first, last = table.slice(0, 2), table.slice(5, 2)

    between, traversed = traverser.interpolate(first, last, steps=3), traverser.traverse(first, steps=2)

    assert between["c"].to_pylist() == pytest.approx(np.repeat(first["c"].to_numpy(), 3))
    assert traversed["c"].to_pylist() == pytest.approx(np.repeat(first["c"].to_numpy(), 4))


def test_rows_that_cannot_be_encoded_are_null(traverser: Traverser, table: pa.Table) -> None:
    spoilt = table.slice(0, 2).set_column(1, "a", pa.array([np.inf, 0.0], pa.float32()))

    one, other = traverser.interpolate(spoilt, table.slice(2, 2), steps=2), traverser.traverse(spoilt, steps=2)

    assert one["a"].is_null().to_pylist() == [True, True, False, False]
    assert other["b"].is_null().to_pylist() == [True] * 4 + [False] * 4


def test_no_rows_give_no_rows(traverser: Traverser, table: pa.Table) -> None:
    none = table.slice(0, 0)

    walk = traverser.interpolate(none, none)

    assert walk.num_rows == 0
    assert walk.column_names == ["a", "b", "walk_row", "walk_step", "walk_share"]


@pytest.mark.parametrize(
    ("traverse", "message"),
    [
        (lambda w, t: w.traverse(t, dimensions=["z_01"]), "no latent 'z_01'; did you mean 'z_001'"),
        (lambda w, t: w.traverse(t, steps=1), "steps: expected at least 2, got 1"),
        (lambda w, t: w.interpolate(t, t.slice(1)), "last: expected 200 rows like first, got 199"),
        (lambda w, t: w.interpolate(t, t, how="arc"), "how: expected slerp or lerp, got 'arc'"),
        (lambda w, t: w.attribute_vector("id < 0", t), "id < 0 holds for none of 200 rows"),
        (lambda w, t: w.attribute_vector("id >= 0", t), "id >= 0 holds for all of 200 rows"),
    ],
)
def test_impossible_traversals_are_refused(traverser: Traverser, table: pa.Table, traverse, message: str) -> None:
    with pytest.raises((ArgumentInvalid, OptionInvalid), match=message):
        traverse(traverser, table)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"kind": "code"}, "codes"),
        ({"kind": "binary"}, "bits"),
        ({"is_written": False}, "several per row"),
    ],
)
def test_latents_that_are_not_real_vectors_are_refused(tmp_path: Path, table: pa.Table, change, found: str) -> None:
    bundle = make_bundle(tmp_path, table, data={"keys": ["id"]})
    manifest = bundle.manifest.model_copy(update={"latent": bundle.manifest.latent.model_copy(update=change)})

    with pytest.raises(OptionInvalid, match=f"expected one real vector per row, got {found}"):
        _traverser(Bundle(bundle.path, manifest, bundle.encoding, bundle.calibration, bundle.golden, bundle.files))


def test_a_source_that_uses_the_name_of_an_index_column_is_refused(tmp_path: Path) -> None:
    table = numbers(60, columns=2).rename_columns(["id", "a", "walk_step"])
    traverser = _traverser(make_bundle(tmp_path, table, data={"keys": ["id"]}))

    with pytest.raises(SchemaMismatch, match="'walk_step', which a traversal adds"):
        traverser.interpolate(table, table)
