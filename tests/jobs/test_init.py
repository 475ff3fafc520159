"""`init` proposes the roles of columns, and inspection names columns that increase over time."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable
from aepipe.jobs.init import init
from aepipe.jobs.init_choice import Choice
from aepipe.jobs.inspect import inspect
from aepipe.jobs.train.training_rows import read_training_rows
from aepipe.tables.partitions import discover

ROWS = 100


def write_days(folder: Path, *, days: int = 6) -> Path:
    generator = np.random.default_rng(0)
    for day in range(days):
        table = pa.table(
            {
                "order_id": np.arange(ROWS) + day * ROWS + 5_000,
                "at": pa.array(1_767_225_600 + day * 86_400 + generator.integers(0, 86_400, ROWS), pa.timestamp("s")),
                "amount": generator.lognormal(size=ROWS),
                "batch": np.full(ROWS, 20_260_101 + day),
                "is_fraud": generator.random(ROWS) < 0.05,
                "currency": ["EUR"] * ROWS,
            }
        )
        path = folder / f"dt=2026-01-{day + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    return folder


def test_job_names_key_event_time_label_and_ignored_column_with_reasons(tmp_path: Path) -> None:
    data = write_days(tmp_path / "orders")

    written = init(data, name=None, job_path=tmp_path / "job.toml")

    job = read_job(written.path)
    assert (job.data.keys, job.data.event_time, job.data.labels) == (("order_id",), "at", ("is_fraud",))
    assert {name: spec.kind for name, spec in job.columns.items()} == {"batch": "ignore", "currency": "ignore"}
    text = written.path.read_text()
    assert '"order_id",  # 600 distinct values in 600 sampled rows, which counts up by one from row to row' in text
    assert "follows the dates of the partitions" in text
    assert "batch" in text and "rises over time: 100% of later values lie outside the range of earlier ones" in text
    assert [proposal.column for proposal in written.proposals] == ["order_id", "at", "is_fraud", "batch"]
    assert written.notes == ("column 'currency' has one value in all sampled rows",)
    assert any(line.startswith("key        order_id: 600 distinct") for line in written.lines())


@pytest.mark.parametrize(
    ("constant", "note"),
    [
        (2, "columns 'c0' and 'c1' have one value each in all sampled rows"),
        (5, "columns 'c0', 'c1', 'c2', 'c3' and 'c4' have one value each in all sampled rows"),
        (90, "columns 'c0', 'c1', 'c2', 'c3', 'c4' and 85 more have one value each in all sampled rows"),
    ],
)
def test_constant_columns_share_one_note(tmp_path: Path, constant: int, note: str) -> None:
    columns = {f"c{index}": np.zeros(ROWS) for index in range(constant)}
    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=ROWS), **columns}), tmp_path / "rows.parquet")

    assert init(tmp_path / "rows.parquet", name=None, job_path=tmp_path / "job.toml").notes == (note,)
    assert inspect(tmp_path / "rows.parquet").notes == (note,)


def test_a_path_that_does_not_exist_is_named_and_no_job_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"absent does not exist\. Name a folder of Parquet files, or one file\."):
        init(tmp_path / "absent", name=None, job_path=tmp_path / "job.toml")

    assert not (tmp_path / "job.toml").exists()


def test_text_of_times_becomes_the_event_time_and_is_not_modelled(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for day in range(3):
        moments = np.datetime64("2026-01-01") + day + generator.permutation(86_400)[:100].astype("m8[s]")
        path = tmp_path / "data" / f"dt=2026-01-{day + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        texts = [moment.strftime("%d.%m.%Y %H:%M:%S") for moment in moments.tolist()]
        pq.write_table(pa.table({"at": texts, "x": generator.normal(size=100)}), path)

    job = read_job(init(tmp_path / "data", name=None, job_path=tmp_path / "job.toml").path)

    assert job.data.event_time == "at"
    assert (job.columns["at"].kind, job.columns["at"].format) == (None, "%d.%m.%Y")
    assert {column.name: column.kind for column in inspect(tmp_path / "job.toml").columns}["at"] == "ignore"


def test_every_column_is_listed_once(tmp_path: Path) -> None:
    data = write_days(tmp_path / "orders")

    text = init(data, name=None, job_path=tmp_path / "job.toml").path.read_text()

    listed = text.partition("[columns]")[2].partition("[model]")[0]
    for name in ("order_id", "at", "amount", "batch", "is_fraud", "currency"):
        assert sum(line.lstrip("# ").split()[:1] == [name] for line in listed.splitlines()) == 1


def test_job_of_a_plain_table_proposes_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pq.write_table(pa.table({"a": generator.normal(size=500), "b": generator.poisson(3, 500)}), tmp_path / "t.parquet")

    written = init(tmp_path / "t.parquet", name=None, job_path=tmp_path / "job.toml")

    assert written.proposals == ()
    assert "# keys = []" in written.path.read_text()


def test_proposals_leave_a_column_to_model(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": np.arange(500)}), tmp_path / "t.parquet")

    written = init(tmp_path / "t.parquet", name=None, job_path=tmp_path / "job.toml")

    assert written.proposals == ()


@pytest.mark.parametrize("name", ["q\"uo'te", "new\nline", "ünïcode id", "a.b id", "tab\tid"])
def test_names_and_values_of_any_text_are_quoted(tmp_path: Path, name: str) -> None:
    table = pa.table({name: [f"x\n{row}" for row in range(200)], "value": np.random.default_rng(0).normal(size=200)})
    pq.write_table(table, tmp_path / "t.parquet")

    written = init(tmp_path / "t.parquet", name=None, job_path=tmp_path / "job.toml")

    assert read_job(written.path).data.keys == tuple(each.column for each in written.proposals if each.role == "key")


def test_inspect_names_columns_that_move_on_and_constants(tmp_path: Path) -> None:
    notes = inspect(write_days(tmp_path / "orders")).notes

    assert [note.split("'")[1] for note in notes] == ["order_id", "at", "batch", "currency"]
    assert "set it to ignore under [columns], or name it under [data] keys" in notes[0]


def test_inspect_is_silent_about_columns_that_the_job_handles(tmp_path: Path) -> None:
    written = init(write_days(tmp_path / "orders"), name=None, job_path=tmp_path / "job.toml")

    assert inspect(written.path).notes == ()
    json.dumps(inspect(written.path).model_dump(mode="json"))


def test_corrupt_page_does_not_stop_init_and_inspect(tmp_path: Path) -> None:
    data = write_days(tmp_path / "orders")
    file = data / "dt=2026-01-03" / "part-0.parquet"
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)

    written = init(data, name=None, job_path=tmp_path / "job.toml")

    assert {proposal.column: proposal.role for proposal in written.proposals}["order_id"] == "key"
    assert len(inspect(data).partitions) == 6


def test_lists_of_integers_in_a_table_with_other_columns_are_proposed_to_be_ignored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    baskets = [rng.integers(0, 500, rng.integers(1, 9)).tolist() for _ in range(100)]
    tables = {"shop": {"amount": rng.normal(size=100), "basket": baskets}, "alone": {"basket": baskets}}
    for name, columns in tables.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "part-0.parquet")
        init(tmp_path / name, name=None, job_path=tmp_path / f"{name}.toml")

    assert read_job(tmp_path / "shop.toml").columns["basket"].kind == "ignore"
    assert "they would be modelled alone: name it items, or series" in (tmp_path / "shop.toml").read_text()
    assert '# amount = "number"' in (tmp_path / "shop.toml").read_text()
    assert not read_job(tmp_path / "alone.toml").columns


@pytest.mark.parametrize(
    ("lengths", "kind", "why"),
    [
        ((0, 5, 9), "ignore", "of its lists are empty or missing"),
        ((1, 3, 5), "ignore", "lists of 3 numbers in the median"),
        ((20, 30, 40), "series", "windows of a time series"),
        ((0, 6, 6), "vector", "lists of 6 numbers"),
        ((6, 6, 6), "vector", "lists of 6 numbers"),
    ],
)
def test_lists_of_numbers_in_a_table_with_other_columns_are_windows_only_if_long_and_seldom_empty(
    tmp_path: Path, lengths: tuple[int, int, int], kind: str, why: str
) -> None:
    """A table with a series has no other column, and a partition with many empty windows is quarantined."""
    rng = np.random.default_rng(0)
    readings = [rng.normal(size=length).tolist() for length in rng.choice(lengths, 100)]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"amount": rng.normal(size=100), "readings": readings}), tmp_path / "data" / "a.parquet")

    init(tmp_path / "data", name=None, job_path=tmp_path / "job.toml")

    found = {column.name: column for column in inspect(tmp_path / "job.toml").columns}
    assert (found["readings"].kind, found["amount"].kind) == (kind, "ignore" if kind == "series" else "number")
    assert why in (tmp_path / "job.toml").read_text()


def test_messages_are_proposed_as_text_and_a_job_without_the_proposal_ignores_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = [f"disk {disk} of node {at} is {generator.integers(99)} % full" for at, disk in enumerate("abcde" * 60)]
    (tmp_path / "logs").mkdir()
    pq.write_table(pa.table({"load": generator.normal(size=300), "line": lines}), tmp_path / "logs" / "part-0.parquet")

    written = init(tmp_path / "logs", name=None, job_path=tmp_path / "job.toml")

    assert read_job(written.path).columns["line"].kind == "text"
    assert 'line = "text"   # messages: 300 distinct values of 9 words in 300 sampled rows' in written.path.read_text()
    written.path.write_text('name = "logs"\n[data]\npath = "logs"\n')
    kinds = {column.name: column.kind for column in inspect(written.path).columns}
    assert kinds == {"load": "number", "line": "ignore"}


def test_columns_with_names_of_the_outputs_that_training_refuses_are_ignored(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {"p_value": [f"R-{at}" for at in range(300)], "seed": generator.integers(0, 9, 300)}
    columns |= {"score": generator.normal(size=300), "x": generator.normal(size=300)}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")

    written = init(tmp_path / "rows.parquet", name="t", job_path=tmp_path / "job.toml")

    assert {(each.column, each.role) for each in written.proposals} == {("p_value", "ignore"), ("seed", "ignore")}
    job = read_job(written.path)
    assert {column.name for column in read_training_rows(job, discover(job)).schema.modelled} == {"score", "x"}


def test_a_long_name_does_not_move_the_kinds_of_other_columns(tmp_path: Path) -> None:
    names = ["x", "y" * 30, "z" * 300]
    pq.write_table(pa.table({name: np.random.default_rng(1).normal(size=50) for name in names}), tmp_path / "a.parquet")

    written = init(tmp_path / "a.parquet", name="t", job_path=tmp_path / "job.toml")

    lines = [line for line in written.path.read_text().splitlines() if line.endswith("# double")]
    assert [line.index("=") for line in lines] == [33, 33, 303]


def test_decisions_take_the_place_of_proposals(tmp_path: Path) -> None:
    data = write_days(tmp_path / "orders")
    choice = Choice(keys=("batch", "order_id"), event_time="", labels=(), entity=("currency",), train_to="2026-01-04")

    written = init(data, name=None, job_path=tmp_path / "job.toml", choice=choice)

    job = read_job(written.path)
    assert (job.data.keys, job.data.event_time, job.data.labels) == (("order_id", "batch"), None, ())
    assert (job.data.entity, job.train.last) == (("currency",), "2026-01-04")
    assert "batch" not in job.columns
    text = written.path.read_text()
    assert '"order_id",  # 600 distinct values' in text
    assert '"batch",  # chosen by name' in text


def test_a_split_is_proposed_as_a_comment(tmp_path: Path) -> None:
    init(write_days(tmp_path / "six"), name=None, job_path=tmp_path / "six.toml")
    init(write_days(tmp_path / "three", days=3), name=None, job_path=tmp_path / "three.toml")

    proposed = '# to = "dt=2026-01-04"  # learn from the first 4 of 6 partitions only'
    assert proposed in (tmp_path / "six.toml").read_text()
    assert read_job(tmp_path / "six.toml").train.last is None
    assert "learn from the first" not in (tmp_path / "three.toml").read_text()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(keys=("ordr_id",)), "key the table has no column 'ordr_id'; did you mean 'order_id'?"),
        (Choice(event_time="when"), "event_time the table has no column 'when': expected one of order_id, at, amount"),
        (Choice(entity=("shop",)), "entity the table has no column 'shop': expected one of"),
        (Choice(keys=("at",), event_time="at"), "event_time 'at' is the key too. Name it once."),
        (Choice(train_to="2025-12-31"), "train_to no partition lies"),
    ],
)
def test_wrong_decisions_are_named_and_no_job_is_written(tmp_path: Path, choice: Choice, message: str) -> None:
    data = write_days(tmp_path / "orders")

    with pytest.raises(ArgumentInvalid) as raised:
        init(data, name=None, job_path=tmp_path / "job.toml", choice=choice)

    assert message in str(raised.value).replace(": ", " ", 1)
    assert not (tmp_path / "job.toml").exists()
