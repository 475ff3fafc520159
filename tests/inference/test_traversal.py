"""Walks where encoder and decoder are the identity, so that what comes out is known."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.errors import OptionInvalid, SchemaMismatch
from aepipe.inference.traversal import Walker
from aepipe.tables.schema_check import infer
from tests.support.linear_bundle import make_bundle, numbers

Arrays = Mapping[str, np.ndarray]


def _run(part: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """z is the row itself; a latent of training was drawn from N(0, 1)."""
    answers = {"encoder": ("z", "num"), "decoder": ("num", "z"), "prior": ("z", "eps")}
    to, of = answers[part]
    return {to: arrays[of]}


def _walker(bundle: Bundle) -> Walker:
    return Walker(bundle, encode=lambda rows: bundle.encoding.encode_table(rows, rows=1_000), run=_run)


@pytest.fixture
def table() -> pa.Table:
    return numbers(200, columns=2)


@pytest.fixture
def walker(tmp_path: Path, table: pa.Table) -> Walker:
    return _walker(make_bundle(tmp_path, table, data={"keys": ["id"]}))


def matrix(table: pa.Table) -> np.ndarray:
    return np.stack([table[name].to_numpy() for name in "ab"], axis=1)


def test_an_interpolation_has_the_rows_between_two_each_pair_by_itself(walker: Walker, table: pa.Table) -> None:
    first, last = table.slice(0, 3), table.slice(3, 3)

    walk = walker.interpolate(first, last, steps=5, how="lerp")

    t = np.linspace(0, 1, 5)[None, :, None]
    wanted = (1 - t) * matrix(first)[:, None] + t * matrix(last)[:, None]
    np.testing.assert_allclose(matrix(walk), wanted.reshape(15, 2), atol=1e-6)
    assert walk["walk_row"].to_pylist() == np.repeat(range(3), 5).tolist()
    assert walk["walk_step"].to_pylist() == list(range(5)) * 3
    assert walk["walk_share"].to_pylist() == [0, 0.25, 0.5, 0.75, 1] * 3
    assert walk.schema.field("a").type == table.schema.field("a").type


def test_a_shift_adds_the_attribute_so_many_times(walker: Walker, table: pa.Table) -> None:
    having, lacking = table.slice(0, 50), table.slice(50)
    vector = walker.attribute_vector((having, lacking), table)

    walk = walker.shift(table.slice(7, 2), vector, amounts=[0, 0.5])

    by = matrix(having).astype(float).mean(axis=0) - matrix(lacking).astype(float).mean(axis=0)
    found = matrix(walk).reshape(2, 2, 2)
    np.testing.assert_allclose(found[:, 0], matrix(table.slice(7, 2)), atol=1e-6)
    np.testing.assert_allclose(found[:, 1], matrix(table.slice(7, 2)) + 0.5 * by, atol=1e-6)
    assert walk["walk_amount"].to_pylist() == [0, 0.5, 0, 0.5]


def test_a_condition_parts_the_rows_like_two_tables_do(walker: Walker, table: pa.Table) -> None:
    found = walker.attribute_vector("id < 50", table)

    np.testing.assert_allclose(found, walker.attribute_vector((table.slice(0, 50), table.slice(50)), table))


def test_a_traversal_runs_over_what_the_prior_draws(walker: Walker, table: pa.Table) -> None:
    walk = walker.traverse(table.slice(0, 2), dimensions=["z_001"], steps=3)

    np.testing.assert_allclose(walk["walk_value"].to_numpy()[:3], [-1.96, 0, 1.96], atol=0.06)
    np.testing.assert_allclose(walk["b"].to_numpy(), walk["walk_value"].to_numpy(), atol=1e-6)
    np.testing.assert_allclose(walk["a"].to_numpy(), np.repeat(matrix(table)[:2, 0], 3), atol=1e-6)
    assert set(walk["walk_dimension"].to_pylist()) == {"z_001"}
    assert walker.traverse(table.slice(0, 2), steps=3).num_rows == 2 * 2 * 3


def test_rows_keep_their_conditions_and_an_interpolation_those_of_its_first_row(tmp_path: Path) -> None:
    table = numbers(200)
    job = parse_job(
        {"name": "t", "data": {"path": ".", "keys": ["id"]}, "columns": {"c": "condition"}},
        source=tmp_path / "job.toml",
    )
    encoding = fit(infer(table.schema, job, table), table.to_batches())
    walker = _walker(replace(make_bundle(tmp_path, table.drop_columns(["c"])), encoding=encoding))
    first, last = table.slice(0, 2), table.slice(5, 2)

    between, traversed = walker.interpolate(first, last, steps=3), walker.traverse(first, steps=2)

    assert between["c"].to_pylist() == pytest.approx(np.repeat(first["c"].to_numpy(), 3))
    assert traversed["c"].to_pylist() == pytest.approx(np.repeat(first["c"].to_numpy(), 4))


def test_rows_that_cannot_be_encoded_are_null(walker: Walker, table: pa.Table) -> None:
    spoilt = table.slice(0, 2).set_column(1, "a", pa.array([np.inf, 0.0], pa.float32()))

    one, other = walker.interpolate(spoilt, table.slice(2, 2), steps=2), walker.traverse(spoilt, steps=2)

    assert one["a"].is_null().to_pylist() == [True, True, False, False]
    assert other["b"].is_null().to_pylist() == [True] * 4 + [False] * 4


def test_no_rows_are_answered_with_none(walker: Walker, table: pa.Table) -> None:
    none = table.slice(0, 0)

    walk = walker.interpolate(none, none)

    assert walk.num_rows == 0
    assert walk.column_names == ["a", "b", "walk_row", "walk_step", "walk_share"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda w, t: w.traverse(t, dimensions=["z_01"]), "no latent 'z_01'; did you mean 'z_001'"),
        (lambda w, t: w.traverse(t, steps=1), "2 steps at least, found 1"),
        (lambda w, t: w.interpolate(t, t.slice(1)), "are as many, found 200 and 199"),
        (lambda w, t: w.interpolate(t, t, how="arc"), "slerp or lerp, found 'arc'"),
        (lambda w, t: w.attribute_vector("id < 0", t), "id < 0 holds for none of 200 rows"),
        (lambda w, t: w.attribute_vector("id >= 0", t), "id >= 0 holds for all of 200 rows"),
    ],
)
def test_what_cannot_be_walked_is_refused_in_a_sentence(walker: Walker, table: pa.Table, ask, said: str) -> None:
    with pytest.raises(OptionInvalid, match=said):
        ask(walker, table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "code"}, "are codes"),
        ({"kind": "binary"}, "are bits"),
        ({"is_written": False}, "not one vector a row"),
    ],
)
def test_latents_that_are_no_real_vectors_are_refused(tmp_path: Path, table: pa.Table, change, said: str) -> None:
    bundle = make_bundle(tmp_path, table, data={"keys": ["id"]})
    manifest = bundle.manifest.model_copy(update={"latent": bundle.manifest.latent.model_copy(update=change)})

    with pytest.raises(OptionInvalid, match=said):
        _walker(Bundle(bundle.path, manifest, bundle.encoding, bundle.calibration, bundle.golden, bundle.files))


def test_a_source_that_uses_the_name_of_an_index_column_is_refused(tmp_path: Path) -> None:
    table = numbers(60, columns=2).rename_columns(["id", "a", "walk_step"])
    walker = _walker(make_bundle(tmp_path, table, data={"keys": ["id"]}))

    with pytest.raises(SchemaMismatch, match="'walk_step', a name of a walk"):
        walker.interpolate(table, table)
