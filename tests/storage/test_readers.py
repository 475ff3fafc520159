"""Readers in other processes during repeated commits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.storage import SCORE, Outputs, ScoreDetails

COMMITS = 200


def commit(outputs: Outputs, generation: int) -> None:
    rows = pa.table({"generation": np.full(500 + generation, generation), "z": np.zeros(500 + generation)})
    with outputs.commit(SCORE, "dt=1", f"key {generation}") as begun:
        for output in ("features", "scores"):
            begun.open(output, rows.schema).write(rows)
        begun.publish(model_version="m/1", details=ScoreDetails())


def test_no_reader_sees_a_short_or_mixed_file_during_200_commits(in_memory: Path) -> None:
    outputs, stop = Outputs(in_memory / "out"), in_memory / "stop"
    commit(outputs, 0)
    command = [sys.executable, str(Path(__file__).with_name("reading.py")), str(in_memory / "out"), str(stop)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"

    for generation in range(1, COMMITS + 1):
        commit(outputs, generation)
    stop.touch()

    for reader in readers:
        answer, _ = reader.communicate(timeout=60)
        seen = json.loads(answer)
        assert seen["faults"] == []
        assert seen["generations"] > 1
    assert outputs.verify() == []
