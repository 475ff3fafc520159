"""Rows that decode to much more than their file size: batches stay within their bound."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.errors import DataUnreadable
from aepipe.tables.decoded_sizes import ReadLimits
from aepipe.tables.page_content import longest_in_dictionary, row_lengths
from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.parquet_sizes import read_pages, read_row_groups

MOST = 1 << 20
LIMITS = ReadLimits(batch=MOST, open=20 * MOST)
CODECS = ("none", "snappy", "gzip", "zstd", "brotli", "lz4")

LISTS = st.lists(st.one_of(st.none(), st.lists(st.integers(0, 3), max_size=40)), min_size=1, max_size=60)


def text(length: int, rows: int) -> pa.Table:
    return pa.table({"id": ["a" * length] * rows, "x": np.arange(rows)})


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", CODECS)
def test_the_longest_list_is_found_by_its_levels(tmp_path: Path, codec: str, version: str) -> None:
    path = tmp_path / "x.parquet"

    @settings(max_examples=15)
    @given(LISTS)
    def check(rows: list[list[int] | None]) -> None:
        table = pa.table({"l": pa.array(rows, pa.list_(pa.int32()))})
        pq.write_table(table, path, compression=codec, data_page_version=version, data_page_size=30, write_batch_size=7)
        (group,) = read_row_groups(path)
        (chunk,) = group.chunks
        with path.open("rb") as file:
            found = row_lengths(file, list(read_pages(file, chunk)), codec=chunk.codec, lists=1)
        lengths = [max(1, len(row or ())) for row in rows]
        assert found is not None
        assert found.longest == max(lengths)
        assert np.mean(lengths) <= found.average <= found.longest + 2 * max(lengths)

    check()


def test_the_longest_list_of_lists_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = [[[1] * 9, [], [2, 3]], [[4] * 5], None, [[5] * 3] * 40]
    pq.write_table(pa.table({"l": rows}), path)

    (group,) = read_row_groups(path)

    with path.open("rb") as file:
        assert row_lengths(file, list(read_pages(file, group.chunks[0])), codec=1, lists=2) == (35, 120)


@pytest.mark.parametrize("codec", CODECS)
def test_the_longest_text_of_a_dictionary_is_found(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a", "bcd" * 100, "", "ef"]}), path, compression=codec)

    (group,) = read_row_groups(path)

    with path.open("rb") as file:
        first = next(read_pages(file, group.chunks[0]))
        assert longest_in_dictionary(file, first, codec=group.chunks[0].codec) == 300


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
def test_rows_that_are_large_come_in_small_batches(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "x.parquet"
    table = pa.concat_tables([text(3, 500), text(MOST // 40, 500)])
    pq.write_table(table, path, compression="zstd", data_page_size=1 << 16, row_group_size=500, **options)

    batches = list(slices([path], None, rows=1_000, limits=LIMITS))

    assert max(batch.nbytes for batch in batches) <= MOST
    assert pa.Table.from_batches(batches).equals(table)


def test_texts_that_share_their_beginnings_come_in_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = text(MOST // 40, 500)
    encoding = {"id": "DELTA_BYTE_ARRAY"}
    pq.write_table(table, path, compression="zstd", use_dictionary=False, column_encoding=encoding)

    batches = list(slices([path], None, rows=1_000, limits=LIMITS))

    assert max(batch.nbytes for batch in batches) <= MOST
    assert sum(batch.num_rows for batch in batches) == 500


@pytest.mark.parametrize("kind", [pa.float64(), pa.string()])
def test_long_lists_come_in_small_batches(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "x.parquet"
    lengths = [3] * 400 + [MOST // 100] * 100
    values = pa.array(np.ones(sum(lengths))).cast(kind)
    lists = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), values)
    pq.write_table(pa.table({"l": lists}), path, compression="zstd")

    batches = list(slices([path], None, rows=500, limits=LIMITS))

    assert len(batches) > 5
    assert max(batch.nbytes for batch in batches) <= MOST
    assert pa.Table.from_batches(batches)["l"].combine_chunks().equals(lists)


def test_ordinary_rows_come_in_batches_of_the_requested_size(tmp_path: Path) -> None:
    rows = 3_000
    table = pa.table(
        {
            "id": [f"key {row}" for row in range(rows)],
            "kind": ["x", "y", None] * (rows // 3),
            "l": [[1.0, 2.0]] * rows,
            "place": [{"city": "a" * 20}] * rows,
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=1_000)

    assert [batch.num_rows for batch in slices([path], None, rows=rows, limits=LIMITS)] == [rows]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (text(10 * MOST, 1), "open pages, got 21 MB, most of it in column 'id'"),
        (pa.table({"l": [[0.0], [0.0] * (MOST - 9)]}), "one row, got 8 MB, most of it in column 'l"),
        (pa.table({"s": [{"id": "a" * 10 * MOST}]}), "open pages, got 21 MB, most of it in column 's.id'"),
    ],
)
def test_a_row_that_is_too_large_is_refused_with_a_remedy(tmp_path: Path, table: pa.Table, what: str) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, compression="zstd")

    with pytest.raises(DataUnreadable) as caught:
        list(slices([path], None, rows=10, limits=LIMITS))

    message = str(caught.value)
    assert what in message
    assert message.startswith(f"{path}, row group 0, does not fit into memory: expected at most ")
    assert "shorter values" in message


def test_columns_that_are_not_read_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(text(10 * MOST, 2), path, compression="zstd")

    (batch,) = slices([path], ["x"], rows=10, limits=LIMITS)

    assert batch["x"].to_pylist() == [0, 1]


def test_a_footer_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.tables.parquet_reader._MOST_FOOTER_BYTES", 100)
    path = tmp_path / "x.parquet"
    pq.write_table(text(3, 3), path)

    with pytest.raises(DataUnreadable, match="Write the file with larger row groups"):
        read_footer(path)
