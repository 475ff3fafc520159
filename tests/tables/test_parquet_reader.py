"""Parquet rows in order, in bounded batches, and the faults of files."""

from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import encryption

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.storage import put_parquet
from aepipe.tables.parquet_reader import open_bytes, read_footer, slices, spread_rows
from aepipe.tables.parquet_sizes import footer_bytes
from aepipe.tables.struct_fields import with_struct_fields


def table(rows: int, *, seed: int = 0) -> pa.Table:
    values = np.random.default_rng(seed).standard_normal((rows, 2))
    names = [None if row % 5 == 0 else f"name {row}" for row in range(rows)]
    return pa.table({"a": values[:, 0], "b": values[:, 1], "c": pa.array(names, pa.string())})


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3), group=st.integers(1, 70), rows=st.integers(1, 80))
def test_slices_are_the_rows_of_the_files_in_order(tmp_path: Path, sizes: list[int], group: int, rows: int) -> None:
    whole = [table(size, seed=index) for index, size in enumerate(sizes)]
    files = [tmp_path / f"{index}.parquet" for index in range(len(sizes))]
    for file, part in zip(files, whole, strict=True):
        pq.write_table(part, file, row_group_size=group)

    found = list(slices(files, None, rows=rows))

    assert all(0 < batch.num_rows <= rows for batch in found)
    assert pa.Table.from_batches(found, whole[0].schema).equals(pa.concat_tables(whole))


def test_only_the_requested_columns_are_read(tmp_path: Path) -> None:
    put_parquet(tmp_path / "x.parquet", table(10))

    (batch,) = slices([tmp_path / "x.parquet"], ["c", "a"], rows=100)

    assert set(batch.schema.names) == {"a", "c"}


def test_text_is_read_as_codes_on_request(tmp_path: Path) -> None:
    put_parquet(tmp_path / "x.parquet", table(30))

    found = pa.Table.from_batches(slices([tmp_path / "x.parquet"], ["a", "c"], rows=100, as_codes=["c"]))

    assert found.schema.field("c").type == pa.dictionary(pa.int32(), pa.string())
    assert found["c"].to_pylist() == table(30)["c"].to_pylist()


def test_memory_does_not_grow_with_the_size_of_a_row_group(tmp_path: Path) -> None:
    rows, columns, page = 200_000, 8, 64 << 10
    values = np.random.default_rng(0).standard_normal((columns, rows))
    whole = pa.table({str(index): column for index, column in enumerate(values)})
    path = tmp_path / "x.parquet"
    pq.write_table(whole, path, row_group_size=rows, data_page_size=page, use_dictionary=False)

    held, before = [], pa.total_allocated_bytes()
    for _ in slices([path], None, rows=2_000):
        held.append(pa.total_allocated_bytes() - before)

    assert pq.read_metadata(path).num_row_groups == 1
    assert max(held) < whole.nbytes / 4  # some pages of each column, and a batch


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"gone\.parquet does not exist"):
        list(slices([tmp_path / "gone.parquet"], None, rows=10))


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "short.parquet"
    put_parquet(path, table(1000))
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(
        DataUnreadable, match=r"short\.parquet is not a complete Parquet file: .+\. Write the file again\."
    ):
        list(slices([path], None, rows=10))


