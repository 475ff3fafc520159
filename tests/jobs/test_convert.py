import csv
import datetime as dt
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aepipe.errors import AepipeError, ArgumentInvalid, DataUnreadable, LocalPathNeeded, UrlInvalid
from aepipe.jobs.convert import convert
from aepipe.jobs.init import init
from aepipe.tables.text_files import csv_reader, json_reader
from aepipe.tables.text_files.column_types import NULL_WORDS


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def converted(path: Path, content: str | bytes, **options: Any) -> pa.Table:
    """Convert a file with this content, and read the table."""
    out = path.parent / "out"
    convert([write(path, content)], out=out, **options)
    return pq.read_table(next(out.rglob("*.parquet")), partitioning=None)


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", "-2", ""], pa.int64(), [1, -2, None]),
        (["1", "2.5", "NA"], pa.float64(), [1.0, 2.5, None]),
        (["1e3", ".5"], pa.float64(), [1000.0, 0.5]),
        (["true", "FALSE"], pa.bool_(), [True, False]),
        (["2026-01-31", "1999-12-01"], pa.date32(), [dt.date(2026, 1, 31), dt.date(1999, 12, 1)]),
        (
            ["2026-01-31 10:00:00", "2026-01-31"],
            pa.timestamp("us"),
            [dt.datetime(2026, 1, 31, 10), dt.datetime(2026, 1, 31)],
        ),
        (["2026-02-30"], pa.string(), ["2026-02-30"]),
        (["00123", "5"], pa.string(), ["00123", "5"]),
        (["12345678901234567890"], pa.string(), ["12345678901234567890"]),
        (["9007199254740993", "0.5"], pa.string(), ["9007199254740993", "0.5"]),
        (["a", "NA"], pa.string(), ["a", "NA"]),
        (["", ""], pa.string(), [None, None]),
        (["1", "x"], pa.string(), ["1", "x"]),
    ],
    ids=str,
)
def test_a_column_has_the_narrowest_type_that_fits_all_values(
    tmp_path: Path, values: list[str], kind: pa.DataType, expected: list[Any]
) -> None:
    table = converted(tmp_path / "a.csv", "x,y\n" + "".join(f"{value},1\n" for value in values))

    assert table["x"].type == kind
    assert table["x"].to_pylist() == expected


def test_timestamps_with_a_zone_are_moments(tmp_path: Path) -> None:
    table = converted(tmp_path / "a.csv", "x\n2026-01-31T10:00:00+01:00\n2026-01-31T10:00:00Z\n")

    assert table["x"].type == pa.timestamp("us", "UTC")
    assert table["x"].cast(pa.timestamp("us")).to_pylist() == [dt.datetime(2026, 1, 31, hour) for hour in (9, 10)]


@pytest.mark.parametrize("ending", ["csv", "ndjson", "json"])
def test_a_value_of_another_type_in_a_late_block_widens_the_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(json_reader, "BLOCK_BYTES", 1_000)
    values: list[Any] = [*range(2_000), 0.5]
    texts = {
        "csv": "x,late\n" + "".join(f"{value},\n" for value in values) + "1,word\n",
        "ndjson": "".join(json.dumps({"x": value}) + "\n" for value in values) + '{"x": 1, "late": "word"}',
        "json": json.dumps([*({"x": value} for value in values), {"x": 1, "late": "word"}], indent=2),
    }

    table = converted(tmp_path / f"a.{ending}", texts[ending])

    assert table["x"].to_pylist() == [*map(float, range(2_000)), 0.5, 1.0]
    assert table["late"].to_pylist() == [None] * 2_001 + ["word"]


def test_json_values_of_several_types_are_text_and_nested_ones_stay(tmp_path: Path) -> None:
    rows = [
        {"a": 1, "s": {"x": 1}, "l": ["p"], "t": "2026-01-01T00:00:00+01:00", "e": {}},
        {"a": "b", "s": {"y": "2026-01-01"}, "l": [], "t": None, "e": {}},
        {"a": [1], "s": None},
        {},
    ]

    table = converted(tmp_path / "a.json", json.dumps(rows))

    assert table["a"].to_pylist() == ["1", "b", "[1]", None]
    assert table["s"].to_pylist() == [{"x": 1, "y": None}, {"x": None, "y": "2026-01-01"}, None, None]
    assert table["l"].to_pylist() == [["p"], [], None, None]
    assert table["t"].type == pa.timestamp("us", "UTC")
    assert table["e"].to_pylist() == ["{}", "{}", None, None]


CELLS = (
    st.none() | st.integers(-(2**70), 2**70).map(str) | st.floats().map(repr) | st.text(max_size=5) | st.just('a,\n"')
)


@settings(max_examples=60)
@example(rows=[("", "TRUE"), ("", "false")], delimiter=",")
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), delimiter=st.sampled_from(",;\t|"))
def test_no_csv_loses_a_value(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, ...]], delimiter: str
) -> None:
    """Each value of the table is what Python reads from the file; numbers are equal as numbers."""
    rows = [tuple(None if cell is None else cell.replace("\r", "").replace("\0", "") for cell in row) for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL, lineterminator="\n").writerows([("x", "y"), *rows])

    table = converted(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue().encode("utf-8", "replace"))

    read = list(csv.reader(io.StringIO(text.getvalue().encode("utf-8", "replace").decode()), delimiter=delimiter))[1:]
    assert table.num_rows == len(read)
    for name, at in (("x", 0), ("y", 1)):
        for value, source in zip(table[name].to_pylist(), read, strict=True):
            written = source[at].strip()
            if value is None:
                assert written in NULL_WORDS
            elif isinstance(value, bool):
                assert written.lower() == str(value).lower()
            else:
                assert str(value) == source[at] or float(value) == float(written)


def test_files_become_partitions_of_one_table(tmp_path: Path) -> None:
    write(tmp_path / "in" / "2026-01-01.csv", "id;x\n1;a\n")
    write(tmp_path / "in" / "2026-01-02.csv.gz", gzip.compress("\ufeffx,extra\nb,1.5\n".encode()))
    write(tmp_path / "in" / "2026-01-03.tsv", "id\tx\n")
    write(tmp_path / "in" / "notes.txt", "")

    result = convert([tmp_path / "in"], out=tmp_path / "out")

    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["2026-01-01.parquet", "2026-01-02.parquet", "2026-01-03.parquet"]
    tables = [pq.read_table(path) for path in files]
    assert all(table.schema.equals(tables[0].schema) for table in tables)
    assert [table.to_pylist() for table in tables] == [
        [{"id": 1, "x": "a", "extra": None}],
        [{"id": None, "x": "b", "extra": 1.5}],
        [],
    ]
    assert (result.rows, result.files) == (2, 3)
    assert init(tmp_path / "out", name=None, job_path=tmp_path / "job.toml")


def test_rows_are_divided_by_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.jobs.convert.MOST_OPEN", 2)
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 40)
    days = [f"2026-01-0{1 + row % 3} 2{row % 4}:00" if row != 5 else "" for row in range(40)]
    source = write(tmp_path / "a.csv", "row,at\n" + "".join(f"{row},{day}\n" for row, day in enumerate(days)))

    result = convert([source], out=tmp_path / "out", partition_by="at")

    found = {
        folder.name: sorted(row for path in folder.iterdir() for row in pq.ParquetFile(path).read()["row"].to_pylist())
        for folder in (tmp_path / "out").iterdir()
    }
    assert found == {
        "dt=2026-01-01": list(range(0, 40, 3)),
        "dt=2026-01-02": list(range(1, 40, 3)),
        "dt=2026-01-03": [row for row in range(2, 40, 3) if row != 5],
        "dt=unknown": [5],
    }
    assert (result.rows, result.undated) == (40, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "\n\n", "has no header"),
        ("a.csv", "x,x\n1,2\n", "has 2 columns 'x'. Rename all but one"),
        ("a.csv", "x,y\n1,2\n3\n", "a.csv cannot be read as CSV with 2 columns"),
        ("a.csv", "x\n\xe4\n".encode("latin-1"), "is not utf-8 text.+encoding latin-1"),
        ("a.csv.gz", b"x,y\n1,2\n", "a.csv.gz cannot be read"),
        ("a.json", "[1, 2]", "expected an array of objects or one object per line, got '1, 2]'"),
        ("a.json", '[{"x": 1}', "is not complete JSON"),
        ("a.ndjson", '{"x": 1}\n{"x" 2}\n', "is not complete JSON: Expecting ':' delimiter"),
        ("a.json", "[]", "has no objects"),
        ("a.parquet", "PAR1", "is neither CSV nor JSON"),
        ("a.xlsx", "PK", "Save its sheet as CSV UTF-8, then run: aepipe convert a.csv"),
    ],
)
def test_a_file_that_cannot_be_converted_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataUnreadable, match=message):
        convert([write(tmp_path / name, content)], out=tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_arguments_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "x,day\n1,2026-01-01\n")

    with pytest.raises(ArgumentInvalid, match=r"out: .+ exists already"):
        convert([source], out=tmp_path)
    with pytest.raises(ArgumentInvalid, match=r"no column 'dey'.+ 'day'"):
        convert([source], out=tmp_path / "out", partition_by="dey")
    with pytest.raises(ArgumentInvalid, match="'x' is int64: expected dates"):
        convert([source], out=tmp_path / "out", partition_by="x")
    with pytest.raises(DataUnreadable, match="is a URL"):
        convert(["s3://bucket/a.csv"], out=tmp_path / "out")
    with pytest.raises(LocalPathNeeded, match="is a URL: expected a local folder"):
        convert([source], out="s3://bucket/out")
    with pytest.raises(DataUnreadable, match="two formats"):
        convert([source, write(tmp_path / "b.json", "[]")], out=tmp_path / "out")
    with pytest.raises(DataUnreadable, match="does not exist"):
        convert([tmp_path / "none.csv"], out=tmp_path / "out")
    with pytest.raises(AepipeError, match=r"unknown encoding|is not no-such text"):
        convert([source], out=tmp_path / "out", encoding="no-such")
    assert not (tmp_path / "out").exists()


def test_latin_1_and_utf_16_are_read(tmp_path: Path) -> None:
    latin = converted(tmp_path / "l" / "a.csv", "x\nä\n".encode("latin-1"), encoding="latin-1")
    excel = converted(tmp_path / "u" / "a.csv", "x\tz\nä\t1\n".encode("utf-16"))

    assert latin["x"].to_pylist() == ["ä"]
    assert excel.to_pylist() == [{"x": "ä", "z": 1}]


@pytest.mark.parametrize("name", ["a.csv", "b.json", "c.tsv.gz"])
def test_init_advises_to_convert_a_file_of_another_format(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "in" / name, "x\n1\n")

    for data in (path, path.parent):
        with pytest.raises(DataUnreadable, match=f"Run: aepipe convert .*{name} --out FOLDER"):
            init(data, name=None, job_path=tmp_path / "job.toml")


@pytest.mark.parametrize("data", ["ftp://bucket/rows", Path("ftp://bucket/rows"), "https://host/rows.parquet"])
def test_init_refuses_a_url_in_one_sentence(tmp_path: Path, data: str | Path) -> None:
    with pytest.raises(UrlInvalid, match=r"is not supported: expected a local path, s3://, gs:// or abfs://\. Name"):
        init(data, name=None, job_path=tmp_path / "job.toml")
