"""Reasons in words: unseen values, broken rules, and differences from the reconstruction."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import FILE, DriftReference
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.encoding.relations.find import find_relations
from aepipe.inference.reason_words import TOGETHER, CellDescriber
from aepipe.inference.related_rows import relation_files
from aepipe.layout import LatentSpace
from aepipe.tables.kind_inference import infer
from aepipe.tables.struct_fields import flatten_table
from aepipe.tables.unification import parse_text_columns
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
    """Return a bundle with the encoding and the rules of the table; its graphs are not run."""
    job = parse_job({"name": "sales", "data": {"path": "sales"}}, source=Path("job.toml"))
    encoding = fit(infer(_table().schema, job, _table()), _table().to_batches())
    opened = Bundle.open(make_bundle(tmp_path_factory.mktemp("bundle")))
    files = dict(opened.files) | dict(relation_files(find_relations(encoding, _table(), seed=0)))
    return replace(opened, encoding=encoding, files=files)


def _words(bundle: Bundle, expected: pa.Table | None = None, **changes: list[object]) -> dict[str, str]:
    row = _table(**changes)
    return CellDescriber(bundle).describe(row, row if expected is None else expected)


def test_values_that_training_never_had_are_named(bundle: Bundle) -> None:
    assert _words(bundle, shop=["west"])["shop"] == "never seen in training"
    assert _words(bundle, vat=[1e6])["vat"] == "above all training values"
    assert _words(bundle, vat=[-1e6])["vat"] == "below all training values"


def test_a_broken_rule_names_all_of_its_columns(bundle: Bundle) -> None:
    row = _table(gross=[99.75])

    describer = CellDescriber(bundle)
    (columns,) = [columns for title, columns in describer.broken_rules(row).items() if "gross" in title]
    words = describer.describe(row, row)

    assert set(columns) == {"net", "vat", "gross"}
    assert all(words[name].startswith("breaks ") and "gross" in words[name] for name in columns)
    assert describer.broken_rules(_table().slice(5, 1)) == {}


def test_a_value_that_equals_its_reconstruction_is_unusual_with_the_others(bundle: Bundle) -> None:
    assert set(_words(bundle, shop=["north"]).values()) == {TOGETHER}


def test_the_direction_of_a_difference_is_stated(bundle: Bundle) -> None:
    higher = _table(shop=["south"], net=[500.0], when=[datetime(2026, 2, 1)])

    assert _words(bundle, higher, shop=["north"]) == {
        "net": "too low given the other columns",
        "vat": TOGETHER,
        "gross": TOGETHER,
        "shop": "the other columns suggest another value",
        "when": "earlier than the other columns suggest",
    }
    assert _words(bundle, _table(net=[1.0]), shop=["north"])["net"] == "too high given the other columns"


def _every_kind() -> pa.Table:
    """Return rows with columns of every kind; the first is changed by the tests."""
    generator = np.random.default_rng(1)
    old = ["old"] * 3 + ["north", "south"] * ROWS
    return pa.table(
        {
            "count": pa.array(generator.permutation(ROWS)),
            "price": pa.array([Decimal(int(each)).scaleb(-2) for each in range(ROWS)], pa.decimal128(9, 2)),
            "wait": pa.array([timedelta(seconds=each) for each in range(ROWS)], pa.duration("s")),
            "text": pa.array([f"{each}.5" for each in range(ROWS)]),
            "ok": pa.array(generator.random(ROWS) < 0.5),
            "shop": pa.array(generator.permutation(old[:ROWS]).tolist()),
            "when": pa.array([datetime(2026, 1, 1 + each % 28, each % 24) for each in range(ROWS)]),
            "clock": pa.array([time(8 + each % 12, 0) for each in range(ROWS)]),
            "vector": pa.array(generator.uniform(-1, 1, (ROWS, 3)).tolist()),
            "tags": pa.array([["red", "blue"][: 1 + each % 2] for each in range(ROWS)]),
            "place": pa.array([{"zip": 100 + each % 100, "side": "lr"[each % 2]} for each in range(ROWS)]),
            "maybe": pa.array([None if each % 10 == 0 else each / 7 for each in range(ROWS)]),
        }
    )


USUAL: dict[str, object] = {
    "count": 200,
    "price": Decimal("2.00"),
    "wait": timedelta(seconds=200),
    "text": "200.5",
    "ok": True,
    "shop": "north",
    "when": datetime(2026, 1, 14, 12),
    "clock": time(12),
    "vector": [0.0, 0.0, 0.0],
    "tags": ["red"],
    "place": {"zip": 150, "side": "l"},
    "maybe": 20.0,
}
HIGH = "too high given the other columns"
ANOTHER = "the other columns suggest another value"
CASES: list[tuple[str, object, str, str]] = [
    ("count", 5_000, "count", "above all training values"),
    ("count", 300, "count", HIGH),
    ("count", 10, "count", "too low given the other columns"),
    ("count", 201, "count", TOGETHER),
    ("price", Decimal("90.00"), "price", "above all training values"),
    ("price", Decimal("3.00"), "price", HIGH),
    ("wait", timedelta(days=9), "wait", "above all training values"),
    ("wait", timedelta(seconds=300), "wait", "too long given the other columns"),
    ("wait", timedelta(seconds=100), "wait", "too short given the other columns"),
    ("text", "9000.5", "text", "above all training values"),
    ("text", "300.5", "text", HIGH),
    ("ok", False, "ok", ANOTHER),
    ("shop", "old", "shop", "rare value: in 0.75 % of training rows"),
    ("shop", "south", "shop", ANOTHER),
    ("shop", "west", "shop", "never seen in training"),
    ("when", datetime(2027, 1, 1), "when", "later than all training values"),
    ("when", datetime(2026, 1, 20), "when", "later than the other columns suggest"),
    ("clock", time(23), "clock", "later in the day than all training values"),
    ("clock", time(9), "clock", "earlier than the other columns suggest"),
    ("vector", [0.0, 7.0, 0.0], "vector", "vector[1] is above all training values"),
    ("vector", [0.0, 0.0, -0.9], "vector", "vector[2] is too low given the other columns"),
    ("tags", ["red", "blue"], "tags[blue]", ANOTHER),
    ("tags", ["red", "green"], "tags[other members]", "never seen in training"),
    ("place", {"zip": 9_000, "side": "l"}, "place.zip", "above all training values"),
    ("place", {"zip": 180, "side": "l"}, "place.zip", HIGH),
    ("place", {"zip": 150, "side": "?"}, "place.side", "never seen in training"),
    ("maybe", None, "maybe", "missing"),
    ("maybe", 40.0, "maybe", HIGH),
]


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle with the encoding and drift reference of columns of every kind; its graphs are not run."""
    sections = {"name": "kinds", "data": {"path": "rows"}, "columns": {"text": "number"}}
    rows = flatten_table(_every_kind())
    schema = infer(rows.schema, parse_job(sections, source=Path("job.toml")), rows)
    encoding = fit(schema, (parse_text_columns(each, schema.arrow) for each in rows.to_batches()))
    arrays = encoding.encode_table(rows, rows=ROWS).arrays
    latent = LatentSpace(names=("z_000",))
    reference = DriftReference.fit(encoding, latent, [arrays], {"score": np.zeros(2), "z": np.zeros((2, 1))})
    opened = Bundle.open(make_bundle(tmp_path_factory.mktemp("bundle")))
    return replace(opened, encoding=encoding, files=dict(opened.files) | {FILE: reference.to_json()})


