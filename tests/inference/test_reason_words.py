"""Cells of rows in words: what training never saw, broken rules, and differences from the reconstruction."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.encoding.relations.find import find_relations
from aepipe.inference.reason_words import TOGETHER, broken_rules, describe_cells
from aepipe.inference.related_rows import relation_files
from aepipe.tables.kind_inference import infer
from tests.support.bundles import make_bundle

ROWS = 400


def _table(**changes: list[object]) -> pa.Table:
    generator = np.random.default_rng(0)
    net, vat = generator.integers(100, 900, (2, ROWS)) / 4
    columns = {
        "net": pa.array(net),
        "vat": pa.array(vat),
        "gross": pa.array(net + vat),
        "shop": pa.array(generator.choice(["north", "south"], ROWS).tolist()),
        "when": pa.array([datetime(2026, 1, 1 + day) for day in generator.integers(0, 28, ROWS).tolist()]),
    }
    rows = pa.table(columns).slice(5, 1) if changes else pa.table(columns)
    for name, values in changes.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, rows[name].type))
    return rows


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with the encoding and the rules of the table; no graph runs here."""
    job = parse_job({"name": "sales", "data": {"path": "sales"}}, source=Path("job.toml"))
    encoding = fit(infer(_table().schema, job, _table()), _table().to_batches())
    opened = Bundle.open(make_bundle(tmp_path_factory.mktemp("bundle")))
    files = dict(opened.files) | dict(relation_files(find_relations(encoding, _table(), seed=0)))
    return replace(opened, encoding=encoding, files=files)


def _words(bundle: Bundle, expected: pa.Table | None = None, **changes: list[object]) -> dict[str, str]:
    row = _table(**changes)
    return describe_cells(bundle, row, row if expected is None else expected)


def test_values_that_training_never_had_are_named(bundle: Bundle) -> None:
    assert _words(bundle, shop=["west"])["shop"] == "never seen in training"
    assert _words(bundle, vat=[1e6])["vat"] == "above all training values"
    assert _words(bundle, vat=[-1e6])["vat"] == "below all training values"


def test_a_broken_rule_names_all_of_its_columns(bundle: Bundle) -> None:
    row = _table(gross=[99.75])

    (columns,) = [columns for title, columns in broken_rules(bundle, row).items() if "gross" in title]
    words = describe_cells(bundle, row, row)

    assert set(columns) == {"net", "vat", "gross"}
    assert all(words[name].startswith("breaks ") and "gross" in words[name] for name in columns)
    assert broken_rules(bundle, _table().slice(5, 1)) == {}


def test_a_value_that_equals_its_reconstruction_is_unusual_with_the_others(bundle: Bundle) -> None:
    assert set(_words(bundle, shop=["north"]).values()) == {TOGETHER}


def test_the_direction_of_a_difference_is_told(bundle: Bundle) -> None:
    row = _table(shop=["north"])
    higher = _table(shop=["south"], net=[500.0], when=[datetime(2026, 2, 1)])

    assert _words(bundle, higher, shop=["north"]) == {
        "net": "too low given the other columns",
        "vat": TOGETHER,
        "gross": TOGETHER,
        "shop": "the other columns suggest another value",
        "when": "earlier than the other columns suggest",
    }
    assert describe_cells(bundle, row, _table(net=[1.0]))["net"] == "too high given the other columns"
