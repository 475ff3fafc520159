"""Model repository for NVIDIA Triton: each graph of a bundle with its config.pbtxt."""

from pathlib import Path

import onnxruntime as ort

from aepipe.bundles.bundle import Bundle, PartInfo
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import read_job
from aepipe.errors import ExportFailed
from aepipe.jobs.results import Result
from aepipe.layout import Port
from aepipe.storage import put_if_changed
from aepipe.stores import as_path

_TYPES = {
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8",
    "bool": "TYPE_BOOL",
}
_MAX_BATCH = 4_096


class TritonResult(Result):
    """Version that was written, the model repository, and the names of the models in it."""

    version: str
    folder: Path
    models: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Describe the result, for a terminal."""
        return f"{self.version}: {', '.join(self.models)} in {self.folder}"


def export_triton(job_path: str | Path, folder: str | Path, *, model: str = "champion") -> TritonResult:
    """Write each graph of a bundle as <folder>/<job>_<part>, with config.pbtxt and the graph as version 1.

    Args:
        job_path: the job file.
        folder: the model repository; other models in it stay.
        model: alias or version of the model.

    Raises:
        BundleNotFound: there is no model.
        OptionInvalid: it is the model of a series job.
        ExportFailed: a graph has other tensors than the manifest states.
    """
    bundle = open_bundle(read_job(job_path), model)
    bundle.refuse_points("Triton", remedy="Score its partitions with: aepipe score")
    folder, names = as_path(folder), []
    for part, info in bundle.manifest.parts.items():
        _check_graph(bundle, part, info)
        name = f"{bundle.manifest.name}_{part}"
        put_if_changed(folder / name / "1" / "model.onnx", bundle.part(part)[0])
        put_if_changed(folder / name / "config.pbtxt", triton_config(name, info).encode())
        names.append(name)
    return TritonResult(version=bundle.version, folder=folder, models=tuple(names))


def triton_config(name: str, info: PartInfo) -> str:
    """Return config.pbtxt of one graph; the batch axis is Triton's.

    A tensor with one value per row has no axis but the batch axis. Triton needs at least one, so that it is sent as
    (B, 1) and reshaped.
    """
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {_MAX_BATCH}"]
    for kind, ports in (("input", info.inputs), ("output", info.outputs)):
        tensors = ",\n".join(_tensor(port) for port in ports)
        lines.append(f"{kind} [\n{tensors}\n]")
    return "\n".join([*lines, "dynamic_batching { }"]) + "\n"


def _tensor(port: Port) -> str:
    dims = ", ".join(map(str, port.row_shape)) or "1"
    reshape = "" if port.row_shape else " reshape { shape: [ ] }"
    return f'  {{ name: "{port.name}" data_type: {_TYPES[port.dtype]} dims: [ {dims} ]{reshape} }}'


def _check_graph(bundle: Bundle, part: str, info: PartInfo) -> None:
    """Load a graph and compare its tensors with the manifest."""
    session = ort.InferenceSession(bundle.part(part)[0], providers=["CPUExecutionProvider"])
    for stated, found in ((info.inputs, session.get_inputs()), (info.outputs, session.get_outputs())):
        expected = [(port.name, port.row_shape) for port in stated]
        got = [(tensor.name, tuple(tensor.shape[1:])) for tensor in found]
        if expected != got:
            raise ExportFailed(f"graph {part} has other tensors: expected {expected}, got {got}. Train again.")
