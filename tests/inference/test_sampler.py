"""Sampling through hand-made graphs: the right numbers, in the types of the source."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.text import TokenChoice
from aepipe.errors import BundleNotFound, OptionInvalid
from aepipe.inference import sampler
from aepipe.inference.counter_rng import noise
from aepipe.inference.sampler import draw
from aepipe.layout import FIRST_VALUE
from tests.support.linear_bundle import make_bundle, numbers, pictures, weights


def source(rows: int = 400) -> pa.Table:
    """Generate a key, floats, an integer and a category."""
    generator = np.random.default_rng(0)
    colours = pa.array(generator.choice(["red", "green", "blue"], rows)).dictionary_encode()
    table = numbers(rows, columns=2)
    return table.append_column("count", pa.array(generator.integers(0, 9, rows), pa.int16())).append_column(
        "colour", colours
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle"), source(), data={"keys": ["id"]})


def drawn(bundle: Bundle, rows: int, **options: object) -> pa.Table:
    batches = list(draw(bundle, rows, **{"seed": 3, **options}))  # type: ignore[arg-type]
    return pa.Table.from_batches(batches).unify_dictionaries()


def test_rows_are_the_outputs_of_the_graphs_for_the_noise(bundle: Bundle) -> None:
    _, prior = bundle.part("prior")
    _, sample = bundle.part("sampler")
    z = sum(noise(port, stream="prior", seed=3, start=0, rows=50) for port in prior.inputs)
    eps, u = (noise(port, stream="sampler", seed=3, start=0, rows=50) for port in sample.inputs[1:])
    expected = {"num": z @ weights(3).T + eps, "cat": FIRST_VALUE + np.rint(u).astype(np.int32)}

    found = drawn(bundle, 50)

    wanted = pa.Table.from_batches([bundle.encoding.decode(expected)])
    assert found["count"].equals(wanted["count"])
    assert found["colour"].to_pylist() == wanted["colour"].to_pylist()
    np.testing.assert_allclose(found["a"], wanted["a"], rtol=1e-5, atol=1e-6)


def test_samples_have_the_modelled_columns_in_source_types(bundle: Bundle) -> None:
    found = drawn(bundle, 10)

    assert found.schema.names == ["a", "b", "count", "colour"]
    assert found.schema.types == source().select(found.schema.names).schema.types


def test_a_row_does_not_depend_on_the_number_of_rows_drawn(bundle: Bundle) -> None:
    assert drawn(bundle, 3000).slice(0, 17).equals(drawn(bundle, 17))


@pytest.mark.parametrize("start", [1, 2047, 2048, 2500])
def test_drawing_can_start_at_any_row(bundle: Bundle, start: int) -> None:
    whole = drawn(bundle, 5000)

    assert drawn(bundle, 5000 - start, start=start).equals(whole.slice(start))


def test_no_rows_have_the_schema_of_some(bundle: Bundle) -> None:
    assert drawn(bundle, 0).schema.equals(drawn(bundle, 1).schema)
    assert drawn(bundle, 0).num_rows == 0


def test_batches_are_bounded(bundle: Bundle) -> None:
    sizes = [batch.num_rows for batch in draw(bundle, 5000, seed=0)]

    assert sizes == [2048, 2048, 904]
    assert max(sizes) == sampler.BLOCK_ROWS


def test_seeds_and_priors_draw_other_rows(bundle: Bundle) -> None:
    tables = [drawn(bundle, 20), drawn(bundle, 20, seed=4), drawn(bundle, 20, prior="normal")]

    assert not any(one.equals(other) for one, other in itertools.pairwise(tables))


def test_a_temperature_is_refused_for_a_model_without_texts(bundle: Bundle) -> None:
    with pytest.raises(OptionInvalid, match=r"cannot take temperature and top_k: expected a model with a text column"):
        next(draw(bundle, 1, seed=0, tokens=TokenChoice(temperature=0.5, top_k=3)))


def test_a_missing_sampler_is_reported_with_the_parts_of_the_bundle(tmp_path: Path) -> None:
    images = make_bundle(tmp_path, pictures(20), columns={"scan": {"shape": [1, 2, 2]}})

    with pytest.raises(BundleNotFound, match="has no part 'prior'"):
        next(draw(images, 1, seed=0))
