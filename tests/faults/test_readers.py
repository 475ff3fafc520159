"""Readers of other tools while a partition is committed again and again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.storage import SCORE, Outputs, ScoreDetails
from tests.faults.readers import BY_PATH, CLEAN, contents, joined, reading
from tests.faults.sizes import record, size

pytestmark = pytest.mark.slow

PARTITION = "dt=1"
GENERATIONS = 7
READS = size("READS", 300)
"""Reads by each reader."""
MOST_COMMITS = 1_000_000


def commit(outputs: Outputs, generation: int, number: int = 0) -> None:
    random = np.random.default_rng(generation)
    rows = 500 + generation
    table = pa.table({"score": random.normal(size=rows), "id": [f"{generation} {row}" for row in range(rows)]})
    with outputs.commit(SCORE, PARTITION, f"key {number}") as begun:
        for output in ("features", "scores"):
            begun.open(output, table.schema).write(table)
        begun.publish(model_version="m/1", details=ScoreDetails())


@pytest.mark.parametrize("name", [*CLEAN, *BY_PATH])
def test_a_reader_that_opens_a_file_once_sees_whole_files_during_back_to_back_commits(
    in_memory: Path, name: str
) -> None:
    outputs = Outputs(in_memory / "out")
    scores = in_memory / "out" / "scores"
    known = []
    for generation in range(GENERATIONS):
        commit(outputs, generation, generation)
        known.append(contents(scores))

    with reading(scores, joined(*known), [name], reads=READS) as seen:
        commits = 0
        while seen.is_running and commits < MOST_COMMITS:
            commits += 1
            commit(outputs, commits % GENERATIONS, GENERATIONS + commits)

    assert seen.reads[name] >= READS
    assert outputs.verify() == []
    if name in CLEAN:
        assert seen.faults == []
    figures = {"reads": seen.reads[name], "loud": seen.loud[name], "silent": seen.silent[name], "commits": commits}
    record("readers during back-to-back commits", reader=name, **figures)
