"""Training names columns that increase over time, copies of a label, modelled labels, and omitted columns."""

import logging
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import ColumnSpec, Job, parse_job
from aepipe.errors import SchemaMismatch
from aepipe.jobs.init import init
from aepipe.jobs.inspect import inspect
from aepipe.jobs.train.column_warnings import token_warnings
from aepipe.jobs.train.fitting import model_warnings
from aepipe.jobs.train.train import train_job
from aepipe.jobs.train.training_rows import read_training_rows
from aepipe.tables.partitions import discover
from tests.support.columns import one_column

ROWS = 120


def job_of(folder: Path, values: dict[str, object], *, days: int = 4, **settings: object) -> Job:
    rows = ROWS // days
    table = pa.table(values)
    for day in range(days):
        path = folder / "data" / f"dt=2026-01-{day + 1:02d}" / "p.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.slice(day * rows, rows), path)
    data = {"path": "data", **settings.pop("data", {})}  # type: ignore[dict-item]
    return parse_job({"name": "t", "data": data, **settings}, source=folder / "job.toml")


def warnings_of(job: Job) -> tuple[str, ...]:
    return read_training_rows(job, discover(job)).warnings


def normal(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=ROWS)


def test_rising_column_is_named_with_the_remedy(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"id": np.arange(ROWS), "x": normal()})

    (warning,) = warnings_of(job)

    assert warning == (
        "column 'id' rises over time: 100% of later values lie outside the range of earlier ones, so that many new "
        "rows would be flagged. Set id to ignore under [columns], or name it under [data] keys."
    )


@pytest.mark.parametrize("settings", [{"data": {"keys": ["id"]}}, {"columns": {"id": "ignore"}}])
def test_remedies_silence_the_warning(tmp_path: Path, settings: dict[str, object]) -> None:
    assert warnings_of(job_of(tmp_path, {"id": np.arange(ROWS), "x": normal()}, **settings)) == ()


@pytest.mark.parametrize(
    "copy",
    [lambda label: label.astype(np.float64), lambda label: np.where(label > 0, "bad", "good"), lambda label: 5 - label],
)
def test_column_that_determines_the_label_is_named(tmp_path: Path, copy: object) -> None:
    label = (normal(1) > 1).astype(np.int64)
    job = job_of(tmp_path, {"x": normal(), "y": label, "copy": copy(label)}, data={"labels": ["y"]})  # type: ignore[operator]

    (warning,) = warnings_of(job)

    assert warning.startswith("column 'copy' determines the label 'y' one to one, so that the scores use the answer.")


def test_column_that_is_only_close_to_the_label_is_not_named(tmp_path: Path) -> None:
    label = (normal(1) > 1).astype(np.int64)
    close = label.copy()
    close[0] = 1 - close[0]

    assert warnings_of(job_of(tmp_path, {"x": normal(), "y": label, "close": close}, data={"labels": ["y"]})) == ()


def test_modelled_column_of_the_anomaly_condition_is_named(tmp_path: Path) -> None:
    label = (normal(1) > 1).astype(np.int64)

    (warning,) = warnings_of(job_of(tmp_path, {"x": normal(), "y": label}, evaluate={"anomaly": "y = 1"}))

    assert warning.startswith("column 'y' is modelled although [evaluate] anomaly uses it")


def test_column_that_is_left_out_is_named(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"x": normal(), "empty": pa.nulls(ROWS), "hash": [f"{row:032x}" for row in range(ROWS)]})

    found = warnings_of(job)

    assert [warning.split("'")[1] for warning in found] == ["empty", "hash"]
    assert found[0] == "column 'empty' (null) is not modelled: all values are null"


@pytest.mark.slow
def test_warnings_are_logged_returned_and_kept_in_the_bundle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"model": {"family": "pca"}, "train": {"epochs": 1}, "calibration": {"alpha": 0.2}}
    job = job_of(tmp_path, {"id": np.arange(ROWS), "x": normal(), "z": normal(2)}, **settings)

    with caplog.at_level(logging.WARNING):
        result = train_job(job)

    assert "column 'id' rises over time" in caplog.text
    assert result.warnings[0].startswith("column 'id' rises over time")
    assert Bundle.open(str(result.bundle)).manifest.details["warnings"] == [result.warnings[0]]
    assert train_job(job).warnings == result.warnings[:1]


def test_lists_of_integers_are_named_until_the_job_names_their_kind(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    baskets = [generator.integers(0, 500, generator.integers(1, 9)).tolist() for _ in range(ROWS)]

    (warning,) = warnings_of(job_of(tmp_path / "a", {"basket": baskets}))

    assert warning == (
        "column 'basket' holds lists of integers, which are modelled as windows of a time series. If they are sets of "
        "codes, such as the articles of an order, set basket to items or ignore under [columns]; if not, set basket to "
        "series."
    )
    assert warnings_of(job_of(tmp_path / "d", {"basket": baskets}, columns={"basket": "items"})) == ()
    assert warnings_of(job_of(tmp_path / "b", {"basket": baskets}, columns={"basket": "series"})) == ()
    floats = [[float(code) for code in basket] for basket in baskets]
    assert warnings_of(job_of(tmp_path / "c", {"basket": floats})) == ()


def test_init_and_inspect_say_that_training_refuses_a_column_that_a_later_file_lacks(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"x": normal(), "z": normal(2)})
    second = tmp_path / "data" / "dt=2026-01-02" / "p.parquet"
    pq.write_table(pq.read_table(second, partitioning=None).drop_columns(["z"]), second)
    without = job.model_copy(update={"columns": {"z": ColumnSpec(kind="ignore")}})

    expected = (
        f"column 'z' is missing from {second}, but not from earlier files: training would refuse them. Restore the "
        "column, or set z to ignore under [columns]"
    )
    proposed = init(tmp_path / "data", name=None, job_path=tmp_path / "job.toml")
    assert [note for note in proposed.notes if "is missing from" in note] == [expected]
    assert [note for note in inspect(tmp_path / "data").notes if "is missing from" in note] == [expected]
    with pytest.raises(SchemaMismatch) as refused:
        warnings_of(job)
    assert str(refused.value) == (
        f"training files do not fit together: {second} has no column 'z' (double), which earlier files have. Restore "
        "it, or set z to ignore under [columns]."
    )
    assert [warning for warning in warnings_of(without) if "is missing from" in warning] == []


def test_column_that_files_lack_is_named_by_train_inspect_and_init(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"x": normal(), "z": normal(2)})
    first = tmp_path / "data" / "dt=2026-01-01" / "p.parquet"
    pq.write_table(pq.read_table(first, partitioning=None).drop_columns(["z"]), first)
    last = tmp_path / "data" / "dt=2026-01-04" / "p.parquet"
    rows = pq.read_table(last, partitioning=None)
    pq.write_table(rows.append_column("added", rows["x"]), last)

    expected = [
        f"column 'z' is missing from {first}: its rows count as missing there",
        f"column 'added' is missing from 3 files, the first {first}: its rows count as missing there",
    ]
    assert [warning for warning in warnings_of(job) if "is missing from" in warning] == expected
    assert [note for note in inspect(tmp_path / "data").notes if "is missing from" in note] == expected
    written = init(tmp_path / "data", name=None, job_path=tmp_path / "job.toml")
    assert [note for note in written.notes if "is missing from" in note] == expected


def german_days() -> list[str]:
    days = np.arange("2026-01-01", "2026-05-01", dtype="M8[D]").tolist()
    return [day.strftime("%d.%m.%Y") for day in days][:ROWS]


def test_event_time_as_text_is_parsed_by_its_format_and_not_modelled(tmp_path: Path) -> None:
    columns = {"at": {"format": "%d.%m.%Y"}}
    job = job_of(tmp_path, {"at": german_days(), "x": normal()}, data={"event_time": "at"}, columns=columns)

    rows = read_training_rows(job, discover(job))

    assert rows.warnings == ()
    assert rows.schema.event_time == "at"
    assert [column.name for column in rows.schema.modelled] == ["x"]
    assert rows.schema.arrow.field("at").type == pa.date32()
    assert max(rows.train.column("at").to_pylist()) < min(rows.calibration.column("at").to_pylist())


@pytest.mark.parametrize(
    ("texts", "remedy"),
    [
        (german_days(), 'Set at = {format = "%d.%m.%Y"} under [columns].'),
        ([f"night {day}" for day in range(ROWS)], "Name a column of times under [data] event_time."),
    ],
)
def test_event_time_in_the_order_of_the_alphabet_is_named(tmp_path: Path, texts: list[str], remedy: str) -> None:
    job = job_of(tmp_path, {"at": texts, "x": normal()}, data={"event_time": "at"})

    (warning,) = warnings_of(job)

    assert "the event time, is text" in warning and warning.endswith(remedy)


def test_event_time_as_iso_text_needs_no_format(tmp_path: Path) -> None:
    days = np.arange("2026-01-01", "2026-05-01", dtype="M8[D]").astype(str).tolist()

    assert warnings_of(job_of(tmp_path, {"at": days, "x": normal()}, data={"event_time": "at"})) == ()


USUAL_LINES = [f"user {user} opened door {door}" for user in ("ana", "bo") for door in range(20)]


@pytest.mark.parametrize(
    ("texts", "spec", "message"),
    [
        (USUAL_LINES * 5, {}, None),
        (["", ""] * 50, {}, None),
        ([None, "x"] * 50, {}, None),
        (
            [str(number) for number in range(100)],
            {},
            "its texts are numbers, and all but frequent ones",
        ),
        ([str(max(20, number)) for number in range(100)], {}, "its texts are numbers"),
        ([str(number % 10) for number in range(100)], {}, None),
        ([str(number) for number in range(100)], {"tokens": "characters"}, None),
        (
            [f"{'qwertzuiop'[at % 10]}{'x' * at}" for at in range(100)] + ["a", "a"],
            {},
            r"\d\d% of the tokens occur once",
        ),
        (USUAL_LINES * 5, {"length": 4}, r"100\.0% of the training texts have more than the 4 tokens that the model"),
        (["磁盘坏了", "网络断了", "磁盘满了", "网络好了"] * 5, {}, None),
    ],
)
def test_a_text_column_that_is_read_in_part_is_named(
    texts: list[str | None], spec: dict[str, object], message: str | None
) -> None:
    encoding = one_column(pa.array(texts, pa.string()), {"kind": "text", **spec})

    found = list(token_warnings(encoding))

    assert len(found) == (message is not None)
    assert message is None or re.search(message, found[0])
    assert all(line.startswith("column 'x': ") for line in found)


def test_what_a_model_does_not_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    encoding = one_column(pa.array([str(number) for number in range(100)]), "text")

    found = model_warnings(encoding, {"mutual_information": 0.0})

    assert [record.getMessage() for record in caplog.records] == list(found)
    assert ["its texts are numbers" in found[0], "the model has collapsed" in found[1]] == [True, True]


def test_lists_that_are_longer_than_the_model_reads_are_named() -> None:
    encoding = one_column(pa.array([["a", "b", "c"], ["a", "b", "c"]]), {"kind": "items", "length": 2})

    (found,) = token_warnings(encoding)

    assert "100.0% of the training lists have more than the 2 items that the model reads" in found