class _Keys(encryption.KmsClient):
    """Keys of a test, which protects nothing."""

    def __init__(self, config: encryption.KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return b64decode(wrapped_key)


@pytest.mark.parametrize("in_footer", [True, False])
def test_an_encrypted_file_or_column_is_named_as_encrypted(tmp_path: Path, *, in_footer: bool) -> None:
    path, rows = tmp_path / "secret.parquet", table(1000)
    keys = encryption.EncryptionConfiguration("footer", column_keys={"column": ["a"]}, plaintext_footer=not in_footer)
    properties = encryption.CryptoFactory(_Keys).file_encryption_properties(encryption.KmsConnectionConfig(), keys)
    with pq.ParquetWriter(path, rows.schema, encryption_properties=properties) as writer:
        writer.write_table(rows)

    with pytest.raises(DataUnreadable) as refused:
        list(slices([path], None, rows=10))

    place = "" if in_footer else ", row group 0,"
    assert str(refused.value) == f"{path}{place} cannot be read: it is encrypted. Write it without encryption."


def test_a_flipped_byte_in_a_page_is_found_by_its_checksum_and_the_row_group_named(tmp_path: Path) -> None:
    path = tmp_path / "flipped.parquet"
    whole = table(3000).select(["a"])
    pq.write_table(whole, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False, compression="none")
    chunk = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(DataUnreadable, match=r"flipped\.parquet, row group 1, cannot be read: .*(?i:crc|checksum)"):
        list(slices([path], None, rows=500))


def test_a_fault_in_a_batch_that_spans_row_groups_names_them_all(tmp_path: Path) -> None:
    path = tmp_path / "flipped.parquet"
    whole = table(3000).select(["a"])
    pq.write_table(whole, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False, compression="none")
    chunk = pq.read_metadata(path).row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(DataUnreadable, match="row groups 0 to 2, cannot be read"):
        list(slices([path], None, rows=5000))


def test_a_fault_in_the_last_batch_of_a_large_row_group_does_not_name_the_next(tmp_path: Path) -> None:
    path = tmp_path / "flipped.parquet"
    pq.write_table(
        table(3000).select(["a"]),
        path,
        row_group_size=1000,
        data_page_size=64,
        write_batch_size=10,
        write_page_checksum=True,
        use_dictionary=False,
        compression="none",
    )
    chunk = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(DataUnreadable, match="row group 1, cannot be read"):
        list(slices([path], None, rows=75))


def test_columns_that_a_file_does_not_have_are_all_named(tmp_path: Path) -> None:
    put_parquet(tmp_path / "x.parquet", table(10))

    with pytest.raises(SchemaMismatch, match=r"x\.parquet has no column 'd'; has no column 'e'"):
        list(slices([tmp_path / "x.parquet"], ["a", "d", "e"], rows=10))


def test_a_footer_knows_rows_schema_and_about_the_bytes_of_a_row(tmp_path: Path) -> None:
    put_parquet(tmp_path / "x.parquet", table(1000))

    footer = read_footer(tmp_path / "x.parquet", ["a", "b"])

    assert (footer.rows, footer.schema.names) == (1000, ["a", "b", "c"])
    assert 16 <= footer.row_bytes <= 20
    assert read_footer(tmp_path / "x.parquet").row_bytes >= 16 + 64


@pytest.mark.parametrize("groups", [1, 4])
def test_the_largest_row_group_says_what_an_open_file_takes(tmp_path: Path, groups: int) -> None:
    rows = 400_000
    table = pa.table({name: np.random.default_rng(0).standard_normal(rows, np.float32) for name in "ab"})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=rows // groups, use_dictionary=False)

    found, of_one = (read_footer(tmp_path / "x.parquet", names).open_bytes for names in (["a", "b"], ["a"]))
    footer = 2 * of_one - found  # counted for any number of columns

    assert found - footer == pytest.approx(2 * min(2 * 4 * rows // groups, 9 << 18), rel=0.01)
    assert footer == 19 * footer_bytes(tmp_path / "x.parquet")


def test_memory_of_an_open_file_is_the_same_without_arrow(tmp_path: Path) -> None:
    addresses = [{"city": "Bern", "place": {"zip": 3000}}] * 1_000
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": np.arange(1_000.0), "b": np.arange(1_000.0), "address": addresses}), path)

    for columns in (["a"], ["a", "b"], ["a", "address.city"], ["a", "address.place.zip"]):
        assert open_bytes(path, columns) == read_footer(path, columns).open_bytes
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataUnreadable, match=r"x\.parquet is not a complete Parquet file"):
        open_bytes(path, ["a"])
    with pytest.raises(DataUnreadable, match=r"y\.parquet does not exist"):
        open_bytes(tmp_path / "y.parquet", ["a"])


@pytest.mark.parametrize("group_rows", [100, 1_250, 5_000, 10_000])
def test_spread_rows_come_from_all_over_the_file_in_its_order(tmp_path: Path, group_rows: int) -> None:
    path = tmp_path / "sorted.parquet"
    pq.write_table(pa.table({"at": range(10_000), "old": ["x"] * 10_000}), path, row_group_size=group_rows)

    found = spread_rows(path, 400, pa.schema({"at": pa.float64(), "new": pa.string()}))

    at = found["at"].to_numpy()
    assert found.schema.types == [pa.float64(), pa.string()]
    assert found["new"].null_count == found.num_rows
    assert 300 <= len(at) <= 400
    assert (np.diff(at) > 0).all()
    assert np.array_equal(np.unique(at // 1_250), np.arange(8))


@pytest.mark.parametrize(("rows", "wanted"), [(0, 10), (1, 10), (7, 10), (10, 7), (10, 3)])
def test_spread_rows_of_small_files_are_all_or_the_requested_number(tmp_path: Path, rows: int, wanted: int) -> None:
    path = tmp_path / "small.parquet"
    pq.write_table(pa.table({"at": pa.array(range(rows), pa.int64())}), path)

    found = spread_rows(path, wanted, pa.schema({"at": pa.int64()}))["at"].to_pylist()

    assert found == sorted(set(found))
    assert len(found) == min(rows, wanted)


def test_text_stored_as_views_is_read_as_plain_text_that_can_be_selected(tmp_path: Path) -> None:
    plain = pa.table(
        {
            "key": pa.array(["a", "b", None]),
            "raw": pa.array([b"1", b"2", b"3"]),
            "tags": pa.array([["x"], [], None], pa.list_(pa.string())),
            "place": pa.array([{"city": "Ulm"}, {"city": None}, None], pa.struct({"city": pa.string()})),
        }
    )
    views = pa.schema(
        {
            "key": pa.string_view(),
            "raw": pa.binary_view(),
            "tags": pa.list_(pa.string_view()),
            "place": pa.struct({"city": pa.string_view()}),
        }
    )
    file = tmp_path / "views.parquet"
    pq.write_table(plain.cast(views), file)
    assert pq.read_schema(file).field("key").type == pa.string_view()

    schema = read_footer(file).schema
    read = {
        "as stored": pa.Table.from_batches(slices([file], None, rows=2)),
        "cast": pa.Table.from_batches(slices([file], None, rows=2, schema=with_struct_fields(views))),
        "spread": spread_rows(file, 3, schema),
    }

    assert [schema.field(name).type for name in plain.column_names] == plain.schema.types
    for how, table in read.items():
        assert table.select(plain.column_names).equals(plain), how
        assert table.take([2, 0])["place.city"].to_pylist() == [None, "Ulm"], how
