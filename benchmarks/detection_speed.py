"""Rows scored per CPU second by the exported scorer of a reconstruction and by PyOD's AutoEncoder, interleaved."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.inference.table_model import TableModel
from benchmarks.detection_detectors import Clock
from benchmarks.detection_ours import Sections, arrow, trained
from benchmarks.detection_peers import PEERS, make
from benchmarks.detection_tables import Doubles

TABLES = ("16_http", "32_shuttle")
"""Tables of many rows, with 3 and 9 columns."""

BATCHES = (32, 256, 1_024, 4_096, 16_384, 65_536)
"""Batch sizes that are tried for PyOD; the fastest counts."""

RUNS = 3

_RECIPE: Sections = {
    "model": {"family": "ae"},
    "train": {"data": "clean", "epochs": 2},
    "score": {"head": "reconstruction"},
}
"""Two epochs: the speed of a network does not depend on its fit."""

_TRAIN_ROWS = 5_000

CONFIGURATION: Mapping[str, object] = {"recipe": _RECIPE, "batches": BATCHES, "runs": RUNS, "train_rows": _TRAIN_ROWS}


def measured(rows: Doubles, seed: int) -> dict[str, float]:
    """Return medians of `RUNS` interleaved runs, in rows per CPU second.

    Ours is measured from an Arrow table to scores, p-values and reasons, and as the graph alone on encoded rows.
    """
    learned = rows[np.random.default_rng(seed).permutation(len(rows))[:_TRAIN_ROWS]]
    peer = make(PEERS["pyod-ae"], seed, epoch_num=1)
    peer.fit(learned)
    with trained(_RECIPE, learned, seed, Clock()) as model:
        table = arrow(rows)
        batch_rows = _best_batch(peer, rows)
        scored: dict[str, Callable[[], object]] = {
            "table_rows_per_cpu_s": functools.partial(model.score, table),
            "scorer_rows_per_cpu_s": _graph_alone(model, table),
            "pyod_rows_per_cpu_s": functools.partial(peer.decision_function, rows, batch_size=batch_rows),
        }
        seconds: dict[str, list[float]] = {name: [] for name in scored}
        for _ in range(RUNS):
            for name, call in scored.items():
                seconds[name].append(_cpu_s(call))
    medians = {name: len(rows) / statistics.median(taken) for name, taken in seconds.items()}
    return {**medians, "rows": len(rows), "columns": rows.shape[1], "pyod_batch_rows": batch_rows}


def _graph_alone(model: TableModel, table: Any) -> Callable[[], object]:
    """Return a function that runs the exported scorer on encoded rows in batches."""
    onnx, _ = model.bundle.part("scorer")
    encoded = model.arrays(table)
    runner = Runner(lambda: Session(onnx, device="cpu"))
    out = {port.name: np.empty((table.num_rows, *port.row_shape), port.dtype) for port in runner.graph.outputs}
    return functools.partial(runner.run_into, encoded, out)


def _best_batch(peer: Any, rows: Doubles) -> int:
    """Return the batch size with which PyOD scores rows fastest."""
    some = rows[: max(BATCHES)]
    return min(BATCHES, key=lambda size: _cpu_s(functools.partial(peer.decision_function, some, batch_size=size)))


def _cpu_s(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun
