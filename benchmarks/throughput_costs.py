"""Cost of each step of aepipe other than inference, on the rows, outputs and files of a night."""

import os
import time
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.storage import digest_file
from benchmarks.throughput_floors import BLOCK, Work, output_files, outputs, over_resident, read, writing
from benchmarks.throughput_protection import protection
from benchmarks.throughput_tables import Night

_REPEATS = 3


def costs(night: Night) -> Work:
    """Return a function that measures the CPU seconds of each step for all rows of the night, medians of three."""

    def work() -> Mapping[str, float]:
        written = outputs(night)
        plain = writing(night, written)
        return {
            "checksums of pages read_s": _difference(read(night, checked=True), read(night)),
            "checksums of pages written_s": _difference(writing(night, written, checked=True), plain),
            "digests of inputs_s": _median(lambda: [digest_file(path) for path in night.files]),
            "digests of outputs_s": _median(lambda: [digest_file(path) for path in output_files(night)]),
            "reasons in the graph_s": _difference(_infer(night, reasons=True), _infer(night, reasons=False)),
            "reasons written_s": _difference(plain, writing(night, _without(written, "reason_"))),
            "p-values_s": _median(_p_values(night, written)),
            "p-values written_s": _difference(plain, writing(night, _without(written, "p_"))),
            "waiting for fsync, wall_s": _fsync(night),
            **protection(night),
        }

    return work


COSTS: Mapping[str, Callable[[Night], Work]] = {"costs": costs}


def _cpu_s(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _median(call: Callable[[], object]) -> float:
    return float(np.median([_cpu_s(call) for _ in range(_REPEATS)]))


def _difference(more: Callable[[], object], less: Callable[[], object]) -> float:
    """Return the difference in CPU seconds of two calls that are interleaved."""
    taken = [(_cpu_s(more), _cpu_s(less)) for _ in range(_REPEATS)]
    return float(np.median([first for first, _ in taken]) - np.median([second for _, second in taken]))


def _without(tables: list[pa.Table], prefix: str) -> list[pa.Table]:
    return [table.select([name for name in table.column_names if not name.startswith(prefix)]) for table in tables]


def _infer(night: Night, *, reasons: bool) -> Callable[[], object]:
    """Return a function that runs the part of the scorer that returns latents, scores and, if asked for, reasons.

    The alarm for cells, which needs a part of the same attributions, is left out of both.
    """
    bundle = Bundle.open(night.bundle)
    onnx, info = bundle.part("scorer")
    left_out = ("cell",) if reasons else ("cell", "reason")
    kept = [port.name for port in info.outputs if not port.name.startswith(left_out)]
    return over_resident(night, bundle, _pruned(onnx, kept))


def _pruned(onnx: bytes, outputs: list[str]) -> bytes:
    """Return the graph reduced to these outputs and what they need."""
    import onnx as graphs

    from aepipe.export.graph_split import extract_subgraph

    model = graphs.load_from_string(onnx)
    model.graph.CopyFrom(extract_subgraph(model.graph, [value.name for value in model.graph.input], outputs))
    return bytes(model.SerializeToString())


def _p_values(night: Night, tables: list[pa.Table]) -> Callable[[], object]:
    calibration = Bundle.open(night.bundle).calibration
    scores = [table.column("score").to_numpy() for table in tables if "score" in table.column_names]

    def call() -> None:
        for each in scores:
            for begin in range(0, len(each), BLOCK):
                calibration.is_anomaly(calibration.p_values(each[begin : begin + BLOCK]))

    return call


def _fsync(night: Night) -> float:
    """Return the wall seconds of fsync for newly written outputs of this size."""
    waited = 0.0
    for path in output_files(night):
        copy = night.folder / "cost.parquet"
        copy.write_bytes(path.read_bytes())
        with copy.open("rb") as file:
            before = time.perf_counter()
            os.fsync(file.fileno())
            waited += time.perf_counter() - before
        copy.unlink()
    return waited
