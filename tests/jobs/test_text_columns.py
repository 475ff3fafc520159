"""Text that is a number or a date goes from `init` to samples as numbers and dates."""

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import ColumnSpec
from aepipe.encoding import fit
from aepipe.errors import SchemaMismatch
from aepipe.jobs.init import init
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.tables.kind_inference import infer
from tests.support.columns import make_job, schema_of

GERMAN = {"kind": "number", "format": "1.234,5"}


def texts(rows: int = 150, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    amounts = rng.lognormal(7, 1, rows).round(2)
    days = [dt.date(2025, 1, 1) + dt.timedelta(days=int(day)) for day in rng.integers(0, 300, rows)]
    return pa.table(
        {
            "price": [f"{amount:.2f}" if at % 50 else " " for at, amount in enumerate(amounts)],
            "german": [f"{amount:,.2f}".translate(str.maketrans(",.", ".,")) for amount in amounts],
            "day": [f"{day:%d.%m.%Y}" for day in days],
            "at": [f"{day}T10:00:00Z" for day in days],
            "zip": [f"0{value}" for value in rng.integers(1000, 1020, rows)],
            "word": [str(word) for word in rng.choice(["a", "b"], rows)],
            "same": ["x"] * rows,
            "none": pa.nulls(rows, pa.string()),
            "x": amounts + rng.normal(0, 1, rows),
        }
    )


def written(folder: Path, *tables: pa.Table) -> Path:
    for index, table in enumerate(tables):
        path = folder / "rows" / f"dt=2026-01-{index + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    return folder / "rows"


def test_init_proposes_numbers_and_dates_and_ignores_constants(tmp_path: Path) -> None:
    path = init(written(tmp_path, texts()), name="text", job_path=tmp_path / "job.toml").path

    columns = tomllib.loads(path.read_text())["columns"]
    assert columns == {
        "price": "number",
        "german": GERMAN,
        "day": {"kind": "datetime", "format": "%d.%m.%Y"},
        "at": {"format": "%Y-%m-%d"},
        "same": "ignore",
        "none": "ignore",
    }
    assert tomllib.loads(path.read_text())["data"]["event_time"] == "at"
    assert "constant: all 150 sampled values are 'x'" in path.read_text()
    assert "missing: all 150 sampled values are null" in path.read_text()


def test_without_a_word_of_the_job_text_is_a_category() -> None:
    schema = schema_of(texts())

    assert {column.name: column.kind for column in schema.columns if column.name != "x"} == dict.fromkeys(
        ["price", "german", "day", "at", "zip", "word", "same", "none"], "category"
    ) | {column.name: column.kind for column in schema.columns if column.kind == "ignore"}


@pytest.mark.parametrize(
    ("values", "notation", "kind"),
    [(["1.234,5", "2"], "1.234,5", "number"), (["31.12.2025"], "%d.%m.%Y", "datetime")],
)
def test_a_format_alone_decides_the_kind(values: list[str], notation: str, kind: str) -> None:
    table = pa.table({"x": values, "y": [1.0] * len(values)})

    schema = infer(table.schema, make_job({"x": {"format": notation}}), table)

    assert schema.columns[0].kind == kind


def test_text_trains_and_scores_as_its_parsed_values() -> None:
    table = texts().select(["german", "day", "x"])
    specs = {"german": GERMAN, "day": {"kind": "datetime", "format": "%d.%m.%Y"}}
    schema = schema_of(table, specs)
    encoding = fit(schema, table.to_batches())
    parsed = pa.table(
        {
            "german": [float(text.replace(".", "").replace(",", ".")) for text in table["german"].to_pylist()],
            "day": [dt.datetime.strptime(text, "%d.%m.%Y").date() for text in table["day"].to_pylist()],
            "x": table["x"],
        }
    )
    plain = fit(schema_of(parsed), parsed.to_batches())

    found, expected = encoding.encode(table.to_batches()[0]), plain.encode(parsed.to_batches()[0])

    assert np.array_equal(found.arrays["num"], expected.arrays["num"])
    assert np.array_equal(encoding.encode(parsed.to_batches()[0]).arrays["num"], expected.arrays["num"])
    decoded = encoding.decode(found.arrays)
    assert decoded.schema.types == [pa.float64(), pa.date32(), pa.float64()]
    assert decoded["day"].to_pylist() == parsed["day"].to_pylist()


def test_text_that_does_not_parse_is_missing_and_counted() -> None:
    table = pa.table({"x": ["1.5", None, "", "n/a", "2"] * 10, "y": range(50)})
    encoding = fit(schema_of(table, {"x": "number"}), table.to_batches())

    encoded = encoding.encode(table.to_batches()[0])

    assert encoded.unseen == {"x": 10}
    assert not encoded.invalid.any()
    assert np.isnan(encoded.arrays["num"][:5, 0]).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        (["a", "b"], "number", '0% of the text is written as 1234.5. Expected half: name it "category"'),
        (["1.234,5"] * 30, "number", '0% of the text is written as 1234.5. Expected half: set format = "1.234,5"'),
        (
            ["31.12.2025"] * 30,
            "datetime",
            '0% of the text is written as %Y-%m-%d. Expected half: set format = "%d.%m.%Y"',
        ),
        (["1"], {"kind": "number", "format": "%Y"}, "whose format '%Y' is unknown: expected one of 1234.5"),
        (["1"], {"format": "1:5"}, "whose format '1:5' is unknown: expected one of 1234.5"),
    ],
)
def test_text_of_another_notation_is_refused_with_the_remedy(values: list[str], spec: Any, message: str) -> None:
    table = pa.table({"x": values, "y": [1.0] * len(values)})

    with pytest.raises(SchemaMismatch) as caught:
        infer(table.schema, make_job({"x": spec}), table)

    assert message in str(caught.value)


def test_a_job_without_formats_has_the_digest_it_had() -> None:
    assert "format" not in ColumnSpec(kind="number").model_dump()
    assert ColumnSpec(kind="number", format="1.234,5").model_dump()["format"] == "1.234,5"


@pytest.mark.slow
def test_text_goes_through_all_commands(tmp_path: Path) -> None:
    data = written(tmp_path, *(texts(seed=seed) for seed in range(3)))
    path = init(data, name="text", job_path=tmp_path / "job.toml").path
    text = re.sub(r"(?m)^event_time = .*$", "", path.read_text()).replace("[train]", "[train]\nepochs = 2")
    text = text.replace("[data]", '[data]\nevent_time = "day"', 1)
    path.write_text(text.replace("[samples]", "[samples]\nrows = 30\nquality = {check = false}"))

    train(path)
    nights = score(path).nights
    drawn = pq.read_table(sample(path, partition="dt=2026-01-03").path, partitioning=None)

    assert [night.status for night in nights] == ["written"] * 3
    scores = pq.read_table(tmp_path / "out" / "text" / "scores" / "dt=2026-01-01", partitioning=None)
    assert scores.schema.field("day").type == pa.date32()
    assert scores["score"].null_count == 0
    kinds = {name: drawn.schema.field(name).type for name in ("price", "german", "day", "at")}
    assert kinds == {
        "price": pa.float64(),
        "german": pa.float64(),
        "day": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
    }