def _one_row(**changes: object) -> pa.Table:
    schema = _every_kind().schema
    return pa.table({name: pa.array([value], schema.field(name).type) for name, value in (USUAL | changes).items()})


def _rebuilt(bundle: Bundle, row: pa.Table) -> pa.Table:
    """Return a row as a perfect model rebuilds it."""
    arrays = bundle.encoding.encode_table(row, rows=1).arrays
    return pa.Table.from_batches([bundle.encoding.decode(arrays)])


@pytest.mark.parametrize(("column", "value", "described", "words"), CASES, ids=lambda case: str(case))
def test_the_words_fit_the_value_whatever_the_kind_of_the_column(
    every_kind: Bundle, column: str, value: object, described: str, words: str
) -> None:
    found = CellDescriber(every_kind).describe(_one_row(**{column: value}), _rebuilt(every_kind, _one_row()))

    assert found[described] == words
    assert set(found) == set(every_kind.encoding.layout.columns)
    assert all(found.values())
    assert {text for name, text in found.items() if name.partition(".")[0].partition("[")[0] != column} == {TOGETHER}


def test_a_value_where_the_others_suggest_none_says_so(every_kind: Bundle) -> None:
    found = CellDescriber(every_kind).describe(_one_row(), _rebuilt(every_kind, _one_row(maybe=None)))

    assert found["maybe"] == "the other columns suggest a missing value"


def test_a_number_at_the_end_of_its_distribution_is_not_called_usual(every_kind: Bundle) -> None:
    row = _one_row(count=398)

    assert CellDescriber(every_kind).describe(row, _rebuilt(every_kind, row))["count"] == (
        "among the highest 3.2 % of training values"
    )
