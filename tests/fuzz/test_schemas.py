"""`init` and `inspect` accept a table of any schema; `train` and `score` end in success or in a sentence."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.errors import AepipeError
from aepipe.jobs.init import init
from aepipe.jobs.inspect import inspect
from tests.fuzz.driver import run_command
from tests.fuzz.schemas import random_files

CASES = int(os.environ.get("FUZZ_SCHEMAS", "40"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))


def write(folder: Path, tables: list[pa.Table]) -> bool:
    """Write the files of a table; False if Parquet cannot hold one of its types."""
    for day, table in enumerate(tables, start=1):
        path = folder / f"dt=2026-01-{day:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        try:
            pq.write_table(table, path)
        except pa.ArrowException:
            return False
    return True


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
def test_init_writes_a_job_for_any_schema(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if not write(tmp_path / "rows", random_files(rng, rows=int(rng.choice([0, 1, 30, 150])))):
        pytest.skip("Parquet cannot hold a type")

    written = init(tmp_path / "rows", name="fuzz", job_path=tmp_path / "job.toml")

    job = read_job(written.path)
    described = {column.name for column in inspect(tmp_path / "rows").columns}
    assert set(job.columns) | set(job.data.keys) | set(job.data.labels) <= described
    assert {column.name for column in inspect(written.path).columns} == described


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(1, CASES // 10)))
def test_training_on_any_schema_ends_in_success_or_in_a_sentence(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(10_000 + seed)
    if not write(tmp_path / "rows", random_files(rng, rows=150)):
        pytest.skip("Parquet cannot hold a type")
    try:
        path = init(tmp_path / "rows", name="fuzz", job_path=tmp_path / "job.toml").path
    except AepipeError as error:
        pytest.fail(str(error))
    path.write_text(path.read_text().replace("[train]", "[train]\nepochs = 1"))

    endings = [run_command("train", str(path))]
    if endings[0].code == 0:
        commands = ("score", "report", "verify")
        endings += [run_command(command, str(path)) for command in commands]
        endings.append(run_command("explain", str(path), "--row", "dt=2026-01-01:0"))
        endings.append(run_command("sample", str(path), "--rows", "20"))

    defects = [ending for ending in endings if ending.is_defect]
    assert not defects, "\n".join(f"{ending.command}: {ending.printed[-2_000:]}" for ending in defects)
