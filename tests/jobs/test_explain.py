"""A row and its reconstruction, side by side, through the exported graph."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aepipe.cli.explain_output import heat_lines
from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, JobInvalid, OptionInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.explain import Heat, explain
from aepipe.storage import put_parquet

NIGHT = "dt=2026-01-05"


def source(job: Path, name: str = NIGHT) -> Path:
    return job.parent / name / "part-0.parquet"


def read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def spoil(job: Path, row: int, column: str, robust_deviations: float) -> str:
    """Inject a fault into a row of a night; return its key."""
    table = read(source(job))
    learned = np.concatenate([read(source(job, f"dt=2026-01-0{day}"))[column].to_numpy() for day in (1, 2, 3, 4)])
    low, high = np.quantile(learned, [0.25, 0.75])
    values = table[column].to_numpy().copy()
    values[row] = np.median(learned) + robust_deviations * (high - low) / 1.349
    put_parquet(source(job), table.set_column(table.column_names.index(column), column, pa.array(values)))
    return str(table["case_id"][row])


def test_a_planted_fault_is_the_first_reason(cells: Path) -> None:
    benign = read(source(cells))["diagnosis"].to_pylist().index("benign")
    key = spoil(cells, benign, "mean_symmetry", 12.0)

    (found,) = explain(cells, [key])

    model = TableModel.open(cells.parent / "exported" / "cells")
    row = read(source(cells)).slice(benign, 1)
    score = model.score(row).to_pylist()[0]
    first = found.columns[0]
    assert (first.name, first.rank) == ("mean_symmetry", 1)
    assert first.read == f"{row['mean_symmetry'][0].as_py():.3f}"
    assert first.expected == f"{model.reconstruct(row)['mean_symmetry'][0].as_py():.3f}"
    assert (found.score, found.p_value, found.is_anomaly) == (score["score"], score["p_value"], score["is_anomaly"])
    assert first.z == pytest.approx(score["reason_1_z"])
    assert [line.rank for line in found.columns[:4]] == [1, 2, 3, None]
    assert len(found.columns) == 30
    attributions = [line.z or 0.0 for line in found.columns[3:]]
    assert attributions == sorted(attributions, reverse=True)
    assert attributions[0] <= (found.columns[2].z or 0.0)


def test_a_row_by_its_place_is_that_of_its_key(cells: Path) -> None:
    key = str(read(source(cells))["case_id"][7])

    (by_place,) = explain(cells, row="2026-01-05:7")
    (by_key,) = explain(cells, [key])

    assert by_place.model_dump(exclude={"row"}) == by_key.model_dump(exclude={"row"})
    assert (by_place.row, by_key.row) == ("2026-01-05:7", f"case_id = {key}")


def test_rows_that_are_not_there_or_not_one_are_named(cells: Path) -> None:
    table = read(source(cells))
    doubled = pa.concat_tables([table, table.slice(3, 1)])
    put_parquet(source(cells), doubled)
    key, last = str(table["case_id"][3]), table.num_rows

    with pytest.raises(OptionInvalid, match=rf"expected one row, got 2: {NIGHT}:3, {NIGHT}:{last}"):
        explain(cells, [key])
    with pytest.raises(OptionInvalid, match="has the key case_id = 'case-9999'; did you mean 'case-"):
        explain(cells, ["case-9999"])
    with pytest.raises(ArgumentInvalid, match=rf"row: expected a row up to the last, {NIGHT}:{last}"):
        explain(cells, row=f"{NIGHT}:{last + 1}")
    with pytest.raises(ArgumentInvalid, match="row: expected PARTITION:INDEX"):
        explain(cells, row="17")
    with pytest.raises(JobInvalid, match="has no partition 'dt=1999-01-01'"):
        explain(cells, row="dt=1999-01-01:0")
    with pytest.raises(OptionInvalid, match="the row to explain is not clear"):
        explain(cells)
    with pytest.raises(ArgumentInvalid, match="picture: expected one row of an image"):
        explain(cells, [str(table["case_id"][0])], picture=cells.parent / "x.png")


def test_a_row_that_cannot_be_scored_says_why(cells: Path) -> None:
    table = read(source(cells))
    area = pa.array([None, *table["mean_area"].to_pylist()[1:]])
    put_parquet(source(cells), table.set_column(table.column_names.index("mean_area"), "mean_area", area))

    (found,) = explain(cells, row=f"{NIGHT}:0")

    assert found.score is None
    assert found.invalid_reason == "mean_area is missing, and never was in training"
    shown = CliRunner().invoke(app, ["explain", str(cells), "--row", f"{NIGHT}:0"])
    assert "no score, mean_area is missing" in shown.output


def test_the_regions_of_an_image_are_printed_and_drawn(digits: Path, tmp_path: Path) -> None:
    picture = tmp_path / "scan.png"
    key = str(read(source(digits))["scan_id"][0])

    shown = CliRunner().invoke(app, ["explain", str(digits), key, "--picture", str(picture)])

    assert shown.exception is None, shown.exception
    assert re.search(r"rows \d-\d, columns \d-\d", shown.output)
    assert picture.read_bytes().startswith(b"\x89PNG")
    (found,) = explain(digits, [key])
    assert found.heat is not None
    assert (found.heat.side, len(found.heat.z), len(found.heat.z[0])) == (2, 4, 4)
    first = found.columns[0]
    row, column = (int(number) // 2 for number in re.findall(r"(\d)-", first.name))
    assert found.heat.z[row][column] == first.z == max(max(line) for line in found.heat.z)


def test_the_hotter_a_region_the_darker_its_character() -> None:
    assert heat_lines(Heat(side=2, z=((-1.0, 0.0, 5.5), (9.5, 10.0, 99.0)))) == ["    ++", "@@@@@@"]
