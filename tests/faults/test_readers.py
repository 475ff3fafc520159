"""Readers of other tools while a partition is committed again and again."""

from collections.abc import Mapping
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


@pytest.mark.parametrize("names", [CLEAN, BY_PATH], ids=["clean", "by-path"])
def test_readers_that_open_a_file_once_see_whole_files_during_back_to_back_commits(
    in_memory: Path, names: Mapping[str, object]
) -> None:
    outputs = Outputs(in_memory / "out")
    scores = in_memory / "out" / "scores"
    known = []
    for generation in range(GENERATIONS):
        commit(outputs, generation, generation)
        known.append(contents(scores))

    with reading(scores, joined(*known), list(names), reads=READS) as seen:
        commits = 0
        while seen.is_running and commits < MOST_COMMITS:
            commits += 1
            commit(outputs, commits % GENERATIONS, GENERATIONS + commits)

    for name in names:
        figures = {"loud": seen.loud[name], "silent": seen.silent[name]}
        record("readers during commits", reader=name, reads=seen.reads[name], **figures, commits=commits)
    assert min(seen.reads.values()) >= READS
    assert outputs.verify() == []
    if names is CLEAN:
        assert seen.faults == []
