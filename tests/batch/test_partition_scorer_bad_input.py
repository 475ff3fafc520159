"""Bad input: its effect on a partition and on its earlier outputs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.batch.partition_scorer import score_partition
from aepipe.batch.score_settings import ScoreSettings
from aepipe.errors import DataUnreadable, SchemaMismatch, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.layout import UNSEEN
from tests.support.linear_bundle import make_bundle, numbers
from tests.support.workspace import CallbackSlot, Workspace, matrix, rows_with


def test_nan_and_infinity_give_a_null_score_and_a_reason(workspace: Workspace) -> None:
    table = rows_with({3: np.nan, 8: np.inf, 99: -np.inf})

    result = workspace.score(workspace.write(table), batch_rows=9)

    scores, features = workspace.read(), workspace.read("features")
    fine = [row for row in range(100) if row not in {3, 8, 99}]
    assert [row for row in range(100) if scores["score"][row].as_py() is None] == [3, 8, 99]
    assert [row for row in range(100) if features["z_000"][row].as_py() is None] == [3, 8, 99]
    assert "missing" in scores["invalid_reason"][3].as_py()
    assert "infinite" in scores["invalid_reason"][99].as_py()
    assert scores["invalid_reason"].null_count == 97
    assert not scores["is_anomaly"][8].as_py()
    np.testing.assert_allclose(scores["score"].take(fine), np.abs(matrix(table)).sum(axis=1)[fine], rtol=1e-6)
    assert sorted(result.details.invalid.values()) == [1, 2]


def test_missing_values_are_scored_if_training_had_some(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, make_bundle(tmp_path, rows_with({1: np.nan}), data={"keys": ["id"]}))
    table = rows_with({5: np.nan})

    workspace.score(workspace.write(table))

    expected = np.abs(np.nan_to_num(matrix(table))).sum(axis=1)
    np.testing.assert_allclose(workspace.read()["score"], expected, rtol=1e-6)


def test_non_finite_score_is_null_with_a_reason(workspace: Workspace) -> None:
    table = rows_with({4: 3e38}).set_column(3, "c", pa.array(np.full(100, 3e38, np.float32)))

    with np.errstate(all="ignore"):
        workspace.score(workspace.write(table), max_invalid_share=1.0)

    assert workspace.read()["invalid_reason"][4].as_py() == "the score is not finite"
    assert workspace.read()["invalid_reason"].null_count == 99
    assert workspace.read()["p_value"].null_count == 1


def test_unseen_categories_are_scored_and_counted(tmp_path: Path) -> None:
    def coloured(names: Sequence[str]) -> pa.Table:
        return numbers(len(names)).append_column("colour", pa.array(names))

    workspace = Workspace(tmp_path, make_bundle(tmp_path, coloured(["red", "blue"] * 50), data={"keys": ["id"]}))

    table = coloured(["red", "pink", "blue", "pink"] * 5)
    result = workspace.score(workspace.write(table, group=7), batch_rows=1)

    assert result.details.unseen == {"colour": 10}
    codes = {"red": 4, "blue": 3, "pink": UNSEEN}
    expected = np.abs(matrix(table)).sum(axis=1) + [codes[name] for name in table["colour"].to_pylist()]
    np.testing.assert_allclose(workspace.read()["score"], expected, rtol=1e-6)


def test_texts_that_are_longer_than_the_model_reads_are_counted(tmp_path: Path) -> None:
    def lines(texts: Sequence[str]) -> pa.Table:
        return numbers(len(texts)).append_column("line", pa.array(texts))

    columns = {"line": {"kind": "text", "length": 2}}
    workspace = Workspace(
        tmp_path, make_bundle(tmp_path, lines(["a b", "b"] * 50), data={"keys": ["id"]}, columns=columns)
    )

    longer = workspace.score(workspace.write(lines(["a b a", "a b", "b", "b b b"] * 5), group=7), batch_rows=3)
    fine = workspace.score(workspace.write(lines(["a b", "b"] * 5)))

    assert longer.details.cut == {"line": 10}
    assert "cut" not in fine.details.model_dump()


def test_empty_partition_gives_empty_files_with_the_schema(workspace: Workspace) -> None:
    partition = workspace.write(numbers(10))
    workspace.score(partition)
    full = {output: workspace.read(output).schema for output in ("scores", "features")}
    workspace.write(numbers(0))

    result = workspace.score(partition)

    assert result.status == "written"
    assert [workspace.read(output).num_rows for output in full] == [0, 0]
    assert all(workspace.read(output).schema.equals(schema) for output, schema in full.items())


def test_faults_of_all_files_are_one_error(workspace: Workspace) -> None:
    changed = numbers(10).set_column(1, "a", pa.array(["x"] * 10))
    partition = workspace.write(numbers(10).drop_columns(["b", "id"]), changed)

    with pytest.raises(SchemaMismatch) as raised:
        workspace.score(partition)

    text = str(raised.value)
    assert len(raised.value.faults) == 3
    assert text.startswith(str(partition.files[0]))
    assert all(f"'{name}'" in text for name in ("a", "b", "id"))
    assert f"{partition.files[1]} has column 'a' as string" in text
    assert not workspace.out.joinpath("scores").exists()


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_truncated_file_keeps_the_earlier_outputs(workspace: Workspace, kept: int) -> None:
    partition = workspace.write(numbers(100), numbers(100))
    workspace.score(partition)
    before = workspace.snapshot()
    partition.files[1].write_bytes(partition.files[1].read_bytes()[:kept])

    with pytest.raises(DataUnreadable, match=r"part-1\.parquet"):
        workspace.score(partition)

    assert workspace.snapshot() == before


def test_corrupt_page_keeps_the_earlier_outputs(workspace: Workspace) -> None:
    partition = workspace.write(numbers(5000))
    workspace.score(partition)
    before = workspace.snapshot()
    pq.write_table(
        numbers(5000), partition.files[0], row_group_size=500, write_page_checksum=True, use_dictionary=False
    )
    chunk = pq.read_metadata(partition.files[0]).row_group(9).column(2)
    data = bytearray(partition.files[0].read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 9] ^= 1
    partition.files[0].write_bytes(bytes(data))

    with pytest.raises(DataUnreadable, match=r"part-0\.parquet, row group"):
        workspace.score(partition)

    assert workspace.snapshot() == before


def test_too_many_invalid_rows_fail_with_their_reasons(workspace: Workspace) -> None:
    partition = workspace.write(rows_with(dict.fromkeys(range(11), np.inf) | {50: np.nan}))

    with pytest.raises(
        TooManyInvalid, match=r"12 of 100 rows .+ \(11 x b is infinite.*; 1 x b is missing.*\).* 10\.0%"
    ):
        workspace.score(partition, max_invalid_share=0.1)
    assert not workspace.snapshot()

    assert workspace.score(partition, max_invalid_share=0.12).status == "written"


def test_file_that_changes_while_read_is_refused(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    runner = Runner(lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"), batch_rows=2048)

    def meddle(share: float) -> None:
        workspace.write(numbers(100, seed=9))

    with pytest.raises(DataUnreadable, match=r"part-0\.parquet changed while it was read"):
        score_partition(
            workspace.bundle, partition, ScoreSettings(workspace.out), runner, slot=CallbackSlot(progress=meddle)
        )
    assert not workspace.snapshot()
