import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, DataUnreadable, SchemaMismatch
from aepipe.jobs import gather as gathering
from aepipe.jobs.gather import gather

Row = dict[str, Any]


def write(folder: Path, rows: list[Row], *, ending: str = "parquet", name: str = "rows") -> Path:
    """Write long rows in a format."""
    path = folder / f"{name}.{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    elif ending == "ndjson":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join("" if row[name] is None else str(row[name]) for name in rows[0]) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    return path


def by_hand(rows: list[Row]) -> dict[Any, Row]:
    """Gather rows one after the other."""
    found: dict[Any, Row] = {}
    for row in rows:
        if row["user"] is not None:
            mine = found.setdefault(row["user"], {"user": row["user"], "item": [], "country": None})
            mine["item"].append(row["item"])
            mine["country"] = mine["country"] if row["country"] is None else row["country"]
    return found


ROWS = st.fixed_dictionaries(
    {
        "user": st.none() | st.sampled_from(["ana", "bo", "cy", "ä", "漢"]),
        "item": st.integers(0, 9),
        "country": st.none() | st.sampled_from(["x", "y"]),
    }
)


@settings(max_examples=40)
@given(rows=st.lists(ROWS, min_size=1, max_size=40), ending=st.sampled_from(["parquet", "ndjson", "csv"]))
def test_each_user_has_one_row_with_all_items_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], ending: str
) -> None:
    folder = tmp_path_factory.mktemp("long")
    rows = [{"user": "ana", "item": 1, "country": "x"}, *rows]
    source = write(folder, rows, ending=ending)

    result = gather([source], out=folder / "users", columns=["item"], by="user", keep=["country"])

    table = pq.read_table(folder / "users" / "part.parquet")
    expected = by_hand(rows)
    assert {row["user"]: row for row in table.to_pylist()} == expected
    assert table["item"].type == pa.list_(pa.int64())
    assert (result.rows, result.files) == (len(expected), 1)
    assert result.left_out == sum(row["user"] is None for row in rows)
    assert [path.name for path in (folder / "users").iterdir()] == ["part.parquet"]


def test_items_of_one_user_in_several_files_and_types_are_one_list(tmp_path: Path) -> None:
    write(tmp_path / "in" / "dt=2026-01-01", [{"user": 1, "item": 7}, {"user": 2, "item": 8}])
    later = pa.table({"other": [{"a": 1}, {"a": 2}], "user": pa.array([2, 1], pa.int32()), "item": [0.5, None]})
    (tmp_path / "in" / "dt=2026-01-02").mkdir()
    pq.write_table(later, tmp_path / "in" / "dt=2026-01-02" / "rows.parquet")

    gather([tmp_path / "in"], out=tmp_path / "users" / "dt=2026-01-02", columns=["item"], by="user")

    table = pq.read_table(tmp_path / "users" / "dt=2026-01-02" / "part.parquet", partitioning=None)
    assert {row["user"]: row["item"] for row in table.to_pylist()} == {1: [7.0, None], 2: [8.0, 0.5]}


def test_a_part_at_a_time_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, [{"user": user % 200, "item": user} for user in range(2_000)])
    seen: list[int] = []
    whole = gathering._gathered
    monkeypatch.setattr(
        gathering, "_gathered", lambda parts, *rest: seen.append(sum(map(len, parts))) or whole(parts, *rest)
    )

    result = gather([source], out=tmp_path / "users", columns=["item"], by="user")

    assert result.rows == 200
    assert len(seen) == gathering.BUCKETS
    assert sum(seen) == 2_000
    assert max(seen) < 400


def test_several_lists_of_a_user_are_aligned(tmp_path: Path) -> None:
    rows = [{"user": "a", "item": "x", "paid": None}, {"user": "a", "item": None, "paid": 2.5}]

    gather([write(tmp_path, rows)], out=tmp_path / "users", columns=["item", "paid"], by="user")

    (row,) = pq.read_table(tmp_path / "users").to_pylist()
    assert row == {"user": "a", "item": ["x", None], "paid": [None, 2.5]}


def test_arguments_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path) -> None:
    source = write(tmp_path, [{"user": "a", "item": 1, "tags": ["x"]}])

    def refused(error: type[Exception], message: str, **options: Any) -> None:
        asked = {"files": [source], "columns": ["item"], "by": "user", **options}
        with pytest.raises(error, match=message):
            gather(asked.pop("files"), out=tmp_path / "out", **asked)
        assert not (tmp_path / "out").exists()

    refused(ArgumentInvalid, "no column 'usre'; did you mean 'user'", by="usre")
    refused(ArgumentInvalid, "no column 'itme'; did you mean 'item'", columns=["itme"])
    refused(ArgumentInvalid, r"'tags' is list<.+>: expected text, numbers or dates", by="tags")
    refused(ArgumentInvalid, "named twice in user, item, item", keep=["item"])
    refused(DataUnreadable, "does not exist", files=[tmp_path / "none.parquet"])
    refused(DataUnreadable, "two formats", files=[source, write(tmp_path, [{"user": 1}], ending="csv")])
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 PAR1")
    refused(DataUnreadable, "damaged.parquet cannot be read", files=[damaged])
    other = write(tmp_path, [{"user": "a", "item": "x"}], name="other")
    refused(SchemaMismatch, "'item' is int64 in .+ and string", files=[source, other])


def test_the_command_gathers_and_refuses_options_without_effect(tmp_path: Path) -> None:
    source = str(write(tmp_path, [{"user": "a", "item": 1, "day": "x"}, {"user": None, "item": 2, "day": "y"}]))

    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["convert", source, "--out", str(tmp_path / "out"), *options])
        return result.exit_code, " ".join((result.output + str(result.exception or "")).split())

    assert "expected --by with it" in run("--gather", "item")[1]
    assert "expected --gather with it, got none" in run("--by", "user")[1]
    assert "cannot be combined with --gather" in run("--gather", "item", "--by", "user", "--partition-by", "day")[1]
    code, said = run("--gather", "item", "--by", "user")
    assert code == 0
    assert "1 rows without 'user' are left out" in said
