"""The newcomer benchmark: its table of steps, and a step that fails."""

import csv
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.newcomer import WRONG, StepFailed, run_step, walk, write_exports


def test_a_step_that_fails_or_hangs_ends_the_path_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"train ended with 2: error: no column"):
        run_step(
            "train",
            [sys.executable, "-c", "import sys; print('error: no column', file=sys.stderr); sys.exit(2)"],
            tmp_path,
        )
    with pytest.raises(StepFailed, match=r"train took more than 0 s"):
        run_step("train", ["sleep", "5"], tmp_path, seconds=0.1)


def test_a_step_counts_the_seconds_of_its_process(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"

    step = run_step("busy", [sys.executable, "-c", busy], tmp_path)

    assert step.cpu_s > 0.15


def test_one_fee_of_each_night_is_wrong(tmp_path: Path) -> None:
    (path,) = write_exports(tmp_path / "exports", nights=1, rows=20)

    with path.open(newline="") as file:
        shares = [float(row["fee"]) / float(row["amount"]) for row in csv.DictReader(file)]
    assert [at for at, share in enumerate(shares) if share > 0.1] == [WRONG]


@pytest.mark.slow
def test_the_path_ends_with_scores_that_find_the_wrong_fees(tmp_path: Path) -> None:
    steps = walk(tmp_path, Path(sys.executable), nights=4, rows=200)

    assert [step.name for step in steps] == ["clone", "convert", "init", "train", "score", "report"]
    files = sorted((tmp_path / "work").glob("out/**/scores/*/*.parquet"))
    assert files
    last = pq.read_table(files[-1], partitioning=None).sort_by([("score", "descending")])
    assert last["payment"][0].as_py().endswith(f"-{WRONG:05d}")
