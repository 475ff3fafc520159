"""A bundle without training: graphs made by hand, whose answers a test can compute with numpy.

score = sum |x| + sum of category codes, z = x W, reasons are the greatest |x|; x is `num`, 0 where it is missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from aepipe.bundles.bundle import Bundle, BundleManifest, PartInfo, write_bundle
from aepipe.bundles.golden_rows import Golden
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import parse_job
from aepipe.encoding import Encoding, fit
from aepipe.inference.session import Session
from aepipe.layout import FIRST_VALUE, LatentSpace, Layout, Port
from aepipe.tables.entities import Entities
from aepipe.tables.schema_check import infer

LATENTS = 2


def weights(columns: int) -> np.ndarray:
    """Return the weights W (columns, 2)."""
    return np.stack([np.arange(1, columns + 1), np.ones(columns)], axis=1).astype(np.float32) / columns


class Graph:
    """An ONNX graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def bytes(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
        def info(port: Port) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
            return helper.make_tensor_value_info(port.name, kind, ["B", *port.row_shape])

        graph = helper.make_graph(self.nodes, "g", [*map(info, inputs)], [*map(info, outputs)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def scorer(layout: Layout, reasons: int) -> tuple[bytes, PartInfo]:
    """Build the scorer: row ports -> z, score, reason, reason_z."""
    graph, width = Graph(), len(layout.numbers) if layout.image is None else layout.features
    if layout.image is not None:
        pixels = graph.add("Cast", ["image"], to=TensorProto.FLOAT)
        x = graph.add("Flatten", [pixels])
    else:
        missing = graph.add("IsNaN", ["num"])
        x = graph.add("Where", [missing, graph.constant(np.float32(0)), "num"])
    size = graph.add("Abs", [x])
    axes = graph.constant(np.array([1]))
    graph.add("MatMul", [x, graph.constant(weights(width))], "z")
    if layout.categories:
        codes = graph.add("Cast", ["cat"], to=TensorProto.FLOAT)
        total = graph.add("ReduceSum", [codes, axes], keepdims=0)
        graph.add("Add", [graph.add("ReduceSum", [size, axes], keepdims=0), total], "score")
    else:
        graph.add("ReduceSum", [size, axes], "score", keepdims=0)
    outputs = [Port("z", "float32", (LATENTS,)), Port("score", "float32", ())]
    if reasons:
        graph.nodes.append(helper.make_node("TopK", [size, graph.constant(np.array([reasons]))], ["reason_z", "top"]))
        graph.add("Cast", ["top"], "reason", to=TensorProto.INT32)
        outputs += [Port("reason", "int32", (reasons,)), Port("reason_z", "float32", (reasons,))]
    return graph.bytes(layout.ports, outputs), PartInfo(inputs=layout.ports, outputs=tuple(outputs))


def prior() -> tuple[bytes, PartInfo]:
    """Build a prior: eps, u -> z = eps + u."""
    graph = Graph()
    graph.add("Add", ["eps", "u"], "z")
    inputs = (Port("eps", "float32", (LATENTS,), "normal"), Port("u", "float32", (1,), "uniform"))
    outputs = (Port("z", "float32", (LATENTS,)),)
    return graph.bytes(inputs, outputs), PartInfo(inputs=inputs, outputs=outputs)


def prior_normal() -> tuple[bytes, PartInfo]:
    """Build a normal prior: eps -> z = eps."""
    graph = Graph()
    graph.add("Identity", ["eps"], "z")
    inputs = (Port("eps", "float32", (LATENTS,), "normal"),)
    outputs = (Port("z", "float32", (LATENTS,)),)
    return graph.bytes(inputs, outputs), PartInfo(inputs=inputs, outputs=outputs)


def sampler(layout: Layout) -> tuple[bytes, PartInfo]:
    """Build the sampler: z, eps, u -> num = z W' + eps, and the first or second value of every category."""
    graph, numbers, categories = Graph(), len(layout.numbers), len(layout.categories)
    decoded = graph.add("MatMul", ["z", graph.constant(weights(numbers).T)])
    graph.add("Add", [decoded, "eps"], "num")
    inputs = [Port("z", "float32", (LATENTS,)), Port("eps", "float32", (numbers,), "normal")]
    if categories:
        one = graph.add("Cast", [graph.add("Round", ["u"])], to=TensorProto.INT32)
        graph.add("Add", [one, graph.constant(np.full(categories, FIRST_VALUE, np.int32))], "cat")
        inputs.append(Port("u", "float32", (categories,), "uniform"))
    return graph.bytes(inputs, layout.ports), PartInfo(inputs=tuple(inputs), outputs=layout.ports)


def make_bundle(
    folder: Path,
    table: pa.Table,
    *,
    data: dict[str, Any] | None = None,
    columns: dict[str, Any] | None = None,
    alpha: float = 0.05,
    reasons: int = 2,
    shift: float = 0.0,
    per_entity: bool = False,
) -> Bundle:
    """Write a bundle as if trained on a table. `shift` is added to the golden scores, which are wrong then."""
    job = parse_job(
        {"name": "linear", "data": {"path": ".", **(data or {})}, "columns": columns or {}}, source=folder / "job.toml"
    )
    encoding = fit(infer(table.schema, job, table), table.to_batches())
    layout = encoding.layout
    parts = {"scorer": scorer(layout, reasons)}
    if layout.image is None:
        parts |= {"prior": prior(), "prior_normal": prior_normal(), "sampler": sampler(layout)}
    found = run_scorer(encoding, parts["scorer"][0], table)
    manifest = BundleManifest(
        name="linear",
        family="linear",
        trunk="none",
        head="l1",
        training_key="xxh3:0",
        rows={"train": table.num_rows},
        parts={name: info for name, (_, info) in parts.items()},
        latent=LatentSpace(names=tuple(f"z_{index:03d}" for index in range(LATENTS))),
        reason_names=layout.columns if layout.image is None else tuple(f"pixel {i}" for i in range(layout.features)),
    )
    path = write_bundle(
        folder / "exported" / "linear",
        manifest,
        encoding=encoding,
        onnx={name: data for name, (data, _) in parts.items()},
        calibration=Calibration.fit(
            found["score"], alpha=alpha, entities=Entities.find(table, job.data.entity if per_entity else ())
        ),
        golden=Golden(table.slice(0, 8), {"score": found["score"][:8] + np.float32(shift), "z": found["z"][:8]}),
    )
    return Bundle.open(path)


def run_scorer(encoding: Encoding, onnx: bytes, table: pa.Table) -> dict[str, np.ndarray]:
    """Run the scorer on a table; return all its outputs."""
    (batch,) = table.combine_chunks().to_batches()
    return Session(onnx, device="cpu").run(encoding.encode(batch).arrays)


def numbers(rows: int, columns: int = 3, *, seed: int = 0, first_id: int = 0) -> pa.Table:
    """Generate keys `id` and standard normal float32 columns `a`, `b`, ..."""
    generator = np.random.default_rng(seed)
    values = {chr(97 + at): generator.standard_normal(rows, dtype=np.float32) for at in range(columns)}
    return pa.table({"id": np.arange(first_id, first_id + rows), **values})


def pictures(rows: int, *, side: int = 2) -> pa.Table:
    """Generate images of side x side random bytes in a column `scan`."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, side * side), dtype=np.uint8)
    return pa.table({"scan": pa.array([row.tobytes() for row in pixels], pa.binary(side * side))})
