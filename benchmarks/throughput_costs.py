"""What each thing that aepipe does beside inference costs by itself, on a night's own rows, outputs and files."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.bundle import Bundle
from aepipe.storage import digest_file
from benchmarks.throughput_floors import BLOCK, Work, outputs, over_resident
from benchmarks.throughput_tables import Night

_REPEATS = 3


def costs(night: Night) -> Work:
    """CPU seconds of each, for all rows of the night: medians of three differences or calls."""

    def work() -> Mapping[str, float]:
        written = outputs(night)
        return {
            "checksums of pages read_s": _difference(_read(night, checked=True), _read(night, checked=False)),
            "checksums of pages written_s": _difference(
                _write(night, written, checked=True), _write(night, written, checked=False)
            ),
            "digests of inputs_s": _median(lambda: [digest_file(path) for path in night.files]),
            "digests of outputs_s": _median(lambda: [digest_file(path) for path in _files(night)]),
            "reasons in the graph_s": _difference(_infer(night, reasons=True), _infer(night, reasons=False)),
            "reasons written_s": _difference(
                _write(night, written, checked=False), _write(night, _without(written, "reason_"), checked=False)
            ),
            "p-values_s": _median(_p_values(night, written)),
            "p-values written_s": _difference(
                _write(night, written, checked=False), _write(night, _without(written, "p_"), checked=False)
            ),
            "waiting for fsync, wall_s": _fsync(night),
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
    """Of calls that take turns."""
    taken = [(_cpu_s(more), _cpu_s(less)) for _ in range(_REPEATS)]
    return float(np.median([first for first, _ in taken]) - np.median([second for _, second in taken]))


def _files(night: Night) -> list[Path]:
    return [path for path in sorted(night.out.rglob("part-*.parquet")) if ".aepipe" not in path.parts]


def _read(night: Night, *, checked: bool) -> Callable[[], object]:
    columns = list(Bundle.open(night.bundle).encoding.columns_read)

    def call() -> None:
        for path in night.files:
            with _opened(path, checked) as file:
                for _ in file.iter_batches(BLOCK, columns=columns, use_threads=False):
                    pass

    return call


def _opened(path: Path, checked: bool) -> pq.ParquetFile:
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16, page_checksum_verification=checked)


def _write(night: Night, tables: list[pa.Table], *, checked: bool) -> Callable[[], object]:
    def call() -> None:
        for table in tables:
            texts = [f.name for f in table.schema if pa.types.is_dictionary(f.type) or pa.types.is_string(f.type)]
            path = night.folder / "cost.parquet"
            with pq.ParquetWriter(path, table.schema, use_dictionary=texts, write_page_checksum=checked) as writer:
                for begin in range(0, table.num_rows, BLOCK):
                    writer.write_table(table.slice(begin, BLOCK))
            path.unlink()

    return call


def _without(tables: list[pa.Table], prefix: str) -> list[pa.Table]:
    return [table.select([name for name in table.column_names if not name.startswith(prefix)]) for table in tables]


def _infer(night: Night, *, reasons: bool) -> Callable[[], object]:
    """The scorer as it is, or the part of its graph that answers latents and scores."""
    bundle = Bundle.open(night.bundle)
    onnx, info = bundle.part("scorer")
    kept = [port.name for port in info.outputs if reasons or not port.name.startswith("reason")]
    return over_resident(night, bundle, onnx if reasons else _pruned(onnx, kept))


def _pruned(onnx: bytes, outputs: list[str]) -> bytes:
    """The graph with these outputs and what they need alone."""
    import onnx as graphs

    model = graphs.load_from_string(onnx)
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    answers = [output for output in model.graph.output if output.name in outputs]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.output.extend(answers)
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
    """Seconds on the clock, for outputs of this size that were just written."""
    waited = 0.0
    for path in _files(night):
        copy = night.folder / "cost.parquet"
        copy.write_bytes(path.read_bytes())
        with copy.open("rb") as file:
            before = time.perf_counter()
            os.fsync(file.fileno())
            waited += time.perf_counter() - before
        copy.unlink()
    return waited
