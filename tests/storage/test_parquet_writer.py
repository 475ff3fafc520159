"""Parquet files while they are written: digest, checksums, dictionaries, row groups."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.storage import ParquetSink, digest_file, put_parquet


def table_of(rows: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "z.000": random.normal(size=rows).astype(np.float32),
            "p_value": random.uniform(size=rows),
            "reason": [f"column {number % 7}" for number in range(rows)],
            "model_version": pa.array(["m/1"] * rows, pa.string()).dictionary_encode(),
            "image": pa.array([bytes([number % 256] * 4) for number in range(rows)], pa.binary(4)),
        }
    )


def written(path: Path, table: pa.Table, *, compression: str = "snappy") -> Path:
    sink = ParquetSink(path, table.schema, compression=compression)
    sink.write(table)
    sink.close()
    return path


def column_chunk(path: Path, name: str) -> pq.ColumnChunkMetaData:
    group = pq.read_metadata(path).row_group(0)
    return next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == name)


def test_staged_file_describes_the_file(tmp_path: Path) -> None:
    table = table_of(20_000)
    sink = ParquetSink(tmp_path / "new" / "scores.tmp", table.schema)
    sink.write(table)
    staged = sink.close()

    assert pq.read_table(staged.path) == table
    assert staged.rows == 20_000
    assert staged.bytes == staged.path.stat().st_size
    assert staged.digest == digest_file(staged.path)
    assert sink.close() == staged


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3_000), max_size=6), st.booleans())
def test_rows_come_back_in_order_for_any_batches(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batches: bool
) -> None:
    table = table_of(sum(sizes))
    path = tmp_path_factory.mktemp("cut") / "file"
    sink = ParquetSink(path, table.schema)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        part = table.slice(start, size)
        for rows in part.to_batches() if batches else [part]:
            sink.write(rows)
    staged = sink.close()

    assert pq.read_table(path) == table
    assert staged.rows == sum(sizes)
    assert staged.digest == digest_file(path)


def test_no_rows_give_an_empty_file_of_the_right_schema(tmp_path: Path) -> None:
    schema = table_of(1).schema
    staged = ParquetSink(tmp_path / "file", schema).close()

    assert staged.rows == 0
    assert pq.read_table(tmp_path / "file") == schema.empty_table()


def test_small_batches_share_a_row_group_and_large_ones_have_their_own(tmp_path: Path) -> None:
    table = table_of(70_000)
    sink = ParquetSink(tmp_path / "file", table.schema)
    for start in range(0, 50_000, 2_000):
        sink.write(table.slice(start, 2_000))
    sink.write(table.slice(50_000))
    sink.close()

    metadata = pq.read_metadata(tmp_path / "file")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [50_000, 20_000]


def test_small_batches_are_flushed(tmp_path: Path) -> None:
    table = table_of(140_000)
    sink = ParquetSink(tmp_path / "file", table.schema)
    for start in range(0, 140_000, 10_000):
        sink.write(table.slice(start, 10_000))
    sink.close()

    metadata = pq.read_metadata(tmp_path / "file")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [70_000, 70_000]


@pytest.mark.parametrize("rows", [2_000, 20_000])
def test_buffers_may_be_overwritten_after_write(tmp_path: Path, rows: int) -> None:
    buffer = np.zeros(rows, np.float32)
    sink = ParquetSink(tmp_path / "file", pa.schema([("z", pa.float32())]))
    for value in (1, 2, 3):
        buffer[:] = value
        sink.write(pa.record_batch({"z": buffer}))
    buffer[:] = -1
    sink.close()

    found = pq.read_table(tmp_path / "file")["z"].to_numpy()
    np.testing.assert_array_equal(found, np.repeat(np.float32([1, 2, 3]), rows))


def test_dictionaries_of_several_batches_are_joined(tmp_path: Path) -> None:
    batches = [pa.record_batch({"r": pa.array(v).dictionary_encode()}) for v in (["a", "b"], ["c", None], ["b", "c"])]
    sink = ParquetSink(tmp_path / "file", batches[0].schema)
    for batch in batches:
        sink.write(batch)
    sink.close()

    assert pq.read_table(tmp_path / "file")["r"].to_pylist() == ["a", "b", "c", None, "b", "c"]


@pytest.mark.parametrize("name", ["z.000", "p_value", "id", "image"])
def test_numbers_and_images_have_no_dictionary(tmp_path: Path, name: str) -> None:
    chunk = column_chunk(written(tmp_path / "file", table_of(20_000)), name)

    assert not chunk.has_dictionary_page
    assert not {"PLAIN_DICTIONARY", "RLE_DICTIONARY"} & set(chunk.encodings)


@pytest.mark.parametrize("name", ["reason", "model_version"])
def test_text_has_a_dictionary(tmp_path: Path, name: str) -> None:
    chunk = column_chunk(written(tmp_path / "file", table_of(20_000)), name)

    assert chunk.has_dictionary_page
    assert "RLE_DICTIONARY" in chunk.encodings


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_compression_is_the_requested_one(tmp_path: Path, compression: str) -> None:
    chunk = column_chunk(written(tmp_path / "file", table_of(100), compression=compression), "id")

    assert chunk.compression == {"none": "UNCOMPRESSED"}.get(compression, compression.upper())


@pytest.mark.parametrize("name", ["id", "z.000", "p_value", "reason", "image"])
def test_page_checksum_detects_a_flipped_byte(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "file", table_of(1_000), compression="none")
    chunk = column_chunk(path, name)
    last = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 1
    data = bytearray(path.read_bytes())
    data[last] ^= 1
    path.write_bytes(data)

    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(path, columns=[name], page_checksum_verification=True)


def test_every_page_of_an_intact_file_passes_its_checksum(tmp_path: Path) -> None:
    path = written(tmp_path / "file", table_of(30_000))

    assert pq.read_table(path, page_checksum_verification=True) == table_of(30_000)


def test_another_schema_is_refused_and_both_are_shown(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "file", pa.schema([("z", pa.float32())]))

    with pytest.raises(ValueError, match="has another schema: expected z float, got z double, y int64"):
        sink.write(pa.table({"z": [1.0], "y": [1]}))
    sink.abort()


def test_metadata_of_a_batch_is_ignored_and_of_the_file_is_kept(tmp_path: Path) -> None:
    schema = pa.schema([("z", pa.float64())], metadata={"from": "file"})
    sink = ParquetSink(tmp_path / "file", schema)
    for origin in ("one", "two"):
        sink.write(pa.table({"z": [1.0]}).replace_schema_metadata({"from": origin}))
    sink.close()

    assert pq.read_schema(tmp_path / "file").metadata[b"from"] == b"file"
    assert pq.read_table(tmp_path / "file").num_rows == 2


def test_abort_leaves_no_file(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "file", table_of(1).schema)
    sink.write(table_of(30_000))
    sink.abort()
    sink.abort()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is closed"):
        sink.write(table_of(1))
    with pytest.raises(ValueError, match="was aborted"):
        sink.close()


def test_closed_file_takes_no_more_rows(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "file", table_of(1).schema)
    sink.close()

    with pytest.raises(ValueError, match="is closed"):
        sink.write(table_of(1))


def test_unknown_compression_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="zip"):
        ParquetSink(tmp_path / "file", table_of(1).schema, compression="zip")

    assert list(tmp_path.iterdir()) == []


def test_put_parquet_is_atomic_and_describes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dt=1" / "part-0.parquet"
    put_parquet(path, table_of(10))
    staged = put_parquet(path, table_of(20))

    assert pq.read_table(path, partitioning=None) == table_of(20)
    assert staged == (path, 20, path.stat().st_size, digest_file(path))
    assert [found.name for found in path.parent.iterdir()] == ["part-0.parquet"]


def test_put_parquet_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    put_parquet(tmp_path / "file", table_of(10))

    with pytest.raises(Exception, match="zip"):
        put_parquet(tmp_path / "file", table_of(20), compression="zip")

    assert pq.read_table(tmp_path / "file") == table_of(10)
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
