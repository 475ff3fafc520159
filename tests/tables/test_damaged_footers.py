"""Footers with changed bytes: an error or the right rows, never a crash."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import DataUnreadable
from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.parquet_sizes import read_pages, read_row_groups

MUTANTS = 800

READ = """
import json, sys
from pathlib import Path
from aepipe.errors import DataUnreadable
from aepipe.tables.parquet_reader import read_footer, slices
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
    try:
        footer = read_footer(path)
        footer.row_bytes, footer.open_bytes
        found[path.stem] = sum(batch.num_rows for batch in slices([path], None, rows=32))
    except DataUnreadable as error:
        found[path.stem] = str(error)
print(json.dumps(found))
"""


def small_table() -> pa.Table:
    """Return a table with size statistics in its footer; a change of them can make Arrow end the process."""
    return pa.table({"id": [f"k{row}" for row in range(20)], "x": pa.array([1.0, None] * 10), "l": [[1], None] * 10})


def table(rows: int = 90) -> pa.Table:
    return pa.table(
        {
            "id": [f"key {row}" for row in range(rows)],
            "a": np.random.default_rng(0).normal(size=rows),
            "kind": pa.array(["x", "y", None] * (rows // 3)).dictionary_encode(),
            "list": [[1, 2]] * rows,
        }
    )


def mutants(good: bytes, count: int) -> list[bytes]:
    generator = random.Random(0)
    begin = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    found = []
    for _ in range(count):
        changed = bytearray(good)
        changed[generator.randrange(begin, len(good))] ^= generator.randrange(1, 256)
        found.append(bytes(changed))
    return found


def test_changed_footers_are_errors_and_never_end_the_process(tmp_path: Path) -> None:
    pq.write_table(small_table(), tmp_path / "good.parquet", write_page_checksum=True)
    good = (tmp_path / "good.parquet").read_bytes()
    for index, data in enumerate(mutants(good, MUTANTS)):
        (tmp_path / f"{index:03d}.parquet").write_bytes(data)

    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    assert len(found) == MUTANTS + 1
    assert found["good"] == 20
    assert all(answer == 20 or ".parquet" in str(answer) for answer in found.values())
    assert sum(isinstance(answer, str) for answer in found.values()) > MUTANTS / 4


def test_sizes_are_those_that_arrow_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table(), path, row_group_size=40, compression="zstd")

    found = list(read_row_groups(path))

    expected = pq.read_metadata(path)
    assert [group.rows for group in found] == [40, 40, 10]
    for at, group in enumerate(found):
        chunks = [expected.row_group(at).column(index) for index in range(expected.num_columns)]
        assert [c.column for c in group.chunks] == [c.path_in_schema.split(".")[0] for c in chunks]
        assert [c.values for c in group.chunks] == [c.num_values for c in chunks]
        assert [c.stored for c in group.chunks] == [c.total_uncompressed_size for c in chunks]
        stated = [c.statistics for c in chunks]
        assert [c.nulls for c in group.chunks] == [s.null_count if s.has_null_count else None for s in stated]
        assert group.chunks[1].range == (stated[1].min_raw, stated[1].max_raw)
        assert [c.path for c in group.chunks] == [c.path_in_schema for c in chunks]
        assert [c.compressed for c in group.chunks] == [c.total_compressed_size for c in chunks]
        assert [c.has_dictionary for c in group.chunks] == [c.has_dictionary_page for c in chunks]
        assert [c.first_page for c in group.chunks] == [
            c.dictionary_page_offset if c.has_dictionary_page else c.data_page_offset for c in chunks
        ]


def test_the_largest_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    values = ["a", "b" * 300_000, "c"]
    pq.write_table(pa.table({"id": values}), path, use_dictionary=False, compression="zstd")

    (group,) = read_row_groups(path)

    with path.open("rb") as file:
        assert 300_000 < max(page.stored for page in read_pages(file, group.chunks[0])) < 301_000
    assert path.stat().st_size < 10_000


def test_a_column_name_that_is_not_utf_8_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"amount": [1.0]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"amount", b"am\xffunt"))

    with pytest.raises(DataUnreadable, match="Write the file again"):
        read_footer(path)
    with pytest.raises(DataUnreadable, match="Write the file again"):
        list(slices([path], None, rows=1))
